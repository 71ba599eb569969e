"""Metadata of 10,000 products: documents examined, round trips, and a bulk migration."""

from __future__ import annotations

from benchmarks.timing import print_figure, seconds
from helpers.catalog.generator import products
from helpers.metadata.collection_schema import prepare_metadata
from helpers.metadata.facets import facets
from helpers.metadata.filters import find_page, metadata_filter
from helpers.metadata.mongo_plans import explain_find
from helpers.metadata.schema_versions import migrate
from helpers.settings import Settings
from helpers.shop.opening import open_databases
from helpers.stores.command_counts import count_commands

_PRODUCTS = 10_000
_RUNS = 3


def bench_metadata(settings: Settings) -> None:
    """Print the time and round trips of a filtered page, the facets and a migration."""
    with (
        open_databases("bench_metadata", 14, settings) as stores,
        count_commands(stores) as (database, commands),
    ):
        collection = database.productmetas
        prepare_metadata(database)
        collection.insert_many(
            {"product_id": product.id, **(product.metadata or {})}
            for product in products(_PRODUCTS)
        )
        commands.clear()
        took = seconds(lambda: migrate(collection))
        print_figure("migrate 10,000 documents to schema version 2, in bulk", [took], "s")
        print_figure("  its commands", [len(commands)], "round trips")

        condition = metadata_filter(tags=["gift"], after=_PRODUCTS // 2)
        plan = explain_find(collection, condition)
        print_figure(
            f"page by tag, {plan.stage}: documents examined per returned",
            [plan.examined_per_returned],
            "",
        )
        pages = [seconds(lambda: find_page(collection, condition)) for _ in range(_RUNS)]
        print_figure("  a page of 24", [1000 * page for page in pages], "ms")

        names = ("ram_gb", "storage_gb", "language")
        commands.clear()
        counts = [seconds(lambda: facets(collection, specifications=names)) for _ in range(_RUNS)]
        print_figure("facets of the whole catalogue", counts, "s")
        print_figure("  its commands", [len(commands) / _RUNS], "round trips")
