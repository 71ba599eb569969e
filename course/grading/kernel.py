"""The kernel that a submission runs in: IPython's, with an additional message that runs a test.

A test is not a cell: it has no execution count and no history, and no name in the notebook's
namespace refers to it. The grader sends its code just before it runs.

Inside a test, built-in names and names bound by locked cells have their original meaning, and
functions replaced inside ``helpers`` or the drivers are restored first. Code that manipulates the
process itself can get around this: see docs/instructors.md.
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

#: The file name of a test's code in a traceback.
TEST = "<test>"

# Modules whose functions are restored before each test.
_GUARDED = (
    *("helpers", "course"),
    *("psycopg", "psycopg_pool", "pymongo", "redis", "ipykernel", "jupyter_client"),
)
_GUARDED_TOO = ("builtins", "json", "math", "random", "statistics", "time", "inspect", "threading")
_LONGEST = 500
_ABSENT = object()
_vars, _setattr, _delattr = vars, setattr, delattr  # these may have been replaced by then, too


class GradedKernel(IPythonKernel):
    """IPython's kernel, which also answers the grader's requests."""

    msg_types = [*IPythonKernel.msg_types, "grader_request"]  # noqa: RUF012

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)  # type: ignore[no-untyped-call]
        assert self.shell is not None
        self._bench = Bench(self.shell.user_ns)
        self._printed: Printed | None = None

    async def grader_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        """Carry out a grader request and reply whether it succeeded."""
        content = dict(parent["content"])
        parent["content"].clear()  # hide the test's code
        try:
            if content["do"] == "begin":
                self._watch_output(content["output_mib"])
            elif self._printed is not None:
                self._printed.begin()
            answer = await self._bench.do(content)
        except BaseException as error:  # noqa: BLE001 - a test may raise anything
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
    """A cell or a test printed more than the limit."""


class Printed:
    """Counts what a cell prints, and stops the cell when it exceeds the limit."""

    def __init__(self, most_mib: int) -> None:
        self._most_mib = most_mib
        self._count = 0

    def begin(self, *_: Any) -> None:
        """Reset the count for the next cell."""
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
    """Runs tests next to the submission's ``namespace``, not in it."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._kept: dict[str, Any] = {}  # names bound by locked cells
        self._tests: dict[str, Any] = {}  # names bound by tests
        self._originals: list[tuple[Any, str, Any]] = []

    async def do(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out a request: ``begin``, ``guard``, ``keep`` or ``test``; return the reply.

        Raises whatever a test raises.
        """
        match request["do"]:
            case "begin":
                # Before any of the submission's code has run.
                for name in request["modules"]:
                    module = importlib.import_module(name)
                    # Resolve names that a package imports lazily.
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
            # Later tests see what this one defines.
            new = {n: v for n, v in names.items() if before.get(n, _ABSENT) is not v}
            self._tests.update(new)

    def _put_back(self) -> list[str]:
        replaced = []
        for owner, name, value in self._originals:
            if _vars(owner).get(name, _ABSENT) is not value:
                if value is _ABSENT:
                    _delattr(owner, name)
                else:
                    _setattr(owner, name, value)
                replaced.append(f"{_qualified_name(owner)}.{name}")
        return replaced


def described(error: BaseException) -> dict[str, str]:
    """Return an error in words: ``error``, ``message`` and ``where`` it was raised.

    ``message`` is set only for a test's own assertion: others could quote the test's code.
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
        "message": _message(error) if own else "",
        "where": inside[-1] if inside else "",
    }


def _message(error: BaseException) -> str:
    try:
        return str(error)[:_LONGEST]
    except Exception:  # noqa: BLE001 - the message may be the submission's own object
        return ""


def _functions_and_classes() -> Iterator[tuple[Any, str, Any]]:
    """Yield the functions and classes of the guarded modules, and their methods."""
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
        return  # immutable
    kinds = (types.FunctionType, classmethod, staticmethod, property)
    for name, value in list(vars(owner).items()):
        if isinstance(value, kinds):
            yield owner, name, value
    # An inherited method can be replaced by one of the class itself, which must stay absent.
    inherited = {name for base in owner.__mro__[1:-1] for name in vars(base)}
    for name in sorted(inherited - vars(owner).keys()):
        if isinstance(inspect.getattr_static(owner, name), kinds):
            yield owner, name, _ABSENT


_HEAP_TYPE = 1 << 9


def _qualified_name(owner: Any) -> str:
    if isinstance(owner, type):
        return f"{owner.__module__}.{owner.__name__}"
    return str(owner.__name__)


if __name__ == "__main__":
    IPKernelApp.launch_instance(kernel_class=GradedKernel)
