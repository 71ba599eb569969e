"""The page's modules, each for itself: what they make of what they are given."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from helpers.faces.api.parameters import specification_value
from helpers.faces.api.timing import server_timing
from helpers.faces.background import Served
from helpers.shop.metadata_filters import Between
from helpers.stores.trace import Trace
from tests.browser.looking import find_browser


@pytest.fixture(scope="module")
def parts(browser: Browser, service: Served) -> Iterator[Page]:
    """The storefront, for modules to be imported from."""
    page = browser.new_page()
    page.goto(f"{service.url}/")
    yield page
    page.close()


def test_without_a_browser_tests_are_skipped_but_never_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no browser"):
        find_browser()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no browser"):
        find_browser()


def _call(page: Page, module: str, function: str, *arguments: object) -> Any:
    return page.evaluate(
        """async ([module, name, given]) => {
            const found = (await import(`/storefront/${module}.js`))[name](...given);
            return found instanceof URLSearchParams ? found.toString() : found;
        }""",
        [module, function, list(arguments)],
    )


def test_the_services_own_timing_is_read(parts: Page) -> None:
    trace = Trace()
    began = trace.beginning - 0.001
    for store, name in (("PostgreSQL", "SELECT"), ("Redis", "MGET"), ("MongoDB", "find")):
        trace.begin(store, name).extend()  # type: ignore[arg-type]
    header = f"total;dur=12.50, {server_timing(trace, began, shared=True)}"
    cost = _call(parts, "timing", "readTiming", header)
    assert cost["total"] == 12.5
    assert [one["store"] for one in cost["stores"]] == ["PostgreSQL", "MongoDB", "Redis"]
    assert all(one["roundTrips"] == 1 for one in cost["stores"])
    assert [one["what"] for one in cost["questions"]] == ["SELECT", "MGET", "find"]
    assert all(one["start"] >= 1 for one in cost["questions"])
    assert cost["unlisted"] == 0
    assert cost["notes"] == ["This answer was shared with another request."]


def test_questions_beyond_the_listed_ones_are_counted(parts: Page) -> None:
    trace = Trace()
    for _ in range(30):
        trace.begin("MongoDB", "find").extend()
    cost = _call(parts, "timing", "readTiming", server_timing(trace, trace.beginning))
    assert len(cost["questions"]) == 24
    assert cost["unlisted"] == 6


@pytest.mark.parametrize(
    ("header", "entries"),
    [
        (None, []),
        ("", []),
        ("miss", [{"name": "miss"}]),
        ('a;desc="x, y; z=1";dur=2', [{"name": "a", "desc": "x, y; z=1", "dur": "2"}]),
        (
            r'a;desc="say \"so\"" , b ;DUR=1',
            [{"name": "a", "desc": 'say "so"'}, {"name": "b", "dur": "1"}],
        ),
        ("a;dur=, b", [{"name": "a", "dur": ""}, {"name": "b"}]),
    ],
)
def test_headers_of_any_form_are_taken_apart(
    parts: Page, header: str | None, entries: list[dict[str, str]]
) -> None:
    assert _call(parts, "timing", "parseServerTiming", header) == entries


@pytest.mark.parametrize(
    "value",
    ["16GB", "16", "1.50", "-3", "true", "false", "8..32", "..5", '"x"', 'a"b', " a ", "a & b=c"],
)
def test_a_text_is_asked_for_as_a_text(parts: Page, value: str) -> None:
    assert specification_value("spec.x", _call(parts, "query", "valueText", value)) == value


@pytest.mark.parametrize("value", [16, 0, -3, 1.5, True, False])
def test_numbers_and_flags_are_asked_for_as_such(parts: Page, value: float) -> None:
    found = specification_value("spec.x", _call(parts, "query", "valueText", value))
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("value", ["", "x" * 201, None, {"a": 1}, [1], 1e30])
def test_what_cannot_be_asked_for_is_not_offered(parts: Page, value: object) -> None:
    assert _call(parts, "query", "valueText", value) is None


def test_a_range_is_asked_for_by_its_ends(parts: Page) -> None:
    for low, high, meant in (("100", "300", Between(100, 300)), ("", "2.5", Between(None, 2.5))):
        text = _call(parts, "query", "rangeText", low, high)
        assert specification_value("spec.x", text) == meant
        assert _call(parts, "query", "readRange", text) == [low, high]
    assert _call(parts, "query", "rangeText", "", "") is None


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("category", "laptop", "category: laptop"),
        ("in_stock", "true", "in stock only"),
        ("spec.ram_gb", "16", "ram gb: 16"),
        ("spec.bulb.socket", "E27", "bulb socket: E27"),
        ("spec.pages", "..300", "pages: up to 300"),
        ("spec.pages", "100..", "pages: from 100"),
        ("spec.pen", "true", "pen: yes"),
        ("spec.ram", '"16"', "ram: 16"),
        ("spec.x", "a..b", "x: a..b"),
    ],
)
def test_filters_are_read_as_words(parts: Page, name: str, value: str, text: str) -> None:
    assert _call(parts, "query", "filterText", name, value) == text


def test_an_address_keeps_what_the_shop_knows_once(parts: Page) -> None:
    search = "?tag=a&utm_source=x&tag=a&tag=b&limit=3&category=book&spec.ram=16GB&in_stock=true"
    found = _call(parts, "query", "readFilters", search)
    assert found == "tag=a&tag=b&category=book&spec.ram=16GB&in_stock=true"


@pytest.mark.parametrize(
    ("stock", "level", "text"),
    [
        ("15", "some", "15 in stock"),
        ("0", "none", "Sold out"),
        (None, "unknown", "Stock unknown: Redis has no count"),
        ("-1", "odd", "Redis says “-1”, which is no count"),
        ("1e3", "odd", "Redis says “1e3”, which is no count"),
    ],
)
def test_a_count_is_what_it_is(parts: Page, stock: str | None, level: str, text: str) -> None:
    assert _call(parts, "cards", "stockText", stock, False) == [level, text]
    away = ["unknown", "Redis does not answer: stock unknown"]
    assert _call(parts, "cards", "stockText", None, True) == away
