"""On the three stores: every strategy, however it is run, gives what plain Python puts together."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.catalog.model import ProductJSON
from helpers.errors import MetadataError
from helpers.joins import (
    products_json,
    run,
    run_async,
    strategies,
)
from helpers.stores import Document, Stores
from tests.joins.conftest import Both
from tests.joins.filling import make_tables, put
from tests.joins.memory import MemoryStores
from tests.joins.shared_reads import product_loader

ALL = (strategies.per_product, strategies.batched, strategies.rows_first, strategies.at_once)
EXAMPLES = pytest.mark.parametrize("examples", [8, pytest.param(60, marks=pytest.mark.verify)])

IDS = st.integers(1, 12) | st.sampled_from([2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1])
# PostgreSQL takes no NUL and no half of a surrogate pair.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
# JSON with NUL is fine; a name of MongoDB's must not look like an operator or a path.
NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0.$"), min_size=1, max_size=5
).filter(lambda name: name not in ("_id", "product_id", "schema_version", "category"))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
PRICES = st.sampled_from(["0", "0.00", "12.50", "1E+3", "1E-9", "NaN", "9" * 60 + ".01"])
ROWS = st.dictionaries(IDS, st.tuples(TEXTS, PRICES, TEXTS), max_size=8)
DOCUMENTS = st.builds(
    lambda found, stray: [
        *({"product_id": one, **rest, **hidden} for one, (rest, hidden) in found.items()),
        *({"product_id": one, "stray": True} for one in stray),
    ],
    st.dictionaries(
        IDS,
        st.tuples(
            st.dictionaries(NAMES, VALUES, max_size=4),
            st.fixed_dictionaries(
                {}, optional={"schema_version": st.just(2), "category": st.just("lamp")}
            ),
        ),
        max_size=8,
    ),
    st.lists(st.sampled_from([None, "1", True, 0, -1, 1.5, math.inf]), unique=True, max_size=3),
)
COUNTS = st.dictionaries(
    IDS,
    st.integers(-5, 10**30).map(lambda units: str(units).encode())
    | st.sampled_from(
        [
            *(b"0", b"-0", b"000", b"007", b"9" * 400, b"-" + b"9" * 400),
            *(b"-", b"", b"many", b"1.5", b"1e3", b" 7", b"+7", b"7\n", b"None", b"null"),
            *(b"\xff\xfe", "٣".encode()),
        ]
    ),
    max_size=8,
)
SHOPS = st.builds(
    MemoryStores,
    ROWS,
    DOCUMENTS,
    COUNTS,
    st.dictionaries(IDS, st.integers(-5, 10**12) | st.none(), max_size=4),
)
ASKED = st.none() | st.lists(IDS | st.integers(100, 110), unique=True, max_size=8)


def _expected(
    shop: MemoryStores, ids: Sequence[int] | None, ledger: Mapping[int, int | None]
) -> list[ProductJSON]:
    return [
        {
            "id": one,
            "name": name,
            "price": format(Decimal(price), "f"),
            "metadata": _metadata(shop.documents, one),
            "stock": _stock(shop.counts.get(one), ledger.get(one)),
        }
        for one, (name, price, _) in sorted(shop.rows.items())
        if ids is None or one in ids
    ]


def _metadata(documents: Sequence[Document], product_id: int) -> Document | None:
    for document in documents:
        if document["product_id"] == product_id and document["product_id"] is not True:
            hidden = {"product_id", "schema_version"}
            hidden |= {"category"} if "schema_version" in document else set()
            return {key: _shown(value) for key, value in document.items() if key not in hidden}
    return None


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shown(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_shown(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    return value


def _stock(count: bytes | None, ledger: int | None) -> str | None:
    if count is not None and re.fullmatch(rb"-?[0-9]+", count):
        return str(max(int(count), 0))
    return None if ledger is None else str(max(ledger, 0))


@EXAMPLES
def test_every_strategy_gives_the_same_answer_whether_it_waits_or_is_awaited(
    both: Both, examples: int
) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(SHOPS, ASKED)
    def compare(shop: MemoryStores, ids: list[int] | None) -> None:
        _compare_ways(both, shop, ids)

    compare()


def _compare_ways(both: Both, shop: MemoryStores, ids: list[int] | None) -> None:
    put(both.waiting, shop)
    expected = _expected(shop, ids, {})

    async def all_awaited() -> list[list[ProductJSON]]:
        return [await run_async(both.awaited, strategy(ids)) for strategy in ALL]

    for strategy in ALL:
        assert run(both.waiting, strategy(ids)) == expected
        assert run(both.waiting, strategy(ids), threads=True) == expected
    answers = both.runner.run(all_awaited())
    assert answers == [expected] * len(ALL)
    for answer in answers:
        assert json.loads(products_json(answer)) == expected


@EXAMPLES
def test_missing_counts_are_the_ledgers_and_nobody_is_asked_for_others(
    both: Both, examples: int
) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(SHOPS, ASKED)
    def compare(shop: MemoryStores, ids: list[int] | None) -> None:
        _compare_with_ledger(both, shop, ids)

    compare()


def _compare_with_ledger(both: Both, shop: MemoryStores, ids: list[int] | None) -> None:
    put(both.waiting, shop)
    expected = _expected(shop, ids, shop.ledger)
    missing = [
        one["id"] for one in expected if _stock(shop.counts.get(one["id"]), None) is None
    ]  # fmt: skip
    asked: list[int] = []

    def fill(wanted: Sequence[int]) -> dict[int, int | None]:
        asked.extend(wanted)
        return {one: shop.ledger[one] for one in wanted if one in shop.ledger}

    async def fill_awaited(wanted: Sequence[int]) -> dict[int, int | None]:
        return fill(wanted)

    for strategy in ALL:
        asked.clear()
        assert run(both.waiting, strategy(ids), threads=True, fill=fill) == expected
        assert asked == missing
        awaited = run_async(both.awaited, strategy(ids), fill=fill_awaited)
        asked.clear()
        assert both.runner.run(awaited) == expected
        assert asked == missing


@EXAMPLES
def test_a_loader_gives_each_product_where_it_was_asked_for(both: Both, examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(SHOPS, st.lists(IDS | st.integers(100, 110), max_size=8))
    def compare(shop: MemoryStores, ids: list[int]) -> None:
        _compare_loader(both, shop, ids)

    compare()


def _compare_loader(both: Both, shop: MemoryStores, ids: list[int]) -> None:
    put(both.waiting, shop)
    expected = {one["id"]: one for one in _expected(shop, None, {})}

    async def load() -> list[ProductJSON | None]:
        async with product_loader(both.awaited) as loader:
            return await loader.load_many(ids)

    assert both.runner.run(load()) == [expected.get(one) for one in ids]


@pytest.fixture
def without_index(both: Both) -> Iterator[Stores]:
    """A collection in which a product may have two documents."""
    make_tables(both.waiting, unique=False)
    yield both.waiting
    make_tables(both.waiting)


def test_two_documents_of_a_product_are_refused(both: Both, without_index: Stores) -> None:
    for second in (1, 1.0):
        documents: list[Document] = [{"product_id": 1, "a": 1}, {"product_id": second, "a": 2}]
        put(without_index, MemoryStores({1: ("A", "1", "c"), 2: ("B", "1", "c")}, documents))
        for strategy in ALL:
            for threads in (False, True):
                with pytest.raises(MetadataError, match="two documents of product 1"):
                    run(without_index, strategy([1, 2]), threads=threads)
            with pytest.raises(MetadataError, match="two documents of product 1"):
                both.runner.run(run_async(both.awaited, strategy(None)))
            assert [one["id"] for one in run(without_index, strategy([2]))] == [2]


def test_a_key_that_holds_no_text_is_no_count(both: Both) -> None:
    put(both.waiting, MemoryStores({1: ("A", "1", "c"), 2: ("B", "1", "c")}, [], {2: b"4"}))
    both.waiting.redis.rpush("stock:1", "7")
    for strategy in ALL:
        answer = run(both.waiting, strategy([1, 2]))
        assert [one["stock"] for one in answer] == [None, "4"], strategy
        assert both.runner.run(run_async(both.awaited, strategy(None))) == answer
