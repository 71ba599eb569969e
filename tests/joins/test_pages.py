"""Pages have every product once and in order, whichever store is queried first."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal

import pytest
from bson import Decimal128

from helpers.catalog.model import Product, stock_key
from helpers.joins import Query, run_async
from helpers.joins.pages import Page, find_page
from helpers.shop.seeding import load
from helpers.stock import Stock
from helpers.stores import Document, Stores
from tests.joins.conftest import Both
from tests.joins.filling import delete_product, ids_of, insert_product, put
from tests.joins.memory import MemoryStores
from tests.joins.shared_reads import SharedPages, read_page
from tests.snapshots import empty_shop

COUNT = 60


def _shop() -> MemoryStores:
    """Products with gaps between their ids, and data of products that do not exist."""
    draw = random.Random(7)
    ids = [7 * product_id for product_id in range(1, COUNT + 1)]
    documents: list[Document] = [
        {
            "product_id": product_id,
            "tags": draw.sample(["gift", "new", "sale"], draw.randrange(4)),
            "specifications": {"ram_gb": draw.choice([8, 16, 32])},
        }
        for product_id in [*draw.sample(ids, 50), 5, 50, 500, 5000]
    ]
    return MemoryStores(
        {
            product_id: (f"Product {product_id}", "1.50", draw.choice(["lamp", "phone"]))
            for product_id in ids
        },
        documents,
        {
            product_id: draw.choice([b"0", b"-2", b"9", b"12", b"many"])
            for product_id in [*draw.sample(ids, 50), 6]
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


def _matches(query: Query, product_id: int) -> bool:
    """Return whether a product matches all conditions, computed from the data of each store."""
    document = next((each for each in SHOP.documents if each["product_id"] == product_id), {})
    count = SHOP.counts.get(product_id, b"")
    return all(
        (
            query.ids is None or product_id in query.ids,
            query.category in (None, SHOP.rows[product_id][2]),
            set(query.tags) <= set(document.get("tags", ())),
            query.specifications.items() <= document.get("specifications", {}).items(),
            not query.in_stock or (count.isdigit() and int(count) > 0),
            query.after is None or product_id > query.after,
        )
    )


def _walk(read: Callable[[Query], Page], query: Query) -> Iterator[Page]:
    """Read all pages, from the first to the last."""
    while True:
        page = read(query)
        yield page
        if page.next is None:
            return
        query = dataclasses.replace(query, after=page.next)


def _ids(pages: Iterable[Page]) -> list[int]:
    return [product_id for page in pages for product_id in ids_of(page.products)]


@pytest.fixture(scope="module")
def filled(both: Both) -> Both:
    put(both.blocking, SHOP)
    return both


@EACH
@pytest.mark.parametrize("limits", ["few", pytest.param("many", marks=pytest.mark.verify)])
def test_all_pages_together_have_every_product_once_and_in_order(
    filled: Both, kind: str, limits: str
) -> None:
    expected = [product_id for product_id in sorted(SHOP.rows) if _matches(KINDS[kind], product_id)]
    assert bool(expected) == (kind != "nothing")
    most = max(len(expected), 1)
    many = {1, 2, max(most - 1, 1), most + 1, 1000}
    for limit in sorted({7, most} if limits == "few" else many):
        query = dataclasses.replace(KINDS[kind], limit=limit)
        pages = list(_walk(lambda page_query: read_page(filled.blocking, page_query), query))
        assert _ids(pages) == expected
        assert all(len(page.products) == limit for page in pages[:-1])
        assert len(pages) == max(1, -(-len(expected) // limit)), "the last page is not empty"


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind in ("tags", "all conditions") else pytest.mark.verify)
        for kind in KINDS
    ],
)
def test_async_and_shared_pages_are_the_same(filled: Both, kind: str) -> None:
    query, shared = dataclasses.replace(KINDS[kind], limit=4), SharedPages(filled.awaited)

    def read(page_query: Query) -> Page:
        return filled.runner.run(shared.read(page_query))

    expected = list(_walk(lambda page_query: read_page(filled.blocking, page_query), query))
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
def test_inserts_and_deletes_neither_repeat_nor_skip_other_products(
    both: Both, query: Query, limit: int
) -> None:
    old = list(range(20, 400, 20))
    put(
        both.blocking,
        MemoryStores(
            dict.fromkeys(old, ("A", "1", "lamp")),
            [{"product_id": product_id, "tags": ["gift"]} for product_id in old],
            dict.fromkeys(old, b"5"),
        ),
    )
    seen: list[int] = []
    deleted: set[int] = set()
    added: set[int] = set()
    for page in _walk(
        lambda page_query: read_page(both.blocking, page_query),
        dataclasses.replace(query, limit=limit),
    ):
        found = ids_of(page.products)
        seen += found
        if page.next is None:
            break
        # Delete the last product of this page and the second next, insert others on either side.
        for gone in {page.next, page.next + 40} & set(old):
            delete_product(both.blocking, gone)
            deleted.add(gone)
        for new in (page.next - 1 - len(added) % 7, page.next + 1 + len(added) % 7):
            if new not in added | set(old) and len(added) < 30:
                insert_product(both.blocking, new, "lamp", ["gift"])
                added.add(new)
    assert seen == sorted(set(seen))
    assert set(old) - deleted <= set(seen)
    assert any(product_id % 20 for product_id in seen), "products inserted after the page are found"


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
def test_pages_do_not_depend_on_the_join_order(both: Both, limit: int, in_stock: bool) -> None:
    meant = list(range(10, 200, 10))
    documents: list[Document] = [
        {"product_id": product_id, "tags": ["gift"]} for product_id in meant
    ]
    rows = dict.fromkeys(meant, ("A", "1", "lamp"))
    counts = {product_id: b"5" if product_id % 30 else b"0" for product_id in meant}
    query = Query(category="lamp", tags=["gift"], in_stock=in_stock, limit=limit)
    pages: dict[str, list[Page]] = {}
    others = range(1, 400, 2)
    for shop in (
        MemoryStores(rows | dict.fromkeys(others, ("B", "1", "lamp")), documents, counts),
        MemoryStores(
            rows,
            [*documents, *({"product_id": product_id, "tags": ["gift"]} for product_id in others)],
            counts,
        ),
    ):
        put(both.blocking, shop)
        walked = list(_walk(lambda page_query: read_page(both.blocking, page_query), query))
        pages[walked[0].join_order.first] = walked
    assert [(page.products, page.next) for page in pages["MongoDB"]] == [
        (page.products, page.next) for page in pages["PostgreSQL"]
    ]
    assert _ids(pages["MongoDB"]) == [
        product_id for product_id in meant if product_id % 30 or not in_stock
    ]


@pytest.mark.parametrize(
    "strange",
    [[None], [None, math.nan], ["a", "b", "c"], [Decimal128("5.5")], [2.5, -1]],
    ids=["null", "before numbers", "after numbers", "between, as a decimal", "as numbers"],
)
def test_documents_without_a_product_id_do_not_end_the_pages(
    both: Both, strange: list[object]
) -> None:
    ids = list(range(1, 10))
    put(
        both.blocking,
        MemoryStores(
            dict.fromkeys(ids, ("A", "1", "lamp")),
            [{"product_id": product_id, "tags": ["gift"]} for product_id in [*ids, *strange]],
        ),
    )
    for limit in (1, 2, 9, 10):
        query = Query(tags=["gift"], limit=limit)
        assert _ids(_walk(lambda page_query: read_page(both.blocking, page_query), query)) == ids


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
def test_pages_of_products_in_stock_are_full_although_most_are_sold_out(
    both: Both, query: Query
) -> None:
    ids = range(1, 401)
    available = [product_id for product_id in ids if product_id % 40 == 0]
    put(
        both.blocking,
        MemoryStores(
            dict.fromkeys(ids, ("A", "1", "lamp")),
            [{"product_id": product_id, "tags": ["gift"]} for product_id in ids],
            {
                product_id: b"1" if product_id in available else b"0"
                for product_id in ids
                if product_id % 3 or product_id % 40 == 0
            },
        ),
    )
    query = dataclasses.replace(query, in_stock=True, limit=4)
    pages = list(_walk(lambda page_query: read_page(both.blocking, page_query), query))
    assert [len(page.products) for page in pages] == [4, 4, 2]
    assert _ids(pages) == available


class _Filling:
    """Reads stock counts from a shop's ledger, and records the ids."""

    def __init__(self, stores: Stores) -> None:
        self._counts = Stock.of(stores).counts
        self.requested: list[int] = []

    def __call__(self, ids: Sequence[int]) -> dict[int, int | None]:
        self.requested += ids
        return self._counts.fill(ids)


