"""The kernel that a submission runs in: IPython's, and one message more, which runs a test.

A test does not go the way that the notebook's own cells go. It is no cell: it has no number, no
history, and no name in the notebook's namespace leads to it. The grader sends it when it is to be
run, and not before, in a message of its own, whose answer the grader reads.

What a test's words mean is not left to the submission either. A built-in name means the built-in,
a name that a locked cell bound means what that cell bound, and what was replaced inside ``helpers``
or the drivers is put back first. Whoever takes this very process apart can get around that: see
docs/instructors.md.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp

#: What a test's code is called in a traceback.
TEST = "<test>"

# Put back before each test: what tests speak through, and what they speak of.
_GUARDED = (
    *("helpers", "course"),
    *("psycopg", "psycopg_pool", "pymongo", "redis", "ipykernel", "jupyter_client"),
)
_GUARDED_TOO = ("builtins", "json", "math", "random", "statistics", "time", "inspect", "threading")
_LONGEST = 500
_ABSENT = object()
_vars, _setattr = vars, setattr  # these, too, may have been replaced by then


class GradedKernel(IPythonKernel):
    """IPython's kernel, which also answers the grader's requests."""

    msg_types = [*IPythonKernel.msg_types, "grader_request"]  # noqa: RUF012

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)  # type: ignore[no-untyped-call]
        assert self.shell is not None
        self._bench = Bench(self.shell.user_ns)
        self._printed: Printed | None = None

    async def grader_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        """Do what the grader asks, and answer whether it went well."""
        content = dict(parent["content"])
        parent["content"].clear()  # so that nothing finds the test's code there
        try:
            if content["do"] == "begin":
                self._watch_output(content["output_mib"])
            elif self._printed is not None:
                self._printed.begin()
            answer = await self._bench.do(content)
        except BaseException as error:  # noqa: BLE001 - a test may raise whatever it likes
            answer = {"ok": False, **described(error)}
        assert self.session is not None
        self.session.send(stream, "grader_reply", answer, parent, ident)

    def _watch_output(self, most_mib: int) -> None:
        self._printed = Printed(most_mib)
        for stream in (sys.stdout, sys.stderr):
            self._printed.watch(stream)
        assert self.shell is not None
        self.shell.events.register("pre_run_cell", self._printed.begin)


class TooMuchOutput(Exception):  # noqa: N818 - the name is what a student reads
    """A cell, or a test, has printed more than it may."""


class Printed:
    """Counts what one cell prints, and stops it where that is too much."""

    def __init__(self, most_mib: int) -> None:
        self._most_mib = most_mib
        self._count = 0

    def begin(self, *_: Any) -> None:
        """Begin to count anew: the next cell is run."""
        self._count = 0

    def watch(self, stream: Any) -> None:
        """Count what is written to ``stream`` from now on."""
        write = stream.write

        def counted(text: str) -> Any:
            self._count += len(text)
            if self._count > self._most_mib * 2**20:
                raise TooMuchOutput(f"it printed more than {self._most_mib} MiB")
            return write(text)

        stream.write = counted


class Bench:
    """Where tests are run: beside the submission's ``namespace``, not in it."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._kept: dict[str, Any] = {}  # what locked cells have bound
        self._tests: dict[str, Any] = {}  # what tests have bound, for where nobody else has
        self._originals: list[tuple[Any, str, Any]] = []

    async def do(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do one request: ``begin``, ``guard``, ``keep`` or ``test``; return the answer.

        Raises whatever a test raises.
        """
        match request["do"]:
            case "begin":
                # Before anything of the submission has run.
                for name in request["modules"]:
                    module = importlib.import_module(name)
                    # Some packages import a name when it is first used: that is now.
                    for public in getattr(module, "__all__", ()):
                        getattr(module, public)
                self._originals = list(_functions_and_classes())
                return {"ok": True}
            case "guard":
                return {"ok": True, "replaced": self._put_back()}
            case "keep":
                found = {n: self._namespace[n] for n in request["names"] if n in self._namespace}
                self._kept.update(found)
                return {"ok": True}
            case _:
                self._put_back()
                await self._test(request["code"])
                return {"ok": True}

    async def _test(self, text: str) -> None:
        own = vars(builtins)
        theirs = {name: value for name, value in self._namespace.items() if name not in own}
        names = {**self._tests, **theirs, **self._kept, "__builtins__": builtins}
        before = dict(names)
        code = compile(text, TEST, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        try:
            waiting = eval(code, names)  # noqa: S307
            if inspect.isawaitable(waiting):
                await waiting
        finally:
            # What a test defines is there for the tests after it.
            new = {n: v for n, v in names.items() if before.get(n, _ABSENT) is not v}
            self._tests.update(new)

    def _put_back(self) -> list[str]:
        replaced = []
        for owner, name, value in self._originals:
            if _vars(owner).get(name, _ABSENT) is not value:
                _setattr(owner, name, value)
                replaced.append(f"{_called(owner)}.{name}")
        return replaced


def described(error: BaseException) -> dict[str, str]:
    """Return what an error is, in words: ``error``, ``message`` and ``where`` it was raised.

    ``message`` is only that of a test's own assertion: another one may quote what a test asked.
    """
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame.f_code)
        trace = trace.tb_next
    own = bool(frames) and frames[-1].co_filename == TEST and isinstance(error, AssertionError)
    inside = [code.co_name for code in frames if "ipykernel_" in code.co_filename]
    return {
        "error": type(error).__name__,
        "message": _said(error) if own else "",
        "where": inside[-1] if inside else "",
    }


def _said(error: BaseException) -> str:
    try:
        return str(error)[:_LONGEST]
    except Exception:  # noqa: BLE001 - the message may be an object of the submission's
        return ""


def _functions_and_classes() -> Iterator[tuple[Any, str, Any]]:
    """Yield every function and class of the guarded modules, and the functions of those classes."""
    for module in _guarded_modules():
        for name, value in list(vars(module).items()):
            if callable(value) and not name.startswith("__"):
                yield module, name, value
            if isinstance(value, type) and value.__module__ == module.__name__:
                yield from _methods(value)


def _guarded_modules() -> Iterable[types.ModuleType]:
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] in _GUARDED or name in _GUARDED_TOO:
            yield module


def _methods(owner: type) -> Iterator[tuple[Any, str, Any]]:
    if not owner.__flags__ & _HEAP_TYPE:
        return  # nothing can be replaced there
    for name, value in list(vars(owner).items()):
        if isinstance(value, types.FunctionType | classmethod | staticmethod | property):
            yield owner, name, value


_HEAP_TYPE = 1 << 9


def _called(owner: Any) -> str:
    if isinstance(owner, type):
        return f"{owner.__module__}.{owner.__name__}"
    return str(owner.__name__)


if __name__ == "__main__":
    IPKernelApp.launch_instance(kernel_class=GradedKernel)
