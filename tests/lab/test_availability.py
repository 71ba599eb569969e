"""The watch of an outage: asks at a steady pace, and tells the answers apart."""

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


def test_answers_are_told_apart() -> None:
    """The addresses are asked one after the other, so what was asked when says what came."""
    with (
        site() as (app, url),
        monitor([url + path for path in _KINDS], interval=0.01) as found,
    ):
        wait_until(lambda: len(found.samples) >= 2 * len(_KINDS))
    expected = [[*_KINDS.values()][turn % len(_KINDS)] for turn in range(len(found.samples))]
    assert [one.kind for one in found.samples] == expected
    assert sum(app.paths.values()) == len(found.samples)
    assert found.counts() == {kind: expected.count(kind) for kind in KINDS}


def test_nobody_waits_for_the_last_answer_before_asking_again() -> None:
    """With answers that come when thirty have asked, who waits would wait for ever."""
    with (
        site(crowd=30) as (app, url),
        monitor(f"{url}/together", interval=0.005) as found,
    ):
        wait_until(lambda: len(found.samples) >= 30)
        app.crowd = 1  # those who came since are let go
    assert found.counts(end=found.samples[29].began)["whole"] == 29


def test_of_several_addresses_one_is_asked_after_the_other() -> None:
    with site() as (app, url), monitor([f"{url}/a", f"{url}/b"], interval=0.01) as found:
        wait_until(lambda: len(found.samples) >= 10)
    assert set(app.paths) == {"/a", "/b"}
    assert app.paths["/a"] - app.paths["/b"] in (0, 1)


def test_who_gets_no_answer_in_time_has_none() -> None:
    with site() as (_, url), monitor(f"{url}/never", interval=0.05, timeout=0.2) as found:
        wait_until(lambda: len(found.samples) >= 2)
    assert found.counts()["none"] == len(found.samples)
    assert min(one.seconds for one in found.samples) >= 0.2


def test_a_server_that_is_gone_gives_none_and_is_asked_on() -> None:
    with site() as (_, url):
        pass
    with monitor(url, interval=0.01) as found:
        wait_until(lambda: len(found.samples) >= 5)
    assert found.counts()["none"] == len(found.samples)


@pytest.mark.parametrize("every", [0, 0.001, 61, float("nan")])
def test_a_pace_that_nobody_keeps_is_refused(every: float) -> None:
    with pytest.raises(SettingsError, match="interval is"), monitor("http://x", interval=every):
        pass


def _watched(*kinds: Kind) -> Availability:
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
def test_recovery_is_when_everything_is_answered_again(
    kinds: tuple[Kind, ...], moment: float, seconds: float | None
) -> None:
    assert _watched(*kinds).recovery(moment) == seconds


def test_counts_and_the_slowest_are_of_what_was_asked_between() -> None:
    found = _watched("whole", "refused", "refused", "partial")
    found.samples.append(Sample(4.0, 3.0, "none"))
    assert found.counts(1, 3) == {"whole": 0, "partial": 0, "refused": 2, "none": 0}
    assert found.slowest(0, 4) == 0.25
    assert found.slowest() == 3.0
    assert found.slowest(9) == 0.0


def test_marks_have_their_time() -> None:
    found = Availability()
    moment = found.mark("Redis is killed")
    assert found.marks == [(moment, "Redis is killed")]
    assert moment >= 0
