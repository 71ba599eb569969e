"""The locks: complete, and never behind the dependencies in ``pyproject.toml``."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from course.authoring.lock import LOCKS
from helpers.settings import PROJECT

PLATFORMS = [
    {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
]


_PYPROJECT = PROJECT / "pyproject.toml"
NAMES = [name.removesuffix(".txt") for name in LOCKS]


def _listed(name: str) -> list[Requirement]:
    """Return the dependencies that ``pyproject.toml`` lists for a lock."""
    project = tomllib.loads(_PYPROJECT.read_text("utf-8"))
    groups = project["dependency-groups"]
    if name == "requirements-dev":
        return [Requirement(text) for text in groups["dev"]]
    return [Requirement(text) for text in project["project"]["dependencies"] + groups["build"]]


def _locked(name: str) -> list[Requirement]:
    text = (PROJECT / f"{name}.txt").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    return [Requirement(line.partition(" --hash=")[0]) for line in lines]


def _pinned_here(name: str) -> dict[str, str]:
    """Return the version of each package that the lock pins on this very platform."""
    return {
        canonicalize_name(one.name): str(one.specifier).removeprefix("==")
        for one in _locked(name)
        if one.marker is None or one.marker.evaluate()
    }


def test_every_dependency_says_why_it_is_there() -> None:
    listed = {str(one) for name in NAMES for one in _listed(name)}
    lines = re.findall(r'^    "(\S+)", +# \S.{4,}$', _PYPROJECT.read_text("utf-8"), re.MULTILINE)
    assert listed <= {str(Requirement(line)) for line in lines}


def test_what_builds_the_package_is_locked_too() -> None:
    """So that ``pip install --no-build-isolation -e .`` needs no network."""
    project = tomllib.loads(_PYPROJECT.read_text("utf-8"))
    assert project["build-system"]["requires"] == project["dependency-groups"]["build"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: "-".join(p.values()))
def test_every_listed_package_is_locked_as_it_is_listed(
    name: str, platform: dict[str, str]
) -> None:
    locked = {
        canonicalize_name(one.name): one
        for one in _locked(name)
        if one.marker is None or one.marker.evaluate(platform)
    }
    for wanted in _listed(name):
        one = locked[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(str(one.specifier).removeprefix("=="), prereleases=True)


@pytest.mark.parametrize("name", NAMES)
def test_every_lock_pins_exactly_with_hashes(name: str) -> None:
    text = (PROJECT / f"{name}.txt").read_text("utf-8")
    for one in _locked(name):
        assert re.fullmatch(r"==[^*]+", str(one.specifier)), one
        assert not one.url
    assert text.count("--hash=sha256:") > len(_locked(name))
    assert "://" not in text


def test_the_lock_holds_what_the_lists_need_and_nothing_else() -> None:
    """Follow what is installed from the lists: each package reached is locked, and none besides.

    So a line added to a list or taken from it fails here until the lock is made again.
    """
    pinned = _pinned_here("requirements") | _pinned_here("requirements-dev")
    reached: set[str] = set()
    waiting = [one for name in NAMES for one in _listed(name)]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        assert name in pinned, f"{name} is not locked: run `make lock`"
        extras = {f"{name}[{extra}]" for extra in one.extras}
        if name in reached and extras <= reached:
            continue
        reached |= {name, *extras}
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            environments = [{"extra": extra} for extra in (*one.extras, "")]
            if needed.marker is None or any(needed.marker.evaluate(e) for e in environments):
                waiting.append(needed)
    assert set(pinned) <= reached, "locked, but not needed: run `make lock`"


def test_what_is_installed_is_what_is_locked() -> None:
    pinned = _pinned_here("requirements") | _pinned_here("requirements-dev")
    installed = {name: metadata.version(name) for name in pinned}
    assert installed == pinned
