"""How long each store may take for one request: its share of an HTTP request's deadline."""

from __future__ import annotations

from dataclasses import dataclass

from helpers.errors import StoreName


@dataclass(frozen=True)
class Budgets:
    """The time limit of each store, in seconds per request; ``searches`` are those in MongoDB."""

    postgres: float
    mongo: float
    redis: float
    searches: float

    @classmethod
    def even(cls, seconds: float) -> Budgets:
        """Return the same limit for each store."""
        return cls(seconds, seconds, seconds, seconds)

    @classmethod
    def within(cls, deadline: float) -> Budgets:
        """Return limits that fit into a deadline, in seconds.

        If one request to each store in turn times out, a fifth of the time is left to report it; so
        it is if a search comes first and a lookup in PostgreSQL after it.
        """
        return cls(
            postgres=0.4 * deadline,
            mongo=0.25 * deadline,
            redis=0.15 * deadline,
            searches=0.4 * deadline,
        )

    def __getitem__(self, store: StoreName) -> float:
        """Return the limit of a store."""
        by_name = {"PostgreSQL": self.postgres, "MongoDB": self.mongo, "Redis": self.redis}
        return by_name[store]
