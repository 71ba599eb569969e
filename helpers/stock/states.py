"""The states of a reservation and of an order: one set of names for code, Redis and lessons."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The state of a reservation in Redis, or of the order that it was made for.

    A reservation is ``UNKNOWN``, ``RESERVED``, ``CONFIRMING``, ``CONFIRMED``, ``RELEASED`` or
    ``EXPIRED``. An order has the other states too: they say what PostgreSQL and MongoDB have of it.
    """

    #: No store knows of it: it was never reserved, or Redis has lost the reservation.
    UNKNOWN = "unknown"
    #: Redis holds the units until a deadline.
    RESERVED = "reserved"
    #: The deadline no longer applies: only the ledger decides whether the units are sold.
    CONFIRMING = "confirming"
    #: The ledger has the sale; in Redis, the reservation is still ``CONFIRMING``.
    RECORDED = "recorded"
    #: The units are sold: in the ledger and in Redis.
    CONFIRMED = "confirmed"
    #: MongoDB knows of the order; its row is still in the outbox.
    RELAYED = "relayed"
    #: Nothing is left to do: the row of the outbox is deleted.
    COMPLETED = "completed"
    #: As ``RELAYED``; in Redis, the reservation is still ``CONFIRMING``.
    RELAYED_EARLY = "relayed early"
    #: As ``COMPLETED``; in Redis, the reservation is still ``CONFIRMING``.
    ACKNOWLEDGED_EARLY = "acknowledged early"
    #: The ledger has rejected the sale for good; Redis still holds the units.
    REJECTED = "rejected"
    #: Nothing was sold: the units are back in the stock count.
    RELEASED = "released"
    #: As ``RELEASED``, because the deadline passed.
    EXPIRED = "expired"


#: From which state, by which step, to which state.
Transition = tuple[State, str, State]
