"""The command line: ``python -m helpers up · down · status · seed · products · reconcile · …``.

Exit code 0 when all went well, 2 when something must be corrected first: then one sentence on
standard error says what, and nothing was changed half-way.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tqdm import tqdm

from helpers.catalog.catalog_file import read_catalog
from helpers.cli.drill import add_actions, run_drill
from helpers.cli.relay import relay_once, run_relay
from helpers.embedded import EmbeddedServers
from helpers.errors import CourseError, SettingsError
from helpers.joins import batched
from helpers.orders.sales import rebuild_sales
from helpers.settings import load_settings
from helpers.shop import locate, open_shop
from helpers.shop.schema import count_products, drop_shop
from helpers.shop.seed import Changes, load, seed
from helpers.shop.status import read_status
from helpers.stock import Stock, reconcile

_MISTAKE = 2
_DEFAULT_PRODUCTS = 100
_LONGEST_PATIENCE = 3600


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except CourseError as error:
        print(error, file=sys.stderr)
        return _MISTAKE
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has read enough
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m helpers", description="The shop's servers, its data, and a look at both."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="start the servers (or check those given by address)")
    up.add_argument("--workers", type=int, metavar="N", help="PostgreSQL workers (default: 2)")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", help="stop the course's own servers; data stay")
    down.set_defaults(run=_down)

    status = commands.add_parser("status", help="show engine, version and address of every store")
    status.add_argument("--json", action="store_true", help="as JSON, passwords included")
    status.set_defaults(run=_status)

    seeding = commands.add_parser("seed", help="fill the shop; what is there already stays")
    what = seeding.add_mutually_exclusive_group()
    what.add_argument(
        "--products",
        type=_count,
        default=_DEFAULT_PRODUCTS,
        metavar="N",
        help=f"generate N products with their orders (default: {_DEFAULT_PRODUCTS})",
    )
    what.add_argument("--file", type=Path, help="load a catalogue: JSON Lines, a product a line")
    seeding.add_argument(
        "--if-empty", action="store_true", help="do nothing where the shop has products"
    )
    seeding.set_defaults(run=_seed)

    products = commands.add_parser("products", help="list the products, joined from three stores")
    products.add_argument("--json", action="store_true", help="as GET /api/products answers")
    products.set_defaults(run=_products)

    serving = commands.add_parser("serve", help="answer GET /api/products, and show the storefront")
    serving.add_argument(
        "--port", type=_count, default=8000, help="0: any free one (default: 8000)"
    )
    serving.add_argument(
        "--host", default="127.0.0.1", help="where to listen (default: this machine alone)"
    )
    serving.add_argument(
        "--read-model", action="store_true", help="keep products joined, for the whole list"
    )
    serving.add_argument(
        "--lab", action="store_true", help="serve each way to the list, for measuring"
    )
    serving.add_argument(
        "--patience",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long a client may take to send a request (default: 10)",
    )
    serving.add_argument(
        "--deadline",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="how long any answer may take (default: 5)",
    )
    serving.add_argument(
        "--no-breaker",
        action="store_true",
        help="ask a store again however often it has failed, for comparing",
    )
    serving.add_argument(
        "--no-relay", action="store_true", help="leave the orders' outbox to `relay`"
    )
    serving.set_defaults(run=_serve)

    relaying = commands.add_parser(
        "relay", help="carry what is ordered to MongoDB, and end what a crash left; until stopped"
    )
    relaying.add_argument("--once", action="store_true", help="do it once, and say what was done")
    relaying.add_argument(
        "--every",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="how long to pause between (default: 1)",
    )
    relaying.set_defaults(run=_relay)

    reconciling = commands.add_parser(
        "reconcile",
        help="hold stock and sales against ledger and orders; mend them; say what was wrong",
    )
    reconciling.set_defaults(run=_reconcile)

    drill = commands.add_parser("drill", help="stop, kill or freeze a server; bring it back")
    add_actions(drill)
    drill.set_defaults(run=run_drill)

    url = commands.add_parser("url", help="print a store's address, password included")
    url.add_argument("store", help="coordinator, worker1, worker2, …, mongo or redis")
    url.set_defaults(run=_url)

    reset = commands.add_parser("reset", help="delete the shop and all data of its own servers")
    reset.add_argument("--own", action="store_true", help="those of the course's own servers only")
    reset.set_defaults(run=_reset)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_PATIENCE:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of seconds above 0, up to {_LONGEST_PATIENCE}"
        )
    return seconds


def _up(options: argparse.Namespace) -> None:
    locate(load_settings(), workers=options.workers)
    _status(argparse.Namespace(json=False))


def _down(_: argparse.Namespace) -> None:
    settings = load_settings()
    if settings.addresses is not None:
        raise SettingsError(
            "The servers were given by address, so they are not ours to stop: stop them where "
            "they were started (`make docker-down` for the compose file's)."
        )
    EmbeddedServers(settings).down()


def _status(options: argparse.Namespace) -> None:
    status = read_status(load_settings())
    print(json.dumps(status.as_json(), indent=2) if options.json else status.as_text())


def _seed(options: argparse.Namespace) -> None:
    catalog = None if options.file is None else read_catalog(options.file)
    with open_shop() as stores, stores.explaining():
        there = count_products(stores)
        if options.if_empty and there:
            print(f"The shop has {there} products already.")
            return
        with _ProgressBar() as bar:
            if catalog is None:
                changes = seed(stores, options.products, progress=bar.advance)
            else:
                changes = load(stores, catalog, progress=bar.advance)
    print(_described(changes))


class _ProgressBar:
    """One bar per store, on standard error, in the order in which the stores are filled."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def advance(self, store: str, done: int, total: int) -> None:
        bar = self._bar
        if bar is None or bar.desc != store:
            self.close()
            bar = self._bar = tqdm(desc=store, total=total, unit_scale=True, file=sys.stderr)
        bar.update(done)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _described(changes: Changes) -> str:
    if changes.total == 0:
        return "Nothing to do: everything was there."
    return (
        f"Written: {changes.products} products, {changes.metadata} metadata, "
        f"{changes.stock} stock counts, {changes.orders} orders."
    )


