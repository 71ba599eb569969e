"""Run one layer of the tests, as ``make test`` and ``make verify`` do, and print its durations.

``python -m tests.run test`` checks style and types, and runs every test and notebook that is not
marked ``verify``. ``python -m tests.run verify`` runs those marked ``verify``, then the tests by
address. However a run ends, its processes are ended too (``tests.cleanup``).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.cleanup import PROJECT, Run

#: The budget of a layer on two cores, and of creating the environment before it, in seconds.
BUDGET_SECONDS = {"test": 300, "verify": 1320}
ENVIRONMENT_SECONDS = 180

_POLL_SECONDS = 0.2
# After Ctrl-C, pytest needs a moment to end its tests and servers.
_INTERRUPTED_SECONDS = 5.0
_INTERRUPTED = 130


@dataclass(frozen=True)
class Part:
    """A part of a layer: a name, and the arguments of a Python command."""

    name: str
    arguments: Sequence[str]


@dataclass(frozen=True)
class Done:
    """The result of a part: its exit code and its duration in seconds."""

    part: Part
    code: int
    seconds: float


def _pytest(layer: str, *places: str) -> Part:
    processes = ("-n", "2", "--dist", "loadscope", "--no-loadscope-reorder")
    notebooks = ("--nbval", "--nbval-cell-timeout", "600")
    arguments = ("-m", "pytest", "-q", *processes, *notebooks, "--layer", layer, *places)
    return Part(f"tests ({layer})", arguments)


_STYLE = Part("style", ("-m", "ruff", "check", "."))
_FORMAT = Part("format", ("-m", "ruff", "format", "--check", "."))
_TYPES = Part("types", ("-m", "mypy"))
_EVERYTHING = ("tests", "notebooks", "project")
_BY_ADDRESS = _pytest("by-address", *_EVERYTHING)

#: The parts of each layer, in their order.
LAYERS = {
    "test": (_STYLE, _FORMAT, _TYPES, _pytest("test", *_EVERYTHING)),
    "verify": (_pytest("verify", "tests"), _BY_ADDRESS),
    "by-address": (_BY_ADDRESS,),
    "all-by-address": (_pytest("all-by-address", *_EVERYTHING),),
}


def main() -> int:
    """Run a layer; return 0 if every part passed and left no process running."""
    parser = argparse.ArgumentParser(prog="python -m tests.run", description=__doc__)
    parser.add_argument("layer", choices=LAYERS)
    parser.add_argument(
        "--started", type=float, default=time.time(), help="when the command started (Unix time)"
    )
    options, more = parser.parse_known_args()
    run, done = Run(), list[Done]()
    try:
        _run(LAYERS[options.layer], more, done)
        code = next((result.code for result in done if result.code), 0)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    left = run.finish()
    if left and code != _INTERRUPTED:
        print("These processes were still running and were killed:", *left, sep="\n  ")
        code = code or 1
    made = (PROJECT / ".venv" / ".dev").stat().st_mtime > options.started
    report(options.layer, done, time.time() - options.started, made_environment=made)
    return code


def _run(parts: Sequence[Part], options: Sequence[str], done: list[Done]) -> None:
    """Run the parts until one fails; types are checked while the next part runs."""
    pool = ThreadPoolExecutor(1)
    types = None
    try:
        for part in parts:
            if part is _TYPES:
                types = pool.submit(_captured, part)
                continue
            print(f"-- {part.name}", flush=True)
            done.append(_shown(part, options if "pytest" in part.arguments else ()))
            if done[-1].code:
                break
        if types is not None:
            checked, output = types.result()
            print(f"-- {checked.part.name}\n{output}", end="", flush=True)
            done.append(checked)
    finally:
        # After an interrupt, the end of the run kills the process that the thread waits for.
        pool.shutdown(wait=False)


def _captured(part: Part) -> tuple[Done, str]:
    began = time.monotonic()
    process = subprocess.run(
        [sys.executable, *part.arguments],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Done(part, process.returncode, time.monotonic() - began), process.stdout


def _shown(part: Part, options: Sequence[str]) -> Done:
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, *part.arguments, *options], cwd=PROJECT)
    parent = os.getppid()
    try:
        while process.poll() is None:
            # A make that is killed (SIGKILL) cannot forward the signal.
            if os.getppid() != parent:
                raise KeyboardInterrupt
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        try:
            process.wait(_INTERRUPTED_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
    return Done(part, process.returncode, time.monotonic() - began)


def report(
    layer: str, done: Sequence[Done], total: float, *, made_environment: bool = False
) -> None:
    """Print the duration of each part, and a warning if the total exceeds the budget.

    ``total`` is in seconds; it includes creating the environment if ``made_environment``.
    """
    print()
    for result in done:
        outcome = "failed" if result.code else "passed"
        print(f"{result.seconds:8.0f} s  {result.part.name}: {outcome}")
    print(f"{total:8.0f} s  make {layer}{', environment included' if made_environment else ''}")
    if layer not in BUDGET_SECONDS:
        return
    allowed = BUDGET_SECONDS[layer] + (ENVIRONMENT_SECONDS if made_environment else 0)
    if total > allowed:
        print(
            f"Warning: this exceeded the budget of {allowed} s on two cores. See "
            '"What a test may cost" in CONTRIBUTING.md.'
        )


if __name__ == "__main__":
    sys.exit(main())
