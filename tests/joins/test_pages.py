"""Pages on the three stores: every product once, in order, whoever goes first, whatever moves."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal

import pytest
from bson import Decimal128

from helpers.catalog.model import Product, stock_key
from helpers.joins import Page, Pages, Query, read_page, run_async
from helpers.joins.pages import find_page
from helpers.shop.seeding import load
from helpers.stock import Stock
from helpers.stores import Document, Stores
from tests.joins.conftest import Both
from tests.joins.filling import delete_product, ids_of, insert_product, put
from tests.joins.memory import MemoryStores
from tests.snapshots import empty_shop

COUNT = 60


def _shop() -> MemoryStores:
    """Products with gaps between their ids, and parts of products that are not there."""
    draw = random.Random(7)
    ids = [7 * one for one in range(1, COUNT + 1)]
    documents: list[Document] = [
        {
            "product_id": one,
            "tags": draw.sample(["gift", "new", "sale"], draw.randrange(4)),
            "specifications": {"ram_gb": draw.choice([8, 16, 32])},
        }
        for one in [*draw.sample(ids, 50), 5, 50, 500, 5000]
    ]
    return MemoryStores(
        {one: (f"Product {one}", "1.50", draw.choice(["lamp", "phone"])) for one in ids},
        documents,
        {
            one: draw.choice([b"0", b"-2", b"9", b"12", b"many"])
            for one in [*draw.sample(ids, 50), 6]
        },
    )


SHOP = _shop()
KINDS = {
    "all": Query(),
    "after": Query(after=100),
    "ids": Query(ids=[*range(14, 120), 999]),
    "ids, category": Query(ids=range(1, 300), category="lamp"),
    "ids, category, tags, in stock": Query(
        ids=range(1, 500), category="lamp", tags=["gift"], in_stock=True
    ),
    "category": Query(category="lamp"),
    "tag": Query(tags=["gift"]),
    "tags": Query(tags=["gift", "new"]),
    "specification": Query(specifications={"ram_gb": 16}),
    "category, tag": Query(category="phone", tags=["new"]),
    "category, specification, after": Query(
        category="lamp", specifications={"ram_gb": 8}, after=50
    ),
    "in stock": Query(in_stock=True),
    "category, in stock": Query(category="lamp", in_stock=True),
    "tag, in stock": Query(tags=["sale"], in_stock=True),
    "all conditions": Query(category="lamp", tags=["sale"], in_stock=True, after=30),
    "nothing": Query(category="lamp", tags=["none"]),
}
EACH = pytest.mark.parametrize("kind", KINDS)


def _meets(query: Query, one: int) -> bool:
    """Say of one product whether it is meant: store by store, as they were filled."""
    document = next((each for each in SHOP.documents if each["product_id"] == one), {})
    count = SHOP.counts.get(one, b"")
    return all(
        (
            query.ids is None or one in query.ids,
            query.category in (None, SHOP.rows[one][2]),
            set(query.tags) <= set(document.get("tags", ())),
            query.specifications.items() <= document.get("specifications", {}).items(),
            not query.in_stock or (count.isdigit() and int(count) > 0),
            query.after is None or one > query.after,
        )
    )


def _walk(read: Callable[[Query], Page], query: Query) -> Iterator[Page]:
    """Read page after page, from the first to the last."""
    while True:
        page = read(query)
        yield page
        if page.next is None:
            return
        query = dataclasses.replace(query, after=page.next)


def _ids(pages: Iterable[Page]) -> list[int]:
    return [one for page in pages for one in ids_of(page.products)]


@pytest.fixture(scope="module")
def filled(both: Both) -> Both:
    put(both.waiting, SHOP)
    return both


@EACH
@pytest.mark.parametrize("limits", ["few", pytest.param("many", marks=pytest.mark.verify)])
def test_all_pages_together_have_every_product_once_and_in_order(
    filled: Both, kind: str, limits: str
) -> None:
    expected = [one for one in sorted(SHOP.rows) if _meets(KINDS[kind], one)]
    assert bool(expected) == (kind != "nothing")
    most = max(len(expected), 1)
    many = {1, 2, max(most - 1, 1), most + 1, 1000}
    for limit in sorted({7, most} if limits == "few" else many):
        query = dataclasses.replace(KINDS[kind], limit=limit)
        pages = list(_walk(lambda asked: read_page(filled.waiting, asked), query))
        assert _ids(pages) == expected
        assert all(len(page.products) == limit for page in pages[:-1])
        assert len(pages) == max(1, -(-len(expected) // limit)), "no last page that is empty"


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind in ("tags", "all conditions") else pytest.mark.verify)
        for kind in KINDS
    ],
)
def test_awaited_pages_are_the_same(filled: Both, kind: str) -> None:
    query, shared = dataclasses.replace(KINDS[kind], limit=4), Pages(filled.awaited)

    def read(asked: Query) -> Page:
        return filled.runner.run(shared.read(asked))

    expected = list(_walk(lambda asked: read_page(filled.waiting, asked), query))
    assert list(_walk(read, query)) == expected
    assert filled.runner.run(run_async(filled.awaited, find_page(query))) == expected[0]


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        pytest.param(
            query,
            limit,
            id=f"{name}-{limit}",
            marks=() if (name, limit) == ("all conditions", 3) else pytest.mark.verify,
        )
        for name, query in {
            "all": Query(),
            "category": Query(category="lamp"),
            "tag": Query(tags=["gift"]),
            "both": Query(category="lamp", tags=["gift"]),
            "all conditions": Query(category="lamp", tags=["gift"], in_stock=True),
            "ids": Query(ids=range(1, 1000)),
        }.items()
        for limit in (1, 3)
    ],
)
def test_what_is_there_throughout_is_neither_repeated_nor_lost_while_others_come_and_go(
    both: Both, query: Query, limit: int
) -> None:
    old = list(range(20, 400, 20))
    put(
        both.waiting,
        MemoryStores(
            dict.fromkeys(old, ("A", "1", "lamp")),
            [{"product_id": one, "tags": ["gift"]} for one in old],
            dict.fromkeys(old, b"5"),
        ),
    )
    seen: list[int] = []
    deleted: set[int] = set()
    added: set[int] = set()
    for page in _walk(
        lambda asked: read_page(both.waiting, asked), dataclasses.replace(query, limit=limit)
    ):
        found = ids_of(page.products)
        seen += found
        if page.next is None:
            break
        # The last of this page, the one that would be second next, and new ones on either side.
        for gone in {page.next, page.next + 40} & set(old):
            delete_product(both.waiting, gone)
            deleted.add(gone)
        for new in (page.next - 1 - len(added) % 7, page.next + 1 + len(added) % 7):
            if new not in added | set(old) and len(added) < 30:
                insert_product(both.waiting, new, "lamp", ["gift"])
                added.add(new)
    assert seen == sorted(set(seen))
    assert set(old) - deleted <= set(seen)
    assert any(one % 20 for one in seen), "what was added further on is seen"


@pytest.mark.parametrize(
    ("limit", "in_stock"),
    [
        (4, True),
        *(
            pytest.param(limit, in_stock, marks=pytest.mark.verify)
            for limit, in_stock in ((1, False), (1, True), (4, False), (1000, True))
        ),
    ],
)
def test_the_page_is_the_same_whichever_store_goes_first(
    both: Both, limit: int, in_stock: bool
) -> None:
    meant = list(range(10, 200, 10))
    documents: list[Document] = [{"product_id": one, "tags": ["gift"]} for one in meant]
    rows = dict.fromkeys(meant, ("A", "1", "lamp"))
    counts = {one: b"5" if one % 30 else b"0" for one in meant}
    query = Query(category="lamp", tags=["gift"], in_stock=in_stock, limit=limit)
    pages: dict[str, list[Page]] = {}
    others = range(1, 400, 2)
    for shop in (
        MemoryStores(rows | dict.fromkeys(others, ("B", "1", "lamp")), documents, counts),
        MemoryStores(
            rows, [*documents, *({"product_id": one, "tags": ["gift"]} for one in others)], counts
        ),
    ):
        put(both.waiting, shop)
        walked = list(_walk(lambda asked: read_page(both.waiting, asked), query))
        pages[walked[0].choice.first] = walked
    assert [(one.products, one.next) for one in pages["MongoDB"]] == [
        (one.products, one.next) for one in pages["PostgreSQL"]
    ]
    assert _ids(pages["MongoDB"]) == [one for one in meant if one % 30 or not in_stock]


@pytest.mark.parametrize(
    "strange",
    [[None], [None, math.nan], ["a", "b", "c"], [Decimal128("5.5")], [2.5, -1]],
    ids=["null", "before numbers", "behind numbers", "between, as a decimal", "as numbers"],
)
def test_documents_of_no_product_do_not_end_the_pages(both: Both, strange: list[object]) -> None:
    ids = list(range(1, 10))
    put(
        both.waiting,
        MemoryStores(
            dict.fromkeys(ids, ("A", "1", "lamp")),
            [{"product_id": one, "tags": ["gift"]} for one in [*ids, *strange]],
        ),
    )
    for limit in (1, 2, 9, 10):
        query = Query(tags=["gift"], limit=limit)
        assert _ids(_walk(lambda asked: read_page(both.waiting, asked), query)) == ids


@pytest.mark.parametrize(
    "query",
    [
        Query(tags=["gift"]),
        *(
            pytest.param(query, marks=pytest.mark.verify)
            for query in (Query(), Query(category="lamp"))
        ),
    ],
)
def test_pages_of_what_is_in_stock_are_full_although_most_is_sold_out(
    both: Both, query: Query
) -> None:
    ids = range(1, 401)
    available = [one for one in ids if one % 40 == 0]
    put(
        both.waiting,
        MemoryStores(
            dict.fromkeys(ids, ("A", "1", "lamp")),
            [{"product_id": one, "tags": ["gift"]} for one in ids],
            {one: b"1" if one in available else b"0" for one in ids if one % 3 or one % 40 == 0},
        ),
    )
    query = dataclasses.replace(query, in_stock=True, limit=4)
    pages = list(_walk(lambda asked: read_page(both.waiting, asked), query))
    assert [len(page.products) for page in pages] == [4, 4, 2]
    assert _ids(pages) == available


class _Filling:
    """The ledger of a shop, and what it was asked for."""

    def __init__(self, stores: Stores) -> None:
        self._counts = Stock.of(stores).counts
        self.asked: list[int] = []

    def __call__(self, ids: Sequence[int]) -> dict[int, int | None]:
        self.asked += ids
        return self._counts.fill(ids)


def test_the_ledger_is_asked_for_missing_counts_alone_and_they_are_there_again(
    shared: Stores,
) -> None:
    stores = empty_shop(shared)
    load(
        stores,
        [
            Product(one, "A", Decimal(1), "lamp", {"tags": ["gift"]}, one % 5 and 10 * one)
            for one in range(1, 31)
        ]
        + [Product(31, "B", Decimal(1), "lamp", {"tags": ["gift"]}, None)],
    )
    lost = [one for one in range(1, 31) if one % 3 == 0]
    stores.redis.delete(*map(stock_key, lost))
    stores.redis.set(stock_key(4), "many")
    fill = _Filling(stores)
    first = read_page(stores, Query(tags=["gift"], limit=10), fill=fill)
    # The eleventh is looked at to know whether there is a next page.
    assert fill.asked == [3, 4, 6, 9]
    assert [one["stock"] for one in first.products] == [
        str(one % 5 and 10 * one) for one in range(1, 11)
    ]
    assert [stores.redis.get(stock_key(one)) for one in (3, 4, 6, 9)] == ["30", "40", "60", "90"]
    fill.asked.clear()
    assert read_page(stores, Query(tags=["gift"], limit=10), fill=fill) == first
    assert fill.asked == []
    rest = read_page(stores, Query(after=10, in_stock=True), fill=fill)
    assert fill.asked == [12, 15, 18, 21, 24, 27, 30, 31]
    assert ids_of(rest.products) == [one for one in range(11, 31) if one % 5]
    assert stores.redis.exists(stock_key(31)) == 0, "what the ledger does not know has no count"
