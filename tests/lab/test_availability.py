"""The availability monitor: it sends requests at a constant rate and classifies the outcomes."""

from __future__ import annotations

import pytest

from helpers.errors import SettingsError
from helpers.lab.availability import KINDS, Availability, Kind, Sample, monitor
from tests.lab.apps import site
from tests.waiting import wait_until

_KINDS: dict[str, Kind] = {
    "/": "whole",
    "/lacking/X-Missing-Stores": "partial",
    "/lacking/X-Missing-Nodes": "partial",
    "/lacking/X-Stale": "partial",
    "/status/503": "refused",
    "/status/500": "none",
    "/status/400": "none",
    "/broken": "none",
}


def test_outcomes_are_classified() -> None:
    """The addresses are requested in turn, so the order of the samples is known."""
    with (
        site() as (app, url),
        monitor([url + path for path in _KINDS], interval=0.01) as found,
    ):
        wait_until(lambda: len(found.samples) >= 2 * len(_KINDS))
    kinds = [*_KINDS.values()]
    expected = [kinds[number % len(kinds)] for number in range(len(found.samples))]
    assert [sample.kind for sample in found.samples] == expected
    assert sum(app.paths.values()) == len(found.samples)
    assert found.counts() == {kind: expected.count(kind) for kind in KINDS}


def test_requests_do_not_wait_for_earlier_responses() -> None:
    """The server responds when thirty requests are there, so waiting would never end."""
    with (
        site(concurrent=30) as (app, url),
        monitor(f"{url}/together", interval=0.005) as found,
    ):
        wait_until(lambda: len(found.samples) >= 30)
        app.concurrent = 1  # later requests get a response
    assert found.counts(end=found.samples[29].began)["whole"] == 29


def test_several_addresses_are_requested_in_turn() -> None:
    with site() as (app, url), monitor([f"{url}/a", f"{url}/b"], interval=0.01) as found:
        wait_until(lambda: len(found.samples) >= 10)
    assert set(app.paths) == {"/a", "/b"}
    assert app.paths["/a"] - app.paths["/b"] in (0, 1)


def test_a_timeout_counts_as_none() -> None:
    with site() as (_, url), monitor(f"{url}/never", interval=0.05, timeout=0.2) as found:
        wait_until(lambda: len(found.samples) >= 2)
    assert found.counts()["none"] == len(found.samples)
    assert min(sample.seconds for sample in found.samples) >= 0.2


def test_a_stopped_server_counts_as_none_and_requests_continue() -> None:
    with site() as (_, url):
        pass
    with monitor(url, interval=0.01) as found:
        wait_until(lambda: len(found.samples) >= 5)
    assert found.counts()["none"] == len(found.samples)


@pytest.mark.parametrize("interval", [0, 0.001, 61, float("nan")])
def test_an_interval_out_of_range_is_refused(interval: float) -> None:
    with pytest.raises(SettingsError, match="interval is"), monitor("http://x", interval=interval):
        pass


def _availability(*kinds: Kind) -> Availability:
    found = Availability()
    found.samples += [Sample(float(number), 0.25, kind) for number, kind in enumerate(kinds)]
    return found


@pytest.mark.parametrize(
    ("kinds", "moment", "seconds"),
    [
        (("whole", "refused", "none", "whole", "whole"), 1.5, 1.75),
        (("whole", "refused", "whole", "partial", "whole"), 1.0, 3.25),
        (("whole", "whole"), 0.5, 0.75),
        (("whole", "refused"), 0.5, None),
        (("refused", "whole", "whole"), 0.5, 0.75),
    ],
)
def test_recovery_is_the_first_whole_response_after_the_last_other_one(
    kinds: tuple[Kind, ...], moment: float, seconds: float | None
) -> None:
    assert _availability(*kinds).recovery(moment) == seconds


def test_counts_and_slowest_are_limited_to_a_time_range() -> None:
    found = _availability("whole", "refused", "refused", "partial")
    found.samples.append(Sample(4.0, 3.0, "none"))
    assert found.counts(1, 3) == {"whole": 0, "partial": 0, "refused": 2, "none": 0}
    assert found.slowest(0, 4) == 0.25
    assert found.slowest() == 3.0
    assert found.slowest(9) == 0.0


def test_marks_record_their_time() -> None:
    found = Availability()
    moment = found.mark("Redis is killed")
    assert found.marks == [(moment, "Redis is killed")]
    assert moment >= 0
