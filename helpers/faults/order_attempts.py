"""Carry out one attempt to place an order, and crash before or after a step if requested."""

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
from helpers.faults.dual_write import DUAL_WRITE_STEPS, DualWriteStrategy
from helpers.orders.orders import Orders
from helpers.orders.outbox import relay
from helpers.orders.saga import STEPS
from helpers.settings import Addresses
from helpers.stock import Ledger, Stock
from helpers.stock.ledger import OneConnection
from helpers.stock.step_hooks import Moment, StepHook
from helpers.stores.connect import Document, connect_mongo, connect_postgres, connect_redis
from helpers.stores.stores import Stores

#: How an order is placed: by the saga, or by a dual write, to one store after the other.
Strategy = Literal["saga", "postgres first", "mongo first"]

#: The steps that a relay carries out.
RELAYED = ("relay", "acknowledge")


@dataclass(frozen=True)
class OrderAttempt:
    """An attempt to order ``quantity`` units of a product.

    ``crash`` is the moment and the step at which the process kills itself, or ``None``.
    """

    strategy: Strategy
    product: int
    quantity: int
    customer: int
    key: str
    crash: tuple[Moment, str] | None = None

    def as_json(self) -> dict[str, Any]:
        return self.__dict__

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> OrderAttempt:
        crash = fields.pop("crash")
        return cls(**fields, crash=None if crash is None else (crash[0], crash[1]))


def steps_of(strategy: Strategy) -> tuple[str, ...]:
    """Return the names of a strategy's steps, in order."""
    if strategy == "saga":
        return tuple(step.name for step in STEPS)
    return DUAL_WRITE_STEPS[strategy]


def check_crash(strategy: Strategy, moment: str, step: str) -> tuple[Moment, str]:
    """Return the moment and the step. Raises ``SettingsError`` if there is no such one."""
    if strategy not in get_args(Strategy):
        raise SettingsError(
            f"{strategy!r} is not a strategy to place an order: give one of "
            f"{', '.join(get_args(Strategy))}."
        )
    if moment not in get_args(Moment) or step not in steps_of(strategy):
        raise SettingsError(
            f"No process can crash {moment} {step!r}: give before or after, and one of the steps "
            f"{', '.join(steps_of(strategy))}."
        )
    return cast("Moment", moment), step


class LazyConnections:
    """One process's connections to the stores, each opened at its first use."""

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
        """Close the open connections."""
        opened = self.__dict__
        if "postgres" in opened:
            self.postgres.close()
        if "mongo" in opened:
            self.mongo.client.close()
        if "redis" in opened:
            self.redis.close()


def carry_out(attempt: OrderAttempt, connections: LazyConnections) -> int:
    """Place the order and return its number, unless this process crashes before.

    If it is to crash at a step of the relay, the outbox is relayed, too.

    Raises ``CourseError`` and the drivers' errors.
    """
    hook = _CrashHook(*attempt.crash) if attempt.crash else None
    if attempt.strategy != "saga":
        return _dual_write(attempt, connections, hook)
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


def _dual_write(attempt: OrderAttempt, connections: LazyConnections, hook: StepHook | None) -> int:
    assert attempt.strategy != "saga"
    strategy: DualWriteStrategy = attempt.strategy
    sale = dual_write.Sale(attempt.product, attempt.quantity, attempt.customer)
    return dual_write.place_with_dual_write(
        sale, lambda: connections.postgres, lambda: connections.mongo, strategy=strategy, hook=hook
    )


class _CrashHook:
    """A hook that kills this process at one moment of one step."""

    def __init__(self, moment: Moment, step: str) -> None:
        self._at = moment, step

    def __call__(self, moment: Moment, step: str) -> None:
        if (moment, step) == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
