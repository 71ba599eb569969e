"""The ledger of the stock, in Citus: every movement of units is a row, their sum is on hand.

Rows are added and never changed, so nobody waits for a row that another is writing. A movement has
a name; adding it twice adds it once. Whoever takes units out, locks the product first (an advisory
lock, held until the transaction ends), so that what is on hand cannot fall below zero.

Movements are distributed by their product and colocated with it: the balance of a product is asked
of one node.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

import psycopg

from helpers import validation
from helpers.catalog.product_ids import require_products

TABLE = """
CREATE TABLE stock_movements (
    product_id bigint NOT NULL,
    movement text NOT NULL,
    quantity bigint NOT NULL CHECK (quantity <> 0 OR reason IN ('opening', 'cancelled')),
    reason text NOT NULL
        CHECK (reason IN ('opening', 'delivery', 'sale', 'recount', 'cancelled')),
    moved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (product_id, movement)
)
"""
SPREAD = (
    "SELECT create_distributed_table('stock_movements', 'product_id', colocate_with => 'products')"
)

Items = Sequence[tuple[int, int]]
Outcome = Literal["sold", "cancelled"]

#: What came of an attempt to sell: ``refused`` is said once, by the call that finds too few units.
#: It cancels the reservation, so that is what each later call answers.
SaleOutcome = Literal["sold", "cancelled", "refused"]

#: Writes what belongs to a sale, in the transaction that writes the sale.
Also = Callable[[psycopg.Connection], None]

_LOCK = """
SELECT pg_advisory_xact_lock(hashtextextended('stock ' || product_id, 0))
FROM unnest(%s::bigint[]) AS product_id
"""
_BALANCES = """
SELECT product_id, coalesce(sum(quantity) FILTER (WHERE movement <> ALL(%s)), 0)::bigint
FROM stock_movements WHERE product_id = ANY(%s) GROUP BY product_id
"""
_PRODUCTS = "SELECT DISTINCT product_id FROM stock_movements"
_REASONS = "SELECT reason FROM stock_movements WHERE movement = %s AND product_id = ANY(%s)"
_ADD = """
INSERT INTO stock_movements (product_id, movement, quantity, reason)
VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING
"""


class Connections(Protocol):
    """Where connections come from: a ``psycopg_pool.ConnectionPool``, or one shared by turns."""

    def connection(self) -> AbstractContextManager[psycopg.Connection]:
        """Lend a connection."""


class OneConnection:
    """One connection, lent to one thread after another."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()

    @contextlib.contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """Lend the connection, once it is free."""
        with self._turn:
            yield self._connection


class Ledger:
    """The ledger, read and written through ``connections``. All methods raise ``psycopg.Error``."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections

    def balances(
        self, product_ids: Iterable[int], *, without: Iterable[str] = ()
    ) -> dict[int, int]:
        """Return the units on hand of those products that the ledger knows.

        ``without`` are reservations whose sales are left out of the sum.
        """
        with self.connections.connection() as connection:
            names = [_name(token) for token in without]
            rows = connection.execute(_BALANCES, [names, list(product_ids)])
            return dict(rows.fetchall())

    def product_ids(self) -> set[int]:
        """Return the ids of all products that the ledger knows."""
        with self.connections.connection() as connection:
            return {product_id for (product_id,) in connection.execute(_PRODUCTS)}

    def outcome(self, token: str, product_ids: Iterable[int]) -> Outcome | None:
        """Return what became of the reservation ``token``; ``None`` where nothing is written."""
        with self.connections.connection() as connection:
            return _outcome(connection, token, list(product_ids))

    def record_sale(self, token: str, items: Items, *, also: Also | None = None) -> SaleOutcome:
        """Sell ``items`` under the reservation's name, if all are on hand; or cancel it for good.

        What is written first stands, whoever wrote it: asked again, it writes nothing.

        ``also`` is called with the connection, in the transaction that writes the sale and by the
        call that writes it alone: what it writes there is there if and only if the sale is. What it
        raises undoes the sale and is raised here.
        """
        with self.connections.connection() as connection, connection.transaction():
            return record_sale(connection, token, items, also=also)

    def cancel(self, token: str, items: Items) -> Outcome:
        """Cancel a reservation for good, unless it was sold already; say which."""
        with self.connections.connection() as connection, connection.transaction():
            return _outcome_under_lock(connection, token, items) or _cancel(
                connection, token, items
            )

    def deliver(self, product_id: int, quantity: int, movement: str) -> bool:
        """Add ``quantity`` units that came in; tell whether ``movement`` was new.

        Raises ``StockError`` where an argument is not what it must be.
        """
        (product,) = validation.product_ids([product_id])
        row = (
            product,
            f"delivery:{validation.token(movement)}",
            validation.quantity(quantity),
            "delivery",
        )
        with self.connections.connection() as connection:
            return connection.execute(_ADD, row).rowcount == 1

    def set_on_hand(self, wanted: Mapping[int, int | None]) -> set[int]:
        """Make what is on hand ``wanted``, by movements of the difference; ``None`` forgets all.

        Returns the products whose ledger changed.
        """
        ids = sorted(wanted)
        with self.connections.connection() as connection, connection.transaction():
            lock_products(connection, ids)
            return _set_on_hand(connection, wanted)

    def recount(self, product_id: int, units: int) -> bool:
        """Make what is on hand of one of the shop's products ``units``; tell if that changed it.

        Raises ``StockError`` where an argument is not what it must be, ``UnknownProductError``
        where the shop has no such product.
        """
        product = validation.identifier(product_id, "product")
        wanted = {product: validation.quantity(units, least=0)}
        with self.connections.connection() as connection, connection.transaction():
            lock_products(connection, [product])
            # Not before the lock: the node shows the whole transaction what its first look saw.
            require_products(connection, [product])
            return bool(_set_on_hand(connection, wanted))


def record_sale(
    connection: psycopg.Connection, token: str, items: Items, *, also: Also | None = None
) -> SaleOutcome:
    """Sell or cancel as ``Ledger.record_sale`` does, inside of the caller's transaction."""
    written = _outcome_under_lock(connection, token, items)
    if written is not None:
        return written
    rows = connection.execute(_BALANCES, [[], [one for one, _ in items]])
    there: dict[int, int] = dict(rows.fetchall())
    if any(there.get(product_id, 0) < quantity for product_id, quantity in items):
        _cancel(connection, token, items)
        return "refused"
    for product_id, quantity in items:
        connection.execute(_ADD, (product_id, _name(token), -quantity, "sale"))
    if also is not None:
        also(connection)
    return "sold"


