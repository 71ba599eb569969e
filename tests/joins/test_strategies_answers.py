"""On the three stores, every strategy returns the expected result, blocking and async."""

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

ALL = (strategies.per_product, strategies.batched, strategies.at_once)
EXAMPLES = pytest.mark.parametrize("examples", [8, pytest.param(60, marks=pytest.mark.verify)])

IDS = st.integers(1, 12) | st.sampled_from([2**31 - 1, 2**31, 2**53 - 1])
# PostgreSQL accepts neither NUL nor lone surrogates.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
# NUL is valid in JSON; a field name in MongoDB must not look like an operator or a path.
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
        *(
            {"product_id": product_id, **rest, **hidden}
            for product_id, (rest, hidden) in found.items()
        ),
        *({"product_id": product_id, "stray": True} for product_id in stray),
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
REQUESTED = st.none() | st.lists(IDS | st.integers(100, 110), unique=True, max_size=8)


def _expected(
    shop: MemoryStores, ids: Sequence[int] | None, ledger: Mapping[int, int | None]
) -> list[ProductJSON]:
    return [
        {
            "id": product_id,
            "name": name,
            "price": format(Decimal(price), "f"),
            "metadata": _metadata(shop.documents, product_id),
            "stock": _stock(shop.counts.get(product_id), ledger.get(product_id)),
        }
        for product_id, (name, price, _) in sorted(shop.rows.items())
        if ids is None or product_id in ids
    ]


def _metadata(documents: Sequence[Document], product_id: int) -> Document | None:
    for document in documents:
        if document["product_id"] == product_id and document["product_id"] is not True:
            hidden = {"product_id", "schema_version"}
            hidden |= {"category"} if "schema_version" in document else set()
            return {key: _json_value(value) for key, value in document.items() if key not in hidden}
    return None


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json_value(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_json_value(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    return value


def _stock(count: bytes | None, ledger: int | None) -> str | None:
    if count is not None and re.fullmatch(rb"-?[0-9]+", count):
        return str(max(int(count), 0))
    return None if ledger is None else str(max(ledger, 0))


@EXAMPLES
def test_all_strategies_return_the_same_result_blocking_and_async(
    both: Both, examples: int
) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(SHOPS, REQUESTED)
    def compare(shop: MemoryStores, ids: list[int] | None) -> None:
        _compare_ways(both, shop, ids)

    compare()


def _compare_ways(both: Both, shop: MemoryStores, ids: list[int] | None) -> None:
    put(both.blocking, shop)
    expected = _expected(shop, ids, {})

    async def run_all() -> list[list[ProductJSON]]:
        return [await run_async(both.awaited, strategy(ids)) for strategy in ALL]

    for strategy in ALL:
        assert run(both.blocking, strategy(ids)) == expected
        assert run(both.blocking, strategy(ids), threads=True) == expected
    results = both.runner.run(run_all())
    assert results == [expected] * len(ALL)
    for result in results:
        assert json.loads(products_json(result)) == expected


@EXAMPLES
def test_only_missing_stock_counts_are_read_from_the_ledger(both: Both, examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(SHOPS, REQUESTED)
    def compare(shop: MemoryStores, ids: list[int] | None) -> None:
        _compare_with_ledger(both, shop, ids)

    compare()


def _compare_with_ledger(both: Both, shop: MemoryStores, ids: list[int] | None) -> None:
    put(both.blocking, shop)
    expected = _expected(shop, ids, shop.ledger)
    missing = [
        product["id"]
        for product in expected
        if _stock(shop.counts.get(product["id"]), None) is None
    ]
    requested: list[int] = []

    def fill(product_ids: Sequence[int]) -> dict[int, int | None]:
        requested.extend(product_ids)
        return {key: shop.ledger[key] for key in product_ids if key in shop.ledger}

    async def fill_async(product_ids: Sequence[int]) -> dict[int, int | None]:
        return fill(product_ids)

    for strategy in ALL:
        requested.clear()
        assert run(both.blocking, strategy(ids), threads=True, fill=fill) == expected
        assert requested == missing
        awaited = run_async(both.awaited, strategy(ids), fill=fill_async)
        requested.clear()
        assert both.runner.run(awaited) == expected
        assert requested == missing


@EXAMPLES
def test_a_loader_returns_products_in_the_requested_order(both: Both, examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(SHOPS, st.lists(IDS | st.integers(100, 110), max_size=8))
    def compare(shop: MemoryStores, ids: list[int]) -> None:
        _compare_loader(both, shop, ids)

    compare()


def _compare_loader(both: Both, shop: MemoryStores, ids: list[int]) -> None:
    put(both.blocking, shop)
    expected = {product["id"]: product for product in _expected(shop, None, {})}

    async def load() -> list[ProductJSON | None]:
        async with product_loader(both.awaited) as loader:
            return await loader.load_many(ids)

    assert both.runner.run(load()) == [expected.get(product_id) for product_id in ids]


@pytest.fixture
def without_index(both: Both) -> Iterator[Stores]:
    """A collection without the unique index, so that a product may have two documents."""
    make_tables(both.blocking, unique=False)
    yield both.blocking
    make_tables(both.blocking)


def test_two_documents_of_a_product_raise_an_error(both: Both, without_index: Stores) -> None:
    for second in (1, 1.0):
        documents: list[Document] = [{"product_id": 1, "a": 1}, {"product_id": second, "a": 2}]
        put(without_index, MemoryStores({1: ("A", "1", "c"), 2: ("B", "1", "c")}, documents))
        for strategy in ALL:
            for threads in (False, True):
                with pytest.raises(MetadataError, match="two documents of product 1"):
                    run(without_index, strategy([1, 2]), threads=threads)
            with pytest.raises(MetadataError, match="two documents of product 1"):
                both.runner.run(run_async(both.awaited, strategy(None)))
            assert [product["id"] for product in run(without_index, strategy([2]))] == [2]


def test_a_key_of_another_type_is_not_a_stock_count(both: Both) -> None:
    put(both.blocking, MemoryStores({1: ("A", "1", "c"), 2: ("B", "1", "c")}, [], {2: b"4"}))
    both.blocking.redis.rpush("stock:1", "7")
    for strategy in ALL:
        result = run(both.blocking, strategy([1, 2]))
        assert [product["stock"] for product in result] == [None, "4"], strategy
        assert both.runner.run(run_async(both.awaited, strategy(None))) == result
