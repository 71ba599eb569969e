"""One attempt to place an order, which may be told to die at a moment of a step."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast, get_args

import psycopg
import redis
from pymongo.database import Database

from helpers.errors import SettingsError
from helpers.faults import dual_write
from helpers.faults.dual_write import PLAIN_STEPS, PlainWay
from helpers.orders.orders import Orders
from helpers.orders.outbox import relay
from helpers.orders.saga import STEPS
from helpers.settings import Addresses
from helpers.stock import Ledger, Stock
from helpers.stock.ledger import OneConnection
from helpers.stock.step_hooks import Moment, StepHook
from helpers.stores.connect import Document, connect_mongo, connect_postgres, connect_redis
from helpers.stores.stores import Stores

#: How an order is placed: by the saga, or by two plain writes, one store after the other.
Way = Literal["saga", "postgres first", "mongo first"]

#: The steps that a relay carries out.
RELAYED = ("relay", "acknowledge")


@dataclass(frozen=True)
class OrderAttempt:
    """An attempt to order ``quantity`` units of a product.

    ``crash`` is the moment and the step at which the process kills itself; ``None``: it lives.
    """

    way: Way
    product: int
    quantity: int
    customer: int
    key: str
    crash: tuple[Moment, str] | None = None

    def as_json(self) -> dict[str, Any]:
        return self.__dict__

    @classmethod
    def from_json(cls, known: dict[str, Any]) -> OrderAttempt:
        crash = known.pop("crash")
        return cls(**known, crash=None if crash is None else (crash[0], crash[1]))


def steps_of(way: Way) -> tuple[str, ...]:
    """Return the names of the steps, in their order."""
    if way == "saga":
        return tuple(step.name for step in STEPS)
    return PLAIN_STEPS[way]


def check_crash(way: Way, moment: str, step: str) -> tuple[Moment, str]:
    """Return the moment and the step. Raises ``SettingsError`` where there is no such one."""
    if way not in get_args(Way):
        raise SettingsError(f"{way!r} is no way to place an order: {', '.join(get_args(Way))} are.")
    if moment not in get_args(Moment) or step not in steps_of(way):
        raise SettingsError(
            f"Nothing can crash {moment} {step!r}: give before or after, and one of the steps "
            f"{', '.join(steps_of(way))}."
        )
    return cast("Moment", moment), step


class Connections:
    """One process's connections to the stores, each made when it is first used."""

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses

    @cached_property
    def postgres(self) -> psycopg.Connection:
        return connect_postgres(self.addresses.coordinator)

    @cached_property
    def mongo(self) -> Database[Document]:
        return connect_mongo(self.addresses.mongo)

    @cached_property
    def redis(self) -> redis.Redis:
        return connect_redis(self.addresses.redis)

    def close(self) -> None:
        """Close those that were made."""
        made = self.__dict__
        if "postgres" in made:
            self.postgres.close()
        if "mongo" in made:
            self.mongo.client.close()
        if "redis" in made:
            self.redis.close()


def carry_out(attempt: OrderAttempt, connections: Connections) -> int:
    """Place the order, and return its number, unless this process dies before.

    Where it is to die at a step of the relay, the outbox is relayed too.

    Raises ``CourseError`` and the drivers' errors.
    """
    hook = _Death(*attempt.crash) if attempt.crash else None
    if attempt.way != "saga":
        return _place_plainly(attempt, connections, hook)
    stock = Stock(connections.redis, Ledger(OneConnection(connections.postgres)))
    placed = Orders(stock, hook).place(
        attempt.product, attempt.quantity, attempt.customer, key=attempt.key
    )
    if attempt.crash is not None and attempt.crash[1] in RELAYED:
        stores = Stores(
            connections.postgres, connections.mongo, connections.redis, connections.addresses
        )
        relay(stores, hook=hook)
    return placed.id


def _place_plainly(attempt: OrderAttempt, connections: Connections, hook: StepHook | None) -> int:
    assert attempt.way != "saga"
    way: PlainWay = attempt.way
    sale = dual_write.Sale(attempt.product, attempt.quantity, attempt.customer)
    return dual_write.place_plainly(
        sale, lambda: connections.postgres, lambda: connections.mongo, way=way, hook=hook
    )


class _Death:
    """Watches the steps, and kills this process at one of them, as a power cut would."""

    def __init__(self, moment: Moment, step: str) -> None:
        self._at = moment, step

    def __call__(self, moment: Moment, step: str) -> None:
        if (moment, step) == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
