"""The saga of an order, as data: its steps, its states, and what brings it from one to the next.

No transaction spans the three stores. So an order is placed in steps, each of which is one change
in one store, is done or not, and changes nothing when it is done again. ``STEPS`` has them in their
order: the first four are ``Orders.place``, the last two the relay of the outbox.

A crash may leave an order after any step. ``TRANSITIONS`` says what may come next, by whomever:

- Until the record, it is undone. Its holder **releases** the units, or they **expire**; where it is
  in doubt whether the record comes, the ledger **refuses** it for good, and the units are given
  back (**cancel**). A refused order cannot be recorded any more, however late its client wakes.
- From the record on, it is finished: settled by ``reconcile`` where its client does not, carried by
  any relay. These two do not wait for one another.

``RECOVERY`` says where that leads to. The states are those of one name in Redis (a token): under a
client's key, an order that was undone is placed again under another name, as a new one.

Every step ends in time, whatever its store does: see each one's ``bound``. The limits meant there
are the ``Limits`` with which the stores were connected: of the pool where ``PooledStores`` are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from helpers.errors import StoreName

StepName = Literal["reserve", "claim", "record", "settle", "carry", "delete"]

#: ``carried early`` and ``deleted early``: the relay was faster than settling. Final are
#: ``complete``, where the order stands, and ``released``, ``expired`` and ``cancelled``, where
#: nothing was sold.
State = Literal[
    "wanted",
    "reserved",
    "claimed",
    "recorded",
    "settled",
    "carried",
    "complete",
    "carried early",
    "deleted early",
    "refused",
    "released",
    "expired",
    "cancelled",
]

STATES: tuple[State, ...] = get_args(State)

#: From which state, by what, to which state.
TRANSITIONS: tuple[tuple[State, str, State], ...] = (
    ("wanted", "reserve", "reserved"),
    ("reserved", "claim", "claimed"),
    ("claimed", "record", "recorded"),
    ("recorded", "settle", "settled"),
    ("settled", "carry", "carried"),
    ("carried", "delete", "complete"),
    # The relay did not wait for settling.
    ("recorded", "carry", "carried early"),
    ("carried early", "settle", "carried"),
    ("carried early", "delete", "deleted early"),
    ("deleted early", "settle", "complete"),
    # Compensations.
    ("reserved", "release", "released"),
    ("reserved", "expire", "expired"),
    ("claimed", "refuse", "refused"),
    ("refused", "cancel", "cancelled"),
)

#: To which state recovery (``reconcile`` and ``relay``) brings what a crash left in a state. Held
#: units are left to their holder until their deadline.
RECOVERY: Mapping[State, State] = {
    "reserved": "expired",
    "claimed": "cancelled",
    "refused": "cancelled",
    "recorded": "complete",
    "settled": "complete",
    "carried": "complete",
    "carried early": "complete",
    "deleted early": "complete",
}


@dataclass(frozen=True)
class Step:
    """One step: one change in one ``store``.

    ``does`` says what it changes, ``recovery`` what undoes or finishes it after a crash, ``bound``
    what ends it when the store does not.
    """

    name: StepName
    store: StoreName
    does: str
    recovery: str
    bound: str


_REDIS_BOUND = (
    "A free connection comes within wait_seconds, the answer within answer_seconds; a connection "
    "that was lost is made again once."
)
_POSTGRES_BOUND = (
    "A free connection comes within wait_seconds; the server ends each statement, its wait for a "
    "lock included, after answer_seconds, and a second later it is given up here."
)

STEPS: tuple[Step, ...] = (
    Step(
        "reserve",
        "Redis",
        "Takes the units out of the count and holds them for the order, until a deadline.",
        "Undone: released by the client's own process, or by whoever sweeps after the deadline.",
        f"{_REDIS_BOUND} Held units go back after a minute, whoever is still at it.",
    ),
    Step(
        "claim",
        "Redis",
        "Takes the deadline off: from now on, only the ledger decides about the units.",
        "Undone by reconcile: the ledger refuses the order for good, then the units go back.",
        f"{_REDIS_BOUND} reconcile decides what is claimed for half a minute and more.",
    ),
    Step(
        "record",
        "PostgreSQL",
        "Writes sale, order, key and outbox row, in one transaction on one node.",
        "Finished: the order stands. Before the commit the server undoes it, and it is as claimed.",
        f"{_POSTGRES_BOUND} A transaction that comes after the refusal writes nothing.",
    ),
    Step(
        "settle",
        "Redis",
        "Ends the reservation: its units are sold.",
        "Finished by reconcile, which finds the sale in the ledger.",
        _REDIS_BOUND,
    ),
    Step(
        "carry",
        "MongoDB",
        "Writes how many there are with this order, and that the customer has the product.",
        "Finished by the next relay: the row is still in the outbox.",
        "Each answer comes within answer_seconds, or the relay begins anew.",
    ),
    Step(
        "delete",
        "PostgreSQL",
        "Deletes the row of the outbox.",
        "Finished by the next relay, which carries the row once more: that changes nothing.",
        "The server ends the statement after answer_seconds, or the relay begins anew.",
    ),
)
