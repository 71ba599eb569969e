"""How long each store may take to answer one question: its share of the time that a request has."""

from __future__ import annotations

from dataclasses import dataclass

from helpers.errors import StoreName


@dataclass(frozen=True)
class Budgets:
    """Seconds for an answer of each store."""

    postgres: float
    mongo: float
    redis: float

    @classmethod
    def even(cls, seconds: float) -> Budgets:
        """Return the same time for each store."""
        return cls(seconds, seconds, seconds)

    @classmethod
    def within(cls, deadline: float) -> Budgets:
        """Return shares of a request's time.

        One question to each store after the other, all of them silent, leaves a fifth of the time
        to tell so.
        """
        return cls(postgres=0.4 * deadline, mongo=0.25 * deadline, redis=0.15 * deadline)

    def __getitem__(self, store: StoreName) -> float:
        """Return the seconds of a store."""
        by_name = {"PostgreSQL": self.postgres, "MongoDB": self.mongo, "Redis": self.redis}
        return by_name[store]
