"""Generate a marketplace that the lessons do not use: sellers, listings, offers and bids.

Everything is drawn from a seed: the same on every machine for the same seed, and with other ids for
another seed. Few sellers have most of the listings, and few listings most of the bids.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from course.marketplace.listing_documents import KINDS, Document, current, draw_details, outdated
from helpers.catalog.random_draws import Draws, zipf_ranks

#: The number of listings needed for every case that the tests use.
MIN_LISTINGS = 20

_FIRST_NAMES = ("Ana", "Bo", "Chidi", "Dora", "Emre", "Femi", "Greta", "Hana", "Ivo", "Juri")
_CITIES = ("Bergen", "Izmir", "Lagos", "Lima", "Osaka", "Porto", "Pune", "Quito", "Riga", "Ulm")
_MAKERS = ("Alba", "Corvo", "Delfin", "Eiko", "Fenner", "Gullholm", "Harrow", "Isar", "Kestrel")
_START = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Seller:
    """A seller."""

    seller_id: int
    name: str
    city: str


@dataclass(frozen=True)
class Listing:
    """One or more identical items for sale.

    ``units`` is their number, or ``None`` if unknown. ``document`` describes the listing in the
    current schema version, ``stored`` as it was found, possibly in the old version; both are
    ``None`` if the listing has no description.
    """

    listing_id: int
    seller_id: int
    title: str
    kind: str
    price: Decimal
    units: int | None
    document: Document | None
    stored: Document | None


@dataclass(frozen=True)
class Offer:
    """A lower price for a listing, for buyers of ``min_units`` or more."""

    offer_id: int
    listing_id: int
    min_units: int
    price: Decimal


@dataclass(frozen=True)
class Bid:
    """A bidder's price for one unit of a listing."""

    bid_id: int
    listing_id: int
    bidder_id: int
    amount: Decimal
    placed_at: datetime


@dataclass(frozen=True)
class Marketplace:
    """A whole marketplace. ``popular`` has the ids of its listings, most bids first.

    With every seed, there are listings without a document, without a number of units, with none
    left, without a bid and with a single unit, and there are documents of the old version.
    """

    seed: int
    sellers: tuple[Seller, ...]
    listings: tuple[Listing, ...]
    offers: tuple[Offer, ...]
    bids: tuple[Bid, ...]
    popular: tuple[int, ...]

    @property
    def ids(self) -> list[int]:
        """The ids of all listings, in order."""
        return [listing.listing_id for listing in self.listings]

    def __repr__(self) -> str:
        return (
            f"<Marketplace of seed {self.seed}: {len(self.sellers)} sellers, "
            f"{len(self.listings)} listings, {len(self.offers)} offers, {len(self.bids)} bids>"
        )


def marketplace(listings: int = 120, *, seed: int) -> Marketplace:
    """Generate the marketplace of ``seed`` with this number of listings, all else in proportion.

    Raises ``ValueError`` for fewer than 20 listings.
    """
    if listings < MIN_LISTINGS:
        raise ValueError(f"listings is {listings}: give {MIN_LISTINGS} or more, such as 120.")
    draw = Draws(seed, "marketplace")
    ids = _ids(listings, draw)
    sellers = tuple(
        Seller(seller_id, f"{draw.choice(_FIRST_NAMES)} {number}", draw.choice(_CITIES))
        for number, seller_id in enumerate(_ids(max(3, listings // 10), draw), start=1)
    )
    popular = tuple(draw.shuffled(ids))
    # The least popular twentieth gets neither bids nor offers.
    with_bids = popular[: -max(1, listings // 20)]
    choose = zipf_ranks(len(with_bids))
    made = tuple(_listings(ids, sellers, seed))
    prices = {listing.listing_id: listing.price for listing in made}

    def choice() -> int:
        return with_bids[choose(draw.fraction()) - 1]

    offers = tuple(_offers(listings // 2, choice, prices, draw))
    return Marketplace(
        seed, sellers, made, offers, tuple(_bids(5 * listings, choice, prices, draw)), popular
    )


def _ids(count: int, draw: Draws) -> list[int]:
    """Return ``count`` ascending ids with gaps, from a random start."""
    first, step = draw.integer(1_000, 90_000), draw.choice((2, 3, 5, 7))
    return [first + step * number for number in range(count)]


def _listings(ids: list[int], sellers: tuple[Seller, ...], seed: int) -> list[Listing]:
    choose = zipf_ranks(len(sellers), exponent=1.2)
    by_rank = Draws(seed, "ranks").shuffled(sellers)
    special = Draws(seed, "special").shuffled(ids)
    bare, uncounted, gone, last, *_ = special
    made = []
    for listing_id in ids:
        draw = Draws(seed, "listing", listing_id)
        kind = draw.choice(tuple(KINDS))
        seller = by_rank[choose(draw.fraction()) - 1]
        title = f"{draw.choice(_MAKERS)} {kind} {draw.integer(100, 999)}"
        price = _cents(Decimal(1500 + int(120_000 * draw.fraction() ** 2)) / 100)
        units: int | None = draw.integer(0, 9)
        if listing_id == uncounted or draw.fraction() < 0.06:
            units = None
        if listing_id in (gone, last):
            units = int(listing_id == last)
        document = current(listing_id, kind, title, draw_details(kind, draw), draw)
        old = outdated(document, draw)
        is_old = draw.fraction() < 0.6 or listing_id in special[4:8]
        described = listing_id != bare and draw.fraction() > 0.06
        made.append(
            Listing(
                listing_id,
                seller.seller_id,
                title,
                kind,
                price,
                units,
                document if described else None,
                (old if is_old else document) if described else None,
            )
        )
    return made


def _offers(
    count: int, choice: Callable[[], int], prices: dict[int, Decimal], draw: Draws
) -> list[Offer]:
    ids = _ids(count, draw)
    chosen = [(choice(), draw.integer(2, 5), draw.integer(70, 95)) for _ in ids]
    return [
        Offer(offer_id, listing_id, units, _cents(prices[listing_id] * percent / 100))
        for offer_id, (listing_id, units, percent) in zip(ids, chosen, strict=True)
    ]


def _bids(
    count: int, choice: Callable[[], int], prices: dict[int, Decimal], draw: Draws
) -> list[Bid]:
    bids = []
    for number, bid_id in enumerate(_ids(count, draw)):
        listing_id = choice()
        amount = _cents(prices[listing_id] * draw.integer(50, 130) / 100)
        bidder = 1 + int(count / 4 * draw.fraction() ** 2)
        bids.append(Bid(bid_id, listing_id, bidder, amount, _START + timedelta(minutes=number)))
    return bids


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"))
