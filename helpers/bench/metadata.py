"""What metadata cost at 10,000 products: documents examined, round trips, a migration in bulk."""

from __future__ import annotations

from helpers.bench.timing import print_figure, seconds
from helpers.settings import Settings
from helpers.shop.generate import products
from helpers.shop.metadata_facets import facets
from helpers.shop.metadata_filters import find_page, metadata_filter
from helpers.shop.metadata_schema import prepare_metadata
from helpers.shop.metadata_versions import migrate
from helpers.stores.commands import count_commands
from helpers.stores.document_plans import explain_find
from helpers.stores.opening import open_databases

_PRODUCTS = 10_000
_RUNS = 3


def bench_metadata(settings: Settings) -> None:
    """Print what a filtered page, the facets and the migration of all documents cost."""
    with (
        open_databases("bench_metadata", 14, settings) as stores,
        count_commands(stores) as (database, commands),
    ):
        collection = database.productmetas
        prepare_metadata(database)
        collection.insert_many(
            {"product_id": one.id, **(one.metadata or {})} for one in products(_PRODUCTS)
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

        wanted = ("ram_gb", "storage_gb", "language")
        commands.clear()
        counts = [seconds(lambda: facets(collection, specifications=wanted)) for _ in range(_RUNS)]
        print_figure("facets of the whole catalogue", counts, "s")
        print_figure("  its commands", [len(commands) / _RUNS], "round trips")
