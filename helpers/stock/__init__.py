"""The stock of products: a ledger in Citus, and a fast copy of it in Redis.

The ledger (table ``stock_movements``) is the record: every delivery and every sale is a row, and
what is on hand is their sum. ``stock:<id>`` in Redis is the fast copy: what is on hand less what is
reserved. It may be lost, evicted or rolled back at any moment, and is made again from the ledger.
Reservations live in Redis alone, each with a deadline; a sale is what the ledger has.

So Redis answers how many there are and holds units for buyers, thousands of times a second; and
nothing is sold that the ledger does not have, whatever Redis has lost.
"""

from helpers.stock.change_stream import ChangeReader, Changes
from helpers.stock.counts import Difference, Freshness
from helpers.stock.ledger import Also, Ledger, OneConnection
from helpers.stock.reconciliation import Finding, Reconciliation, reconcile, recover
from helpers.stock.reservations import TRANSITIONS, Reservation
from helpers.stock.stock import Stock

__all__ = [
    "TRANSITIONS",
    "Also",
    "ChangeReader",
    "Changes",
    "Difference",
    "Finding",
    "Freshness",
    "Ledger",
    "OneConnection",
    "Reconciliation",
    "Reservation",
    "Stock",
    "reconcile",
    "recover",
]