def _products(options: argparse.Namespace) -> None:
    with open_shop() as stores, stores.explaining():
        if not count_products(stores):
            raise CourseError("The shop has no products: fill it with `python -m helpers seed`.")
        answer = batched(stores)
    if options.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False, default=str))
        return
    for product in answer:
        tags = ", ".join((product["metadata"] or {}).get("tags", []))
        stock = "unknown" if product["stock"] is None else product["stock"]
        columns = (f"{product['id']:>6}", f"{product['name']:<32}", f"{product['price']:>10}")
        print("  ".join((*columns, f"{stock:>7}", tags)))


def _serve(options: argparse.Namespace) -> None:
    # Only here: what serves takes a second to import.
    from helpers.api.serve import serve

    serve(
        locate(load_settings()),
        host=options.host,
        port=options.port,
        read_model=options.read_model,
        lab=options.lab,
        patience=options.patience,
        deadline=options.deadline,
        breaker=not options.no_breaker,
        relay=not options.no_relay,
    )


def _relay(options: argparse.Namespace) -> None:
    addresses = locate(load_settings())
    if options.once:
        relay_once(addresses)
    else:
        run_relay(addresses, every=options.every)


def _reconcile(_: argparse.Namespace) -> None:
    with open_shop() as stores, stores.explaining():
        if not count_products(stores):
            raise CourseError("The shop has no products: fill it with `python -m helpers seed`.")
        print(reconcile(Stock.of(stores)))
        print(rebuild_sales(stores))


def _url(options: argparse.Namespace) -> None:
    urls = read_status(load_settings()).urls()
    if options.store not in urls:
        raise CourseError(f"There is no store called {options.store!r}: name {', '.join(urls)}.")
    print(urls[options.store])


def _reset(options: argparse.Namespace) -> None:
    settings = load_settings()
    if settings.addresses is None or options.own:
        EmbeddedServers(settings).reset()
    else:
        with open_shop(settings) as stores, stores.explaining():
            drop_shop(stores)
