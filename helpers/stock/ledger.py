"""The stock ledger in Citus: every movement of units is a row; their sum is what is on hand.

Rows are inserted and never updated, so writers do not block each other on a row. A movement has a
name: inserting it twice stores it once. A transaction that takes units out locks the product first
(an advisory lock, held until the transaction ends), so units on hand cannot fall below zero.

Movements are distributed by product and colocated with the products, so one node returns a
product's balance.
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
DISTRIBUTE = (
    "SELECT create_distributed_table('stock_movements', 'product_id', colocate_with => 'products')"
)

Items = Sequence[tuple[int, int]]
Outcome = Literal["sold", "cancelled"]

#: The result of an attempt to sell. The call that finds too few units returns ``rejected`` and
#: cancels the sale for good, so every later call returns ``cancelled``.
SaleOutcome = Literal["sold", "cancelled", "rejected"]

#: Writes rows that belong to a sale, in the transaction that writes the sale.
SaleWriter = Callable[[psycopg.Connection], None]

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
    """A source of connections: a ``psycopg_pool.ConnectionPool`` or ``OneConnection``."""

    def connection(self) -> AbstractContextManager[psycopg.Connection]:
        """Return a context manager that lends a connection."""


class OneConnection:
    """One connection that threads take turns using."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """Lend the connection; wait until no other thread uses it."""
        with self._lock:
            yield self._connection


class Ledger:
    """Read and write the stock ledger. All methods raise ``psycopg.Error``."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections

    def balances(
        self, product_ids: Iterable[int], *, without: Iterable[str] = ()
    ) -> dict[int, int]:
        """Return the units on hand of the products that the ledger knows.

        Sales of the reservations with the tokens ``without`` are left out of the sum.
        """
        with self.connections.connection() as connection:
            movements = [_sale_movement(token) for token in without]
            rows = connection.execute(_BALANCES, [movements, list(product_ids)])
            return dict(rows.fetchall())

    def product_ids(self) -> set[int]:
        """Return the ids of all products that the ledger knows."""
        with self.connections.connection() as connection:
            return {product_id for (product_id,) in connection.execute(_PRODUCTS)}

    def outcome(self, token: str, product_ids: Iterable[int]) -> Outcome | None:
        """Return the outcome of a reservation's sale, ``None`` if the ledger has none yet."""
        with self.connections.connection() as connection:
            return _outcome(connection, token, list(product_ids))

    def record_sale(
        self, token: str, items: Items, *, also_write: SaleWriter | None = None
    ) -> SaleOutcome:
        """Sell ``items`` under a reservation's token if all are on hand; else cancel it for good.

        The first outcome that is written stays: a later call writes nothing and returns it.

        ``also_write`` is called with the connection, in the transaction that writes the sale and
        only by the call that writes it. If it raises, the sale is rolled back and the exception
        propagates.
        """
        with self.connections.connection() as connection, connection.transaction():
            written = _outcome_under_lock(connection, token, items)
            if written is not None:
                return written
            rows = connection.execute(_BALANCES, [[], [product_id for product_id, _ in items]])
            on_hand: dict[int, int] = dict(rows.fetchall())
            if any(on_hand.get(product_id, 0) < quantity for product_id, quantity in items):
                _cancel(connection, token, items)
                return "rejected"
            for product_id, quantity in items:
                connection.execute(_ADD, (product_id, _sale_movement(token), -quantity, "sale"))
            if also_write is not None:
                also_write(connection)
            return "sold"

    def cancel(self, token: str, items: Items) -> Outcome:
        """Cancel a reservation's sale for good unless it is sold already; return the outcome."""
        with self.connections.connection() as connection, connection.transaction():
            return _outcome_under_lock(connection, token, items) or _cancel(
                connection, token, items
            )

    def deliver(self, product_id: int, quantity: int, movement: str) -> bool:
        """Add ``quantity`` delivered units; return whether ``movement`` was new.

        Raises ``StockError`` for an invalid argument.
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

    def set_on_hand(self, targets: Mapping[int, int | None]) -> set[int]:
        """Set the units on hand of products; ``None`` deletes all movements of a product.

        Adds movements of the differences. Returns the products whose ledger changed.
        """
        ids = sorted(targets)
        with self.connections.connection() as connection, connection.transaction():
            lock_products(connection, ids)
            return _set_on_hand(connection, targets)

    def recount(self, product_id: int, units: int) -> bool:
        """Set the units on hand of one of the shop's products; return whether that changed it.

        Raises ``StockError`` for an invalid argument, ``UnknownProductError`` if the shop does not
        have the product.
        """
        product = validation.identifier(product_id, "product")
        target = {product: validation.quantity(units, least=0)}
        with self.connections.connection() as connection, connection.transaction():
            lock_products(connection, [product])
            # After the lock: in this transaction, a worker keeps the snapshot of its first query.
            require_products(connection, [product])
            return bool(_set_on_hand(connection, target))


def _set_on_hand(connection: psycopg.Connection, targets: Mapping[int, int | None]) -> set[int]:
    """Set the units on hand; the caller holds the locks of these products."""
    ids = sorted(targets)
    on_hand: dict[int, int] = dict(connection.execute(_BALANCES, [[], ids]).fetchall())
    deleted = [
        product_id for product_id in ids if targets[product_id] is None and product_id in on_hand
    ]
    if deleted:
        connection.execute("DELETE FROM stock_movements WHERE product_id = ANY(%s)", [deleted])
    openings, recounts = [], []
    for product_id, units in targets.items():
        if units is None or units == on_hand.get(product_id):
            continue
        if product_id in on_hand:
            recounts.append((product_id, units - on_hand[product_id]))
        else:
            openings.append((product_id, units))
    _copy(connection, openings, "opening")
    _copy(connection, recounts, "recount")
    return {*deleted, *(product_id for product_id, _ in [*openings, *recounts])}


def _cancel(connection: psycopg.Connection, token: str, items: Items) -> Outcome:
    for product_id, _ in items:
        connection.execute(_ADD, (product_id, _sale_movement(token), 0, "cancelled"))
    return "cancelled"


def _outcome_under_lock(connection: psycopg.Connection, token: str, items: Items) -> Outcome | None:
    product_ids = sorted(product_id for product_id, _ in items)
    lock_products(connection, product_ids)
    return _outcome(connection, token, product_ids)


def _sale_movement(token: str) -> str:
    """Return the name of the movement that sells or cancels a reservation."""
    return f"reservation:{token}"


def lock_products(connection: psycopg.Connection, product_ids: list[int]) -> None:
    """Lock these products (sorted by id) against other sales until the transaction ends."""
    # A separate statement: the next one sees what the previous holder of the lock has committed.
    connection.execute(_LOCK, [product_ids])


def _outcome(connection: psycopg.Connection, token: str, product_ids: list[int]) -> Outcome | None:
    row = connection.execute(_REASONS, [_sale_movement(token), product_ids]).fetchone()
    if row is None:
        return None
    return "cancelled" if row[0] == "cancelled" else "sold"


def _copy(connection: psycopg.Connection, rows: list[tuple[int, int]], reason: str) -> None:
    """Add movements named after their reason and, except for ``opening``, the current time."""
    if not rows:
        return
    now = connection.execute("SELECT to_char(clock_timestamp(), 'YYYYMMDD-HH24MISS-US')")
    row = now.fetchone()
    assert row is not None
    movement = reason if reason == "opening" else f"{reason}:{row[0]}"
    with (
        connection.cursor() as cursor,
        cursor.copy(
            "COPY stock_movements (product_id, movement, quantity, reason) FROM STDIN"
        ) as copy,
    ):
        for product_id, units in rows:
            copy.write_row((product_id, movement, units, reason))
