"""Requests per second of the API's product list, for each strategy."""

from __future__ import annotations

import statistics

from benchmarks.timing import print_figure
from helpers.lab.background_programs import ServiceProcess, start_service
from helpers.lab.load import Load, measure
from helpers.settings import Settings
from helpers.shop.opening import open_databases
from helpers.shop.seeding import seed

_PRODUCTS = 1_000
_CALLERS = (1, 16, 64)
_ROUNDS = 3
_SECONDS = 2.0
_SLOW = "per-product"
_WAYS = ("batched", "at-once", "single-flight", "read-model", "constant")
# Requests of the slow strategy by number of callers: at least one for each caller.
_SLOW_REQUESTS = {1: 4, 16: 32, 64: 64}

_Loads = dict[str, dict[int, list[Load]]]


def bench_api(settings: Settings) -> None:
    """Print the requests per second of each strategy."""
    with open_databases("bench_api", 13, settings) as stores:
        seed(stores, _PRODUCTS, orders=False)
        with start_service(stores, "--lab", "--read-model") as service:
            loads = _measure(service)
    print(f"GET of a list of {_PRODUCTS:,} products, by strategy and number of callers")
    for way, by_callers in loads.items():
        for callers, rounds in by_callers.items():
            rates = [load.requests_per_second for load in rounds]
            print_figure(f"  {way}, {callers} callers", rates, "requests per second")
    _print_ratios(loads)


def _measure(service: ServiceProcess) -> _Loads:
    """Return the measured loads of each strategy by number of callers, one for each round."""
    url = f"{service.url}/lab/products/"
    loads: _Loads = {way: {callers: [] for callers in _CALLERS} for way in (_SLOW, *_WAYS)}
    for callers in _CALLERS:
        requests = _SLOW_REQUESTS[callers]
        loads[_SLOW][callers].append(
            measure(url + _SLOW, clients=callers, requests=requests, timeout=600)
        )
        for _ in range(_ROUNDS):
            # Alternate the strategies, so that other load on the machine affects all of them.
            for way in _WAYS:
                load = measure(url + way, clients=callers, seconds=_SECONDS, warm_up=2)
                assert not load.failures, (way, load.failures)
                loads[way][callers].append(load)
    return loads


def _print_ratios(loads: _Loads) -> None:
    def rate(way: str, callers: int) -> float:
        return statistics.median(load.requests_per_second for load in loads[way][callers])

    for callers in _CALLERS:
        for way in ("at-once", "single-flight", "read-model"):
            ratio = rate(way, callers) / rate(_SLOW, callers)
            print_figure(f"{way} to {_SLOW}, {callers} callers", [ratio], "times")
        share = 100 * rate("read-model", callers) / rate("constant", callers)
        print_figure(f"read-model to a constant answer, {callers} callers", [share], "%")