def _set_on_hand(connection: psycopg.Connection, wanted: Mapping[int, int | None]) -> set[int]:
    """Make what is on hand ``wanted``, under the locks of these products."""
    ids = sorted(wanted)
    there: dict[int, int] = dict(connection.execute(_BALANCES, [[], ids]).fetchall())
    forgotten = [one for one in ids if wanted[one] is None and one in there]
    if forgotten:
        connection.execute("DELETE FROM stock_movements WHERE product_id = ANY(%s)", [forgotten])
    rows = [
        (one, units) if one not in there else (one, units - there[one])
        for one, units in wanted.items()
        if units is not None and units != there.get(one)
    ]
    _copy(connection, [row for row in rows if row[0] not in there], "opening")
    _copy(connection, [row for row in rows if row[0] in there], "recount")
    return {*forgotten, *(product_id for product_id, _ in rows)}


def _cancel(connection: psycopg.Connection, token: str, items: Items) -> Outcome:
    for product_id, _ in items:
        connection.execute(_ADD, (product_id, _name(token), 0, "cancelled"))
    return "cancelled"


def _outcome_under_lock(connection: psycopg.Connection, token: str, items: Items) -> Outcome | None:
    product_ids = sorted(product_id for product_id, _ in items)
    lock_products(connection, product_ids)
    return _outcome(connection, token, product_ids)


def _name(token: str) -> str:
    """Return the name of the movement that ends a reservation. No other has such a name."""
    return f"reservation:{token}"


def lock_products(connection: psycopg.Connection, product_ids: list[int]) -> None:
    """Keep others from selling these products, in order of id, until the transaction ends."""
    # A statement of its own: the next one sees what the former holder of the lock has written.
    connection.execute(_LOCK, [product_ids])


def _outcome(connection: psycopg.Connection, token: str, product_ids: list[int]) -> Outcome | None:
    row = connection.execute(_REASONS, [_name(token), product_ids]).fetchone()
    if row is None:
        return None
    return "cancelled" if row[0] == "cancelled" else "sold"


def _copy(connection: psycopg.Connection, rows: list[tuple[int, int]], reason: str) -> None:
    """Add movements, each named after its reason and, but for the first, the moment."""
    if not rows:
        return
    moment = connection.execute("SELECT to_char(clock_timestamp(), 'YYYYMMDD-HH24MISS-US')")
    row = moment.fetchone()
    assert row is not None
    name = reason if reason == "opening" else f"{reason}:{row[0]}"
    with (
        connection.cursor() as cursor,
        cursor.copy(
            "COPY stock_movements (product_id, movement, quantity, reason) FROM STDIN"
        ) as copy,
    ):
        for product_id, units in rows:
            copy.write_row((product_id, name, units, reason))
