"""The saga of an order, as data: its steps, its states and the transitions between them.

No transaction spans the three stores. So an order is placed in steps. Each step is one change in
one store: it is done or not, and it is idempotent. ``STEPS`` lists them in order: ``Orders.place``
runs the first four, the relay of the outbox the last two.

A crash may leave an order after any step. ``TRANSITIONS`` lists what may happen next:

- Before ``record``, the order is undone. The client releases the units, or they expire at their
  deadline. If it is in doubt whether ``record`` will happen, the ledger rejects the order for good
  and the units are returned (``cancel``). A rejected order can never be recorded, however late its
  client continues.
- After ``record``, the order is completed: ``reconcile`` finishes the confirmation if the client
  does not, and any relay relays it. These two do not wait for each other.

``RECOVERY`` lists the final states. The states belong to one token in Redis: under a client's
idempotency key, an order that was undone is placed again as a new one, under another token.

Every step ends in time, whatever its store does: see ``Step.bound``. The time limits named there
are the ``Limits`` with which the stores were connected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from helpers import validation
from helpers.errors import StoreName
from helpers.orders.order_rows import number_of
from helpers.orders.outbox import is_relayed
from helpers.stock import State, Stock
from helpers.stock.states import Transition
from helpers.stores import Stores

StepName = Literal["reserve", "confirm", "record", "finish", "relay", "acknowledge"]

#: All transitions of an order. The final states are ``COMPLETED``, ``RELEASED`` and ``EXPIRED``.
TRANSITIONS: tuple[Transition, ...] = (
    (State.UNKNOWN, "reserve", State.RESERVED),
    (State.RESERVED, "confirm", State.CONFIRMING),
    (State.CONFIRMING, "record", State.RECORDED),
    (State.RECORDED, "finish", State.CONFIRMED),
    (State.CONFIRMED, "relay", State.RELAYED),
    (State.RELAYED, "acknowledge", State.COMPLETED),
    # The relay runs before the confirmation is finished.
    (State.RECORDED, "relay", State.RELAYED_EARLY),
    (State.RELAYED_EARLY, "finish", State.RELAYED),
    (State.RELAYED_EARLY, "acknowledge", State.ACKNOWLEDGED_EARLY),
    (State.ACKNOWLEDGED_EARLY, "finish", State.COMPLETED),
    # Compensating transactions.
    (State.RESERVED, "release", State.RELEASED),
    (State.RESERVED, "expire", State.EXPIRED),
    (State.CONFIRMING, "reject", State.REJECTED),
    (State.REJECTED, "cancel", State.RELEASED),
)

#: The final state to which recovery (``reconcile`` and ``relay``) brings an order that a crash left
#: in a state. Reserved units stay reserved until their deadline.
RECOVERY: Mapping[State, State] = {
    State.RESERVED: State.EXPIRED,
    State.CONFIRMING: State.RELEASED,
    State.REJECTED: State.RELEASED,
    State.RECORDED: State.COMPLETED,
    State.CONFIRMED: State.COMPLETED,
    State.RELAYED: State.COMPLETED,
    State.RELAYED_EARLY: State.COMPLETED,
    State.ACKNOWLEDGED_EARLY: State.COMPLETED,
}


@dataclass(frozen=True)
class Step:
    """A step: one change in one ``store``.

    ``does`` describes the change, ``recovery`` what undoes or completes it after a crash, ``bound``
    what ends it if the store does not respond.
    """

    name: StepName
    store: StoreName
    does: str
    recovery: str
    bound: str


_REDIS_BOUND = (
    "A free connection is available within wait_seconds, a response within answer_seconds; a lost "
    "connection is opened again once."
)
_POSTGRES_BOUND = (
    "A free connection is available within wait_seconds; the server cancels each statement, even "
    "while it waits for a lock, after answer_seconds, and the client gives up a second later."
)

STEPS: tuple[Step, ...] = (
    Step(
        "reserve",
        "Redis",
        "Takes the units out of the stock count and reserves them until a deadline.",
        "Undone: released by the client, or by any sweep after the deadline.",
        f"{_REDIS_BOUND} Reserved units are returned after a minute.",
    ),
    Step(
        "confirm",
        "Redis",
        "Removes the deadline: from now on, only the ledger decides about the units.",
        "Undone by reconcile: the ledger rejects the order for good, then the units are returned.",
        f"{_REDIS_BOUND} reconcile decides what has been confirming for half a minute.",
    ),
    Step(
        "record",
        "PostgreSQL",
        "Writes sale, order, key and outbox row, in one transaction on one node.",
        "Completed: the order stands. Without a commit, PostgreSQL rolls back: still confirming.",
        f"{_POSTGRES_BOUND} A transaction that comes after the rejection writes nothing.",
    ),
    Step(
        "finish",
        "Redis",
        "Marks the reservation as confirmed: its units are sold.",
        "Completed by reconcile, which finds the sale in the ledger.",
        _REDIS_BOUND,
    ),
    Step(
        "relay",
        "MongoDB",
        "Writes the product's totals with this order, and that the customer has bought it.",
        "Completed by the next relay: the row is still in the outbox.",
        "Each response comes within answer_seconds, or the relay starts again.",
    ),
    Step(
        "acknowledge",
        "PostgreSQL",
        "Deletes the row of the outbox.",
        "Completed by the next relay, which relays the row again: that changes nothing.",
        "The server ends the statement after answer_seconds, or the relay starts again.",
    ),
)


def state_of(stores: Stores, product_id: int, token: str) -> State:
    """Return the state of the order of ``product_id`` that was placed under ``token``.

    Reads the stores one after another: while the order is being placed, the result may combine two
    moments.

    Raises ``StockError`` for invalid arguments before it sends anything, and ``redis.RedisError``,
    ``psycopg.Error`` and ``pymongo.errors.PyMongoError``.
    """
    product, number = validation.identifier(product_id, "product"), number_of(token)
    stock = Stock.of(stores)
    reservation = stock.reservations.state(token)
    outcome = stock.ledger.outcome(token, [product])
    is_confirming = reservation == State.CONFIRMING
    if outcome == "cancelled":
        return State.REJECTED if is_confirming else State.RELEASED
    if outcome is None:
        return State.UNKNOWN if reservation == State.CONFIRMED else reservation
    # Sold. If Redis has lost the reservation, there is no confirmation left to finish.
    relayed = is_relayed(stores, product, number)
    if relayed is None:
        return State.ACKNOWLEDGED_EARLY if is_confirming else State.COMPLETED
    if relayed:
        return State.RELAYED_EARLY if is_confirming else State.RELAYED
    return State.RECORDED if is_confirming else State.CONFIRMED
