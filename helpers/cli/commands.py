"""The command line: ``python -m helpers up · down · status · seed · products · reconcile · …``.

The exit code is 0 on success. It is 2 if something must be corrected first: then one sentence on
standard error says what, and nothing was changed half-way.

Each command imports what it needs when it runs, so that ``--help`` and ``status`` are fast.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from helpers.api.options import (
    ServeOptions,
    add_flags,
    argument_type,
    given_flags,
    seconds,
    whole_number,
)
from helpers.cli.drill import add_actions, run_drill
from helpers.errors import CourseError, SettingsError
from helpers.settings import as_path, load_settings

if TYPE_CHECKING:
    from helpers.shop.seeding import Changes
    from helpers.stores import Stores

_MISTAKE = 2
_DEFAULT_PRODUCTS = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
        if sys.stdout is not None:  # a shell may have closed it
            sys.stdout.flush()
    except CourseError as error:
        print(error, file=sys.stderr)
        return _MISTAKE
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output, such as `head`, has closed it
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m helpers", description="Manage the shop's servers and its data."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, run: Callable[[argparse.Namespace], None], help_text: str
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_text)
        command.set_defaults(run=run)
        return command

    up = add("up", _up, "start the servers, or check those given by address")
    up.add_argument("--workers", type=int, metavar="N", help="PostgreSQL workers (default: 2)")

    add("down", _down, "stop the embedded servers; their data stay")

    status = add("status", _status, "show engine, version and address of every store")
    status.add_argument("--json", action="store_true", help="print JSON, passwords included")

    seed = add("seed", _seed, "fill the shop; existing products stay as they are")
    source = seed.add_mutually_exclusive_group()
    source.add_argument(
        "--products",
        type=argument_type(whole_number),
        default=_DEFAULT_PRODUCTS,
        metavar="N",
        help=f"generate N products with their orders (default: {_DEFAULT_PRODUCTS})",
    )
    source.add_argument(
        "--file", type=as_path, help="load a catalogue in JSON Lines, one product per line"
    )
    seed.add_argument("--if-empty", action="store_true", help="do nothing if there are products")

    products = add("products", _products, "list the products, joined from three stores")
    products.add_argument("--json", action="store_true", help="print the JSON of GET /api/products")

    add_flags(add("serve", _serve, "serve the HTTP API and the storefront"))

    relay = add(
        "relay",
        _relay,
        "carry the outbox of orders to MongoDB and finish interrupted orders, until stopped",
    )
    relay.add_argument("--once", action="store_true", help="do it once, reconcile, and exit")
    relay.add_argument(
        "--every",
        type=argument_type(seconds),
        default=1.0,
        metavar="SECONDS",
        help="pause between passes (default: 1)",
    )

    add(
        "reconcile",
        _reconcile,
        "compare stock and sales with ledger and orders; repair and report differences",
    )

    add_actions(add("drill", run_drill, "stop, kill, freeze, thaw or restart one server"))

    url = add("url", _url, "print a server's address, password included")
    url.add_argument("store", help="coordinator, worker1, worker2, …, mongo or redis")

    reset = add("reset", _reset, "delete the shop, and all data of the embedded servers")
    reset.add_argument("--own", action="store_true", help="only that of the embedded servers")
    return parser


def _up(options: argparse.Namespace) -> None:
    from helpers.shop.opening import locate

    locate(load_settings(), workers=options.workers)
    _status(argparse.Namespace(json=False))


def _down(_: argparse.Namespace) -> None:
    from helpers.embedded import EmbeddedServers

    settings = load_settings()
    if settings.addresses is not None:
        raise SettingsError(
            "The servers were given by address, so they are not ours to stop: stop them where "
            "they were started (`make docker-down` for the compose file's)."
        )
    EmbeddedServers(settings).down()


def _status(options: argparse.Namespace) -> None:
    from helpers.shop.status import read_status

    status = read_status(load_settings())
    print(json.dumps(status.as_json(), indent=2) if options.json else status.as_text())


def _seed(options: argparse.Namespace) -> None:
    from helpers.catalog.catalog_file import read_catalog
    from helpers.cli.progress_bar import ProgressBar
    from helpers.shop import open_shop
    from helpers.shop.schema import count_products
    from helpers.shop.seeding import load, seed

    catalog = None if options.file is None else read_catalog(options.file)
    with open_shop() as stores, stores.explaining():
        count = count_products(stores)
        if options.if_empty and count:
            print(f"The shop has {count} products already.")
            return
        with ProgressBar() as bar:
            if catalog is None:
                changes = seed(stores, options.products, progress=bar.advance)
            else:
                changes = load(stores, catalog, progress=bar.advance)
    print(_described(changes))


def _described(changes: Changes) -> str:
    if changes.total == 0:
        return "Nothing to do: everything was there."
    return (
        f"Written: {changes.products} products, {changes.metadata} metadata, "
        f"{changes.stock} stock counts, {changes.orders} orders."
    )


def _products(options: argparse.Namespace) -> None:
    from helpers.joins import batched
    from helpers.shop import open_shop
    from helpers.validation import printable

    with open_shop() as stores, stores.explaining():
        _require_products(stores)
        products = batched(stores)
    if options.json:
        print(json.dumps(products, indent=2, ensure_ascii=False, default=str))
        return
    for product in products:
        tags = ", ".join((product["metadata"] or {}).get("tags", []))
        stock = "unknown" if product["stock"] is None else product["stock"]
        columns = (f"{product['id']:>6}", f"{product['name']:<32}", f"{product['price']:>10}")
        print(printable("  ".join((*columns, f"{stock:>7}", tags))))


def _require_products(stores: Stores) -> None:
    from helpers.shop.schema import count_products

    if not count_products(stores):
        raise CourseError("The shop has no products: fill it with `python -m helpers seed`.")


def _serve(options: argparse.Namespace) -> None:
    from helpers.api.serve import serve
    from helpers.shop import locate

    serve_options = ServeOptions.read(**given_flags(options))
    serve(locate(load_settings()), serve_options)


def _relay(options: argparse.Namespace) -> None:
    from helpers.cli.relay import relay_once, run_relay
    from helpers.shop import locate

    addresses = locate(load_settings())
    if options.once:
        relay_once(addresses)
    else:
        run_relay(addresses, every=options.every)


def _reconcile(_: argparse.Namespace) -> None:
    from helpers.orders.sales import rebuild_sales
    from helpers.shop import open_shop
    from helpers.stock import Stock, reconcile

    with open_shop() as stores, stores.explaining():
        _require_products(stores)
        print(reconcile(Stock.of(stores)))
        print(rebuild_sales(stores))


def _url(options: argparse.Namespace) -> None:
    from helpers.shop.status import read_status

    urls = read_status(load_settings()).urls()
    if options.store not in urls:
        raise CourseError(f"There is no server called {options.store!r}: name {', '.join(urls)}.")
    print(urls[options.store])


def _reset(options: argparse.Namespace) -> None:
    from helpers.embedded import EmbeddedServers
    from helpers.shop import open_shop
    from helpers.shop.schema import drop_shop

    settings = load_settings()
    if settings.addresses is None or options.own:
        EmbeddedServers(settings).reset()
    else:
        with open_shop(settings) as stores, stores.explaining():
            drop_shop(stores)
