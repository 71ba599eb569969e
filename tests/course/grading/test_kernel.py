"""Tests run with original names, whatever the submission replaced."""

from __future__ import annotations

import asyncio
import builtins
import json
import statistics
from typing import Any

import pytest

import helpers
from course.grading.kernel import Bench, described


def _do(bench: Bench, **request: Any) -> dict[str, Any]:
    return asyncio.run(bench.do(request))


def _bench(**names: Any) -> Bench:
    bench = Bench(names)
    _do(bench, do="begin", modules=["helpers"])
    return bench


def test_a_test_sees_what_the_submission_defined() -> None:
    bench = _bench(add=lambda x: x + 1)
    assert _do(bench, do="test", code="assert add(1) == 2") == {"ok": True}
    with pytest.raises(AssertionError, match="one more"):
        _do(bench, do="test", code="assert add(1) == 3, 'one more'")


def test_built_in_names_cannot_be_replaced() -> None:
    names = {"len": lambda _: 7, "AssertionError": Exception, "abs": 1, "add": lambda: "xy"}
    bench = _bench(**names)
    _do(bench, do="test", code="assert len(add()) == 2 and abs(-1) == 1")
    with pytest.raises(AssertionError):
        _do(bench, do="test", code="assert len(add()) == 7")


def test_names_of_locked_cells_keep_their_values() -> None:
    names: dict[str, Any] = {"NUMBERS": [1, 2]}
    bench = Bench(names)
    _do(bench, do="keep", names=["NUMBERS", "nothing"])
    names["NUMBERS"] = []
    _do(bench, do="test", code="assert NUMBERS == [1, 2]")
    assert names["NUMBERS"] == []  # the submission's own code keeps its value


def test_names_defined_by_a_test_are_visible_to_later_tests_only() -> None:
    names: dict[str, Any] = {}
    bench = Bench(names)
    _do(bench, do="test", code="def helper(): return 1\nfound = 2")
    _do(bench, do="test", code="assert helper() == 1 and found == 2")
    assert names == {}
    names["found"] = 3  # defined by a later answer
    _do(bench, do="test", code="assert found == 3")


def test_a_test_may_await() -> None:
    async def later() -> int:
        await asyncio.sleep(0)
        return 4

    bench = _bench(later=later)
    _do(bench, do="test", code="assert await later() == 4")
    with pytest.raises(AssertionError):
        _do(bench, do="test", code="assert await later() == 5")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (helpers, "count_commands"),
        (helpers.Stores, "close"),
        (builtins, "hex"),
        (json, "dumps"),
        (statistics, "mean"),
    ],
    ids=["a function", "a method", "a built-in", "the standard library", "another module"],
)
def test_replaced_functions_are_restored_and_reported(owner: Any, name: str) -> None:
    bench = _bench()
    original = getattr(owner, name)
    try:
        setattr(owner, name, print)
        answer = _do(bench, do="guard")
        assert getattr(owner, name) is original
    finally:
        if getattr(owner, name) is not original:
            setattr(owner, name, original)
    assert len(answer["replaced"]) == 1
    assert answer["replaced"][0].endswith(f".{name}")
    assert _do(bench, do="guard")["replaced"] == []


def _error(code: str, **names: Any) -> dict[str, str]:
    bench = _bench(**names)
    try:
        _do(bench, do="test", code=code)
    except BaseException as error:  # noqa: BLE001 - the test examines it
        return described(error)
    raise LookupError(code)


def test_the_message_of_a_tests_assertion_is_reported() -> None:
    error = _error("assert 1 == 2, 'one is not two'")
    assert error == {"error": "AssertionError", "message": "one is not two", "where": ""}


def test_other_messages_are_hidden_since_they_may_quote_the_test() -> None:
    def quoting(text: str) -> None:
        raise AssertionError(text)

    assert _error("f('secret')", f=quoting)["message"] == ""
    assert _error("{}['secret']") == {"error": "KeyError", "message": "", "where": ""}


def test_the_function_that_raised_an_error_is_reported() -> None:
    names: dict[str, Any] = {}
    exec(compile("def answer(): return 1 / 0", "/tmp/ipykernel_1/2.py", "exec"), names)
    error = _error("answer()", answer=names["answer"])
    assert (error["error"], error["where"]) == ("ZeroDivisionError", "answer")


def test_system_exit_inside_a_test_is_an_error() -> None:
    def leave() -> None:
        raise SystemExit(0)

    assert _error("leave()", leave=leave)["error"] == "SystemExit"


def test_a_message_that_cannot_be_converted_is_empty() -> None:
    class Mute:
        def __str__(self) -> str:
            raise ValueError

    assert _error("assert False, mute", mute=Mute())["message"] == ""
