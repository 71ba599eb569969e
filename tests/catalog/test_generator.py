"""Generated products and orders: the same on every machine, for any size."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict

from helpers.catalog.generator import orders, products


def _digest(items: list[object]) -> str:
    return hashlib.sha256(json.dumps(items, sort_keys=True, default=str).encode()).hexdigest()


def test_the_first_three_products_are_the_originals() -> None:
    shown = [(p.id, p.name, str(p.price), p.stock, p.metadata) for p in products(10)][:3]
    assert shown == [
        (
            *(1, "Laptop A", "1200", 15),
            {
                "description": "High-performance laptop",
                "tags": ["electronics", "laptop"],
                "specifications": {"ram": "16GB", "cpu": "Intel i7"},
            },
        ),
        (
            *(2, "Phone B", "800", 8),
            {
                "description": "Smartphone with AMOLED display",
                "tags": ["electronics", "phone"],
                "specifications": {"storage": "128GB", "camera": "12MP"},
            },
        ),
        (
            *(3, "Tablet C", "500", 22),
            {
                "description": "Affordable tablet",
                "tags": ["electronics", "tablet"],
                "specifications": {"screen": "10 inch", "battery": "6000mAh"},
            },
        ),
    ]


def test_a_larger_catalogue_starts_with_the_smaller_one() -> None:
    assert list(products(200))[:50] == list(products(50))
    assert [list(products(count)) for count in (0, 2)] == [[], list(products(5))[:2]]


def test_generated_data_is_the_same_on_every_machine() -> None:
    """The digests are stored; every machine and Python version must produce them."""
    assert _digest([asdict(p) for p in products(500)]).startswith("fe7346481a684b0d")
    made = orders(500, product_count=100, customer_count=50)
    assert _digest([asdict(o) for o in made]).startswith("27ce7564686e3040")


def test_another_seed_changes_all_products_but_the_originals() -> None:
    one, other = list(products(50, seed=1)), list(products(50, seed=2))
    assert one[:3] == other[:3]
    assert all(a != b for a, b in zip(one[3:], other[3:], strict=True))


def test_every_category_has_its_own_specifications() -> None:
    kinds: dict[str, set[tuple[str, ...]]] = {}
    for product in list(products(500))[3:]:
        assert product.metadata is not None
        kinds.setdefault(product.category, set()).add(tuple(product.metadata["specifications"]))
    assert len(kinds) == 8
    assert all(len(shapes) == 1 for shapes in kinds.values())
    assert len(set.union(*kinds.values())) == 8


def test_orders_follow_zipfs_law_and_refer_to_existing_products() -> None:
    made = list(orders(20_000, product_count=100, customer_count=30))
    sold = Counter(order.product_id for order in made)
    assert set(sold) <= set(range(1, 101))
    assert {order.customer_id for order in made} <= set(range(1, 31))
    # By Zipf's law with exponent 1, rank 1 is chosen ten times as often as rank 10.
    assert 8 < sold[1] / sold[10] < 12
    dates = [order.order_date for order in made]
    assert dates == sorted(dates)
    assert dates[0].startswith("2025-01-01")
    assert dates[-1].startswith("2025-12-31")
