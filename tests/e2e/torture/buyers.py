"""Thirty-two buyers who order through the service, each request until it is answered."""

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
_CREATED, _REFUSED, _AWAY = 201, 409, 503


@dataclass
class Answers:
    """What the buyers were told.

    ``acknowledged`` has the order of each key, ``refused`` the keys of which the service said that
    nothing was ordered. ``failures`` counts what came in place of an answer; each of these requests
    was sent again under its key.
    """

    acknowledged: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """How many requests have an answer that is one."""
        return len(self.acknowledged) + len(self.refused)


class Buyers:
    """Buyers in a thread of their own, from ``start()`` until ``finish()``.

    What each of them wants is drawn from ``seed``, and so is how long he thinks it over.
    """

    def __init__(self, url: str, headers: dict[str, str], *, products: int, seed: int) -> None:
        self._url, self._headers, self._seed = url, headers, seed
        self._plans = plan_attempts(
            BUYERS * 10_000,
            buyers=BUYERS,
            products=range(1, products + 1),
            largest=3,
            endings={"confirm": 1.0},
            seed=seed,
        )
        self.answers = Answers()
        self._finishing = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="buyers", daemon=True)

    def start(self) -> None:
        """Let them come."""
        self._thread.start()

    def finish(self) -> Answers:
        """Let nobody order anew; wait until every request is answered, and return the answers.

        Every store has to be there again. Raises what has ended a buyer.
        """
        self._finishing.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "a request finds no answer, although all stores answer"
        if self._error is not None:
            raise self._error
        return self.answers

    def _run(self) -> None:
        try:
            asyncio.run(self._buy_all())
        except BaseException as error:  # noqa: BLE001  # raised where somebody waits for it
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
            wanted = {
                "product_id": attempt.product_id,
                "quantity": attempt.quantity,
                "customer_id": 1 + number % 8,
            }
            while not await self._ask(client, key, wanted):
                await asyncio.sleep(draw.uniform(0.05, 0.3))
            if draw.random() < 0.1 and key in self.answers.acknowledged:
                await self._ask_again(client, key, wanted)

    async def _ask(self, client: httpx.AsyncClient, key: str, wanted: dict[str, int]) -> bool:
        """Send one request, and tell whether it was answered."""
        try:
            response = await client.post(
                "/api/orders", json=wanted, headers={"Idempotency-Key": key}
            )
        except httpx.TransportError as error:
            self.answers.failures[type(error).__name__] += 1
            return False
        if response.status_code == _CREATED:
            self.answers.acknowledged[key] = response.json()
        elif response.status_code == _REFUSED and response.json()["type"].endswith("sold-out"):
            self.answers.refused.add(key)
        elif response.status_code in (_REFUSED, _AWAY):
            self.answers.failures[response.json()["type"].removeprefix("/problems/")] += 1
            assert response.status_code == _REFUSED or int(response.headers["Retry-After"]) > 0
            return False
        else:
            raise AssertionError(f"{response.status_code} for {key}: {response.text}")
        return True

    async def _ask_again(self, client: httpx.AsyncClient, key: str, wanted: dict[str, int]) -> None:
        """Send a request that was answered once more: the same order has to come."""
        before = self.answers.acknowledged[key]
        while not await self._ask(client, key, wanted):
            await asyncio.sleep(0.1)
        assert self.answers.acknowledged[key] == before, f"{key} is another order now"
        assert key not in self.answers.refused, f"{key} was ordered, and then refused"
