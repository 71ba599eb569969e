"""The generated marketplace: reproducible, different for each seed, with every special case."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import asdict

import pytest

from course.marketplace import KINDS, Marketplace, marketplace
from course.marketplace.listing_documents import CURRENT, Document

SEEDS = range(25)


def _digest(market: Marketplace) -> str:
    text = json.dumps(asdict(market), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _read(text: str, unit: str, smaller: dict[str, int]) -> float:
    number, found = re.fullmatch(r"([0-9.]+) ?([A-Za-z]+)", text).groups()  # type: ignore[union-attr]
    return float(number) if found == unit else float(number) / smaller[found]


def _upgraded(old: Document) -> Document:
    """Upgrade an old document, independently of the implementation."""
    details = dict(old["details"])
    for measure in KINDS[old["kind"]]:
        text = details.pop(measure.old)
        details[measure.new] = _read(text, measure.unit, dict(measure.smaller))
    labels = [label.strip() for label in old["labels"].split(",") if label.strip()]
    return {**old, "schema_version": CURRENT, "labels": labels, "details": details}


def test_it_is_the_same_on_every_machine() -> None:
    """The digest was recorded once; it must not depend on machine, Python or order of calls."""
    marketplace(30, seed=8)
    assert _digest(marketplace(120, seed=7)).startswith("39babf03ad175fac")


def test_another_seed_generates_other_ids() -> None:
    ids = [tuple(marketplace(60, seed=seed).ids) for seed in SEEDS]
    popular = {marketplace(60, seed=seed).popular[0] for seed in SEEDS}
    assert len(set(ids)) == len(popular) == len(SEEDS)


@pytest.mark.parametrize("count", [20, 60, 300])
def test_the_marketplace_has_the_requested_size(count: int) -> None:
    market = marketplace(count, seed=3)
    sizes = [len(part) for part in (market.listings, market.offers, market.bids, market.popular)]
    assert sizes == [count, count // 2, 5 * count, count]


def test_a_marketplace_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="give 20 or more"):
        marketplace(19, seed=1)


@pytest.mark.parametrize("count", [20, 120])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_special_case_occurs(seed: int, count: int) -> None:
    market = marketplace(count, seed=seed)
    units = [listing.units for listing in market.listings]
    assert {None, 0, 1} <= set(units)
    assert any(listing.document is None for listing in market.listings)
    stored = [listing.stored for listing in market.listings if listing.stored is not None]
    assert {CURRENT} < {document.get("schema_version") for document in stored}
    assert {bid.listing_id for bid in market.bids} < set(market.ids)


@pytest.mark.parametrize("seed", SEEDS)
def test_ids_are_unique_and_references_are_valid(seed: int) -> None:
    market = marketplace(60, seed=seed)
    assert len(set(market.ids)) == 60
    assert len({bid.bid_id for bid in market.bids}) == len(market.bids)
    assert len({offer.offer_id for offer in market.offers}) == len(market.offers)
    sellers = {seller.seller_id for seller in market.sellers}
    assert {listing.seller_id for listing in market.listings} <= sellers
    assert {offer.listing_id for offer in market.offers} <= set(market.ids)


def test_few_listings_have_most_of_the_bids() -> None:
    market = marketplace(200, seed=5)
    bids = Counter(bid.listing_id for bid in market.bids)
    assert bids[market.popular[0]] > 20 * bids[market.popular[150]]


@pytest.mark.parametrize("seed", SEEDS)
def test_an_old_document_has_the_same_content(seed: int) -> None:
    kinds, formats = set(), set()
    for listing in marketplace(120, seed=seed).listings:
        if listing.stored is None or listing.stored.get("schema_version") == CURRENT:
            assert listing.stored == listing.document
            continue
        assert _upgraded(listing.stored) == listing.document
        kinds.add(listing.kind)
        formats.add(listing.stored.get("schema_version"))
        formats |= {text.lstrip("0123456789. ") for text in map(str, _measures(listing.stored))}
    assert kinds == set(KINDS)
    assert formats == {None, 1, "cm", "mm", "kg", "g", "MP"}


def _measures(document: Document) -> list[str]:
    return [document["details"][measure.old] for measure in KINDS[document["kind"]]]
