"""Hypothesis strategies for values of key types, as text for PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

_TEXT = st.characters(codec="utf-8", exclude_characters="\0")


def _integers(bits: int) -> st.SearchStrategy[str]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).map(str)


KEYS: Mapping[str, st.SearchStrategy[str]] = {
    "smallint": _integers(16),
    "integer": _integers(32),
    "bigint": _integers(64),
    "text": st.text(_TEXT, max_size=40),
    "varchar(20)": st.text(_TEXT, max_size=20),
    "char(5)": st.text(st.sampled_from("abc ÄΩ"), max_size=5),
    'text COLLATE "C"': st.text(_TEXT, max_size=10),
    "uuid": st.uuids().map(str),
    "date": st.dates().map(str),
    "timestamp": st.datetimes().map(str),
    "timestamptz": st.datetimes().map(lambda moment: f"{moment}+00"),
    "numeric": st.one_of(
        st.decimals(allow_nan=False, allow_infinity=False, places=4).map(str),
        st.sampled_from(["NaN", "0", "0.00", "-0", "1", "1.0"]),
    ),
    "double precision": st.floats().map(str),
    "boolean": st.booleans().map(str),
    "bytea": st.binary(max_size=20).map(lambda data: "\\x" + data.hex()),
    "interval": st.integers(-(10**6), 10**6).map(lambda hours: f"{hours} hours"),
    "inet": st.ip_addresses().map(str),
    "mood": st.sampled_from(["sad", "ok", "happy"]),
}
