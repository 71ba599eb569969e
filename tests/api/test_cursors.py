"""Cursors: encoding, and refusal of strings that the server did not issue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.api.cursors import decode, encode
from helpers.errors import QueryError
from helpers.validation import LARGEST_BIGINT


@given(st.integers(0, LARGEST_BIGINT))
def test_decoding_returns_the_encoded_id(after: int) -> None:
    assert decode(encode(after)) == after


@given(st.integers(0, LARGEST_BIGINT), st.integers(0, 17), st.sampled_from("AZaz09-_=+/ é"))
def test_a_changed_cursor_is_refused(after: int, index: int, letter: str) -> None:
    cursor = encode(after)
    changed = cursor[:index] + letter + cursor[index + 1 :]
    if changed != cursor:
        with pytest.raises(QueryError, match="cursor is not one from this server"):
            decode(changed)


@pytest.mark.parametrize("text", ["", "A" * 17, "A" * 18, "A" * 19, "é" * 18, "0", "\0" * 18])
def test_a_string_that_is_not_a_cursor_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match="Follow the address in the Link header"):
        decode(text)
