"""The stock of products: a ledger in Citus, and stock counts cached in Redis.

The ledger (table ``stock_movements``) is the system of record: every delivery and every sale is a
row, and the sum of a product's rows is what is on hand. ``stock:<id>`` in Redis is a cache: what is
on hand minus what is reserved. It may be lost, evicted or rolled back at any time, and is rebuilt
from the ledger. Reservations exist in Redis only, each with a deadline.

So Redis answers reads and reserves units thousands of times a second, and nothing is sold that is
not in the ledger, whatever Redis has lost.
"""

from helpers.stock.change_stream import ChangeReader, Changes
from helpers.stock.counts import Difference, Freshness
from helpers.stock.ledger import Ledger, OneConnection
from helpers.stock.reconciliation import Finding, Reconciliation, reconcile, recover
from helpers.stock.reservations import Reservation
from helpers.stock.states import State
from helpers.stock.stock import Stock

__all__ = [
    "ChangeReader",
    "Changes",
    "Difference",
    "Finding",
    "Freshness",
    "Ledger",
    "OneConnection",
    "Reconciliation",
    "Reservation",
    "State",
    "Stock",
    "reconcile",
    "recover",
]
