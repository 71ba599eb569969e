"""Thirty-two clients that order through the service, and retry until they get a response."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from helpers.lab.buyers import plan_attempts

BUYERS = 32

_PATIENCE = 30.0
_CREATED, _CONFLICT, _UNAVAILABLE = 201, 409, 503


@dataclass
class Responses:
    """The final responses to all requests.

    ``acknowledged`` has the order of each key, ``refused`` the keys of requests that failed because
    the product was sold out. ``failures`` counts other failures; each of these requests was retried
    with its key.
    """

    acknowledged: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """How many requests have a final response."""
        return len(self.acknowledged) + len(self.refused)


class Buyers:
    """Clients in a background thread, from ``start()`` until ``finish()``.

    Their orders and the pauses between them are drawn from ``seed``.
    """

    def __init__(self, url: str, headers: dict[str, str], *, products: int, seed: int) -> None:
        self._url, self._headers, self._seed = url, headers, seed
        self._plans = plan_attempts(
            BUYERS * 10_000,
            buyers=BUYERS,
            products=range(1, products + 1),
            largest=3,
            seed=seed,
        )
        self.responses = Responses()
        self._finishing = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="buyers", daemon=True)

    def start(self) -> None:
        """Start ordering."""
        self._thread.start()

    def finish(self) -> Responses:
        """Stop ordering, wait for the responses to all requests, and return them.

        All stores must be available again. Raises the exception of a client that failed.
        """
        self._finishing.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "a request gets no final response"
        if self._error is not None:
            raise self._error
        return self.responses

    def _run(self) -> None:
        try:
            asyncio.run(self._buy_all())
        except BaseException as error:  # noqa: BLE001  # raised again in ``finish``
            self._error = error

    async def _buy_all(self) -> None:
        limits = httpx.Limits(max_connections=BUYERS, max_keepalive_connections=BUYERS)
        async with (
            httpx.AsyncClient(
                base_url=self._url, headers=self._headers, timeout=_PATIENCE, limits=limits
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            for number in range(BUYERS):
                group.create_task(self._buy(client, number))

    async def _buy(self, client: httpx.AsyncClient, number: int) -> None:
        draw = random.Random(f"{self._seed}:torture:{number}")
        for turn, attempt in enumerate(self._plans[number]):
            if self._finishing.is_set():
                return
            await asyncio.sleep(draw.uniform(0, 0.4))
            key = f"torture-{self._seed}-{number}-{turn}"
            order = {
                "product_id": attempt.product_id,
                "quantity": attempt.quantity,
                "customer_id": 1 + number % 8,
            }
            while not await self._order(client, key, order):
                await asyncio.sleep(draw.uniform(0.05, 0.3))
            if draw.random() < 0.1 and key in self.responses.acknowledged:
                await self._retry(client, key, order)

    async def _order(self, client: httpx.AsyncClient, key: str, order: dict[str, int]) -> bool:
        """Send one request; return whether the response is final."""
        try:
            response = await client.post(
                "/api/orders", json=order, headers={"Idempotency-Key": key}
            )
        except httpx.TransportError as error:
            self.responses.failures[type(error).__name__] += 1
            return False
        if response.status_code == _CREATED:
            self.responses.acknowledged[key] = response.json()
        elif response.status_code == _CONFLICT and response.json()["type"].endswith("sold-out"):
            self.responses.refused.add(key)
        elif response.status_code in (_CONFLICT, _UNAVAILABLE):
            self.responses.failures[response.json()["type"].removeprefix("/problems/")] += 1
            assert response.status_code == _CONFLICT or int(response.headers["Retry-After"]) > 0
            return False
        else:
            raise AssertionError(f"{response.status_code} for {key}: {response.text}")
        return True

    async def _retry(self, client: httpx.AsyncClient, key: str, order: dict[str, int]) -> None:
        """Retry a request that succeeded: the response must have the same order."""
        before = self.responses.acknowledged[key]
        while not await self._order(client, key, order):
            await asyncio.sleep(0.1)
        assert self.responses.acknowledged[key] == before, f"{key} is another order now"
        assert key not in self.responses.refused, f"{key} was ordered, and then refused"