def test_missing_stock_counts_are_read_from_the_ledger_and_written_back(
    shared: Stores,
) -> None:
    stores = empty_shop(shared)
    load(
        stores,
        [
            Product(
                product_id,
                "A",
                Decimal(1),
                "lamp",
                {"tags": ["gift"]},
                product_id % 5 and 10 * product_id,
            )
            for product_id in range(1, 31)
        ]
        + [Product(31, "B", Decimal(1), "lamp", {"tags": ["gift"]}, None)],
    )
    lost = [product_id for product_id in range(1, 31) if product_id % 3 == 0]
    stores.redis.delete(*map(stock_key, lost))
    stores.redis.set(stock_key(4), "many")
    fill = _Filling(stores)
    first = read_page(stores, Query(tags=["gift"], limit=10), fill=fill)
    # The eleventh product is examined to know whether there is a next page.
    assert fill.requested == [3, 4, 6, 9]
    assert [product["stock"] for product in first.products] == [
        str(product_id % 5 and 10 * product_id) for product_id in range(1, 11)
    ]
    assert [stores.redis.get(stock_key(product_id)) for product_id in (3, 4, 6, 9)] == [
        "30",
        "40",
        "60",
        "90",
    ]
    fill.requested.clear()
    assert read_page(stores, Query(tags=["gift"], limit=10), fill=fill) == first
    assert fill.requested == []
    rest = read_page(stores, Query(after=10, in_stock=True), fill=fill)
    assert fill.requested == [12, 15, 18, 21, 24, 27, 30, 31]
    assert ids_of(rest.products) == [product_id for product_id in range(11, 31) if product_id % 5]
    assert stores.redis.exists(stock_key(31)) == 0, (
        "a product unknown to the ledger has no stock count"
    )
