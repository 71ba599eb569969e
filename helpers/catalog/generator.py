"""Generate products and orders: the same on every machine.

Each product is drawn from its own seed, so product ``n`` does not depend on the catalogue's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from helpers.catalog.categories import CATEGORIES
from helpers.catalog.model import Metadata, Order, Product
from helpers.catalog.random_draws import Draws, zipf_ranks

#: Year of the generated orders.
YEAR = 2025

_ADJECTIVES = ("Slim", "Solid", "Quiet", "Bright", "Swift", "Prime", "Compact", "Classic", "Smart")
_SERIES = ("Aster", "Birch", "Coral", "Delta", "Ember", "Fjord", "Grove", "Heron", "Ivory", "Juno")


def _laptop(draw: Draws) -> Metadata:
    return {
        "ram": f"{draw.choice((8, 16, 32, 64))}GB",
        "cpu": draw.choice(("Intel i5", "Intel i7", "AMD Ryzen 5", "AMD Ryzen 7", "Apple M3")),
        "screen": f"{draw.choice((13, 14, 15, 16))} inch",
    }


def _phone(draw: Draws) -> Metadata:
    return {
        "storage": f"{draw.choice((64, 128, 256, 512))}GB",
        "camera": f"{draw.choice((12, 48, 50, 108))}MP",
        "dual_sim": draw.fraction() < 0.5,
    }


def _tablet(draw: Draws) -> Metadata:
    return {
        "screen": f"{draw.choice((8, 10, 11, 13))} inch",
        "battery": f"{draw.integer(10, 24) * 500}mAh",
        "pen": draw.fraction() < 0.3,
    }


def _headphones(draw: Draws) -> Metadata:
    return {
        "wireless": draw.fraction() < 0.7,
        "driver": f"{draw.choice((30, 40, 50))}mm",
        "noise_cancelling": draw.fraction() < 0.4,
    }


def _book(draw: Draws) -> Metadata:
    return {
        "author": f"{draw.choice(('Ada', 'Grace', 'Edsger', 'Barbara', 'Donald'))} "
        f"{draw.choice(('Vogel', 'Tanaka', 'Okafor', 'Silva', 'Novak'))}",
        "pages": draw.integer(90, 900),
        "language": draw.choice(("en", "de", "es", "fr", "tr")),
    }


def _shoe(draw: Draws) -> Metadata:
    first = draw.integer(35, 40)
    return {
        "sizes": list(range(first, first + draw.integer(2, 6))),
        "material": draw.choice(("leather", "canvas", "mesh", "suede")),
    }


def _lamp(draw: Draws) -> Metadata:
    return {
        "bulb": {
            "socket": draw.choice(("E14", "E27", "GU10")),
            "watts": draw.choice((4, 7, 9, 12)),
        },
        "dimmable": draw.fraction() < 0.5,
    }


def _game(draw: Draws) -> Metadata:
    fewest = draw.integer(1, 3)
    return {
        "players": {"min": fewest, "max": fewest + draw.integer(1, 4)},
        "minutes": draw.choice((15, 30, 45, 60, 90, 120)),
        "age": draw.choice((6, 8, 10, 12, 14)),
    }


# Draws the specifications of a product of each category, in the format of schema version 1.
_SPECIFY: dict[str, Callable[[Draws], dict[str, Any]]] = {
    "laptop": _laptop,
    "phone": _phone,
    "tablet": _tablet,
    "headphones": _headphones,
    "book": _book,
    "shoe": _shoe,
    "lamp": _lamp,
    "game": _game,
}
_MORE_TAGS = ("bestseller", "new", "gift", "refurbished", "eco", "limited", "imported", "sale")

#: The three products of the original system, unchanged.
ORIGINALS = (
    Product(
        1,
        "Laptop A",
        Decimal(1200),
        "laptop",
        {
            "description": "High-performance laptop",
            "tags": ["electronics", "laptop"],
            "specifications": {"ram": "16GB", "cpu": "Intel i7"},
        },
        15,
    ),
    Product(
        2,
        "Phone B",
        Decimal(800),
        "phone",
        {
            "description": "Smartphone with AMOLED display",
            "tags": ["electronics", "phone"],
            "specifications": {"storage": "128GB", "camera": "12MP"},
        },
        8,
    ),
    Product(
        3,
        "Tablet C",
        Decimal(500),
        "tablet",
        {
            "description": "Affordable tablet",
            "tags": ["electronics", "tablet"],
            "specifications": {"screen": "10 inch", "battery": "6000mAh"},
        },
        22,
    ),
)


def products(count: int, *, seed: int = 1) -> Iterator[Product]:
    """Yield products 1 to ``count``; the first three are ``ORIGINALS``.

    Another ``seed`` changes all other products.
    """
    yield from ORIGINALS[:count]
    for number in range(len(ORIGINALS) + 1, count + 1):
        yield _product(number, seed)


def orders(
    count: int, *, product_count: int, customer_count: int, seed: int = 1
) -> Iterator[Order]:
    """Yield orders 1 to ``count``, sorted by time, evenly distributed over ``YEAR``.

    Products and customers are chosen by Zipf's law: product 1 is the most popular, customer 1
    orders the most.
    """
    draw = Draws(seed, "orders")
    choose_product = zipf_ranks(product_count)
    choose_customer = zipf_ranks(customer_count)
    start = datetime(YEAR, 1, 1, tzinfo=UTC)
    step = timedelta(days=365) / max(count, 1)
    for number in range(1, count + 1):
        yield Order(
            number,
            choose_product(draw.fraction()),
            choose_customer(draw.fraction()),
            draw.choice((1, 1, 1, 2, 2, 3)),
            (start + (number - 1) * step).replace(microsecond=0).isoformat(),
        )


def _product(number: int, seed: int) -> Product:
    draw = Draws(seed, "product", number)
    category = draw.choice(tuple(_SPECIFY))
    kind = CATEGORIES[category]
    adjective, series = draw.choice(_ADJECTIVES), draw.choice(_SERIES)
    # Low prices are more frequent than high ones, as in a real shop.
    span = kind.highest - kind.lowest
    price = Decimal(kind.lowest) + Decimal(int(span * 100 * draw.fraction() ** 2)) / 100
    tags = [kind.department, category]
    tags += [tag for tag in _MORE_TAGS if draw.fraction() < 0.12]
    return Product(
        number,
        f"{kind.noun} {series} {number}",
        price.quantize(Decimal("0.01")),
        category,
        {
            "description": f"{adjective} {kind.noun.lower()} of the {series} series",
            "tags": tags,
            "specifications": _SPECIFY[category](draw),
        },
        draw.integer(0, 60),
    )
