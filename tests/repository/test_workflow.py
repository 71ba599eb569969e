"""The workflow and the development container are valid, safe, and refer to existing files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from helpers.api.options import ServeOptions
from helpers.settings import PROJECT
from tests.repository.naming import make_targets
from tests.repository.schemas import exit_code

WORKFLOW = PROJECT / ".github" / "workflows" / "ci.yml"
CONTAINER = PROJECT / ".devcontainer" / "devcontainer.json"

#: The keys of a devcontainer.json with one image, as far as ours uses them (containers.dev).
KNOWN_KEYS = {
    *("name", "image", "features", "hostRequirements", "postCreateCommand", "postStartCommand"),
    *("forwardPorts", "portsAttributes", "customizations"),
}


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    # YAML 1.2, in which "on" is a string, not a boolean.
    loaded: dict[str, Any] = YAML(typ="safe").load(WORKFLOW)
    return loaded


@pytest.fixture(scope="module")
def container() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(CONTAINER.read_text("utf-8"))
    return loaded


def _steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def _commands(workflow: dict[str, Any], container: dict[str, Any]) -> list[str]:
    """Return all commands of the workflow, of the script that it calls, and of the container."""
    commands = [step["run"] for step in _steps(workflow) if "run" in step]
    commands += [(PROJECT / ".ci" / "run").read_text("utf-8")]
    return [*commands, container["postCreateCommand"], container["postStartCommand"]]


def test_the_workflow_is_valid_by_its_published_schema(tmp_path: Path) -> None:
    assert exit_code(WORKFLOW, "github-workflows") == 0
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOW.read_text("utf-8").replace("runs-on:", "runs-in:"), "utf-8")
    assert exit_code(broken, "github-workflows") == 1, "the validation finds no error"


def test_the_workflow_has_read_permission_only_and_time_limits(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    for name, job in workflow["jobs"].items():
        assert "permissions" not in job, f"{name} has additional permissions"
        assert 0 < job["timeout-minutes"] <= 180, name
    for step in _steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_actions_are_githubs_with_a_pinned_major_version(workflow: dict[str, Any]) -> None:
    used = [step["uses"] for step in _steps(workflow) if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", action), action


def test_every_backend_has_a_job(workflow: dict[str, Any]) -> None:
    """Embedded servers run on Linux and macOS; genuine servers, by address, on Linux."""
    own, compose = workflow["jobs"]["embedded"], workflow["jobs"]["compose"]
    runners = {entry["runner"] for entry in own["strategy"]["matrix"]["include"]}
    assert {re.sub(r"-.*", "", runner) for runner in runners} == {"ubuntu", "macos"}
    assert compose["runs-on"].startswith("ubuntu")
    runs = [step["run"] for step in compose["steps"] if "run" in step]
    needed = ("make docker-up WORKERS=3", "make by-address ALL=1")
    places = [next(n for n, run in enumerate(runs) if text in run) for text in needed]
    assert places == sorted(places), "the servers are started before they are used"
    on = {
        system: " ".join(
            step["run"]
            for step in own["steps"]
            if "run" in step and f"'{system}'" in step.get("if", f"'{system}'")
        )
        for system in ("Linux", "macOS")
    }
    assert ".ci/run" in on["Linux"]
    assert "make test" in on["macOS"]
    assert "make verify" in on["macOS"]


def test_the_cached_environment_depends_on_the_locks(workflow: dict[str, Any]) -> None:
    """A changed lock or another Python version creates a new environment."""
    for name, job in workflow["jobs"].items():
        cached = {step["uses"]: step["with"] for step in job["steps"] if "with" in step}
        environment = next(what for use, what in cached.items() if use.startswith("actions/cache@"))
        python = next(what for use, what in cached.items() if "setup-python" in use)
        assert environment["path"] == ".venv", name
        for part in ("requirements.txt", "requirements-dev.txt", "outputs.python-version"):
            assert part in environment["key"], name
        assert "restore-keys" not in environment, (
            "an environment of another lock must not be restored"
        )
        files = {file.name for file in PROJECT.glob(python["cache-dependency-path"])}
        assert {"requirements.txt", "requirements-dev.txt"} <= files


def test_every_target_and_file_that_runs_exists(
    workflow: dict[str, Any], container: dict[str, Any]
) -> None:
    known = make_targets()
    targets: set[str] = set()
    for command in _commands(workflow, container):
        targets |= set(re.findall(r"\bmake ([a-z-]+)", command))
        for file in re.findall(r"^(\.\w+/\S+)", command, re.MULTILINE):
            assert (PROJECT / file).stat().st_mode & 0o100, f"{file} cannot be run"
    assert targets <= known
    assert {"test", "verify", "docker-up", "by-address", "env"} <= targets


def test_the_container_uses_only_known_keys(container: dict[str, Any]) -> None:
    assert set(container) <= KNOWN_KEYS
    assert re.fullmatch(r"mcr\.microsoft\.com/devcontainers/python:3\.\d+", container["image"])
    for feature in container["features"]:
        assert re.fullmatch(r"ghcr\.io/devcontainers/features/[a-z-]+:\d+", feature)


def test_the_container_has_docker_and_starts_the_compose_file_with_it(
    container: dict[str, Any],
) -> None:
    """``make docker-up`` reads docker-compose.yml, and writes the addresses into .env."""
    assert any("docker-in-docker" in feature for feature in container["features"])
    assert container["postStartCommand"] == "make docker-up WORKERS=3"
    assert container["postCreateCommand"] == "make env"


def test_the_containers_ports_are_those_of_the_lab_and_the_service(
    container: dict[str, Any],
) -> None:
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    lab = re.search(r"^PORT +\?= (\d+)$", makefile, re.MULTILINE)
    assert lab is not None
    assert set(container["forwardPorts"]) == {ServeOptions().port, int(lab[1])}
    assert set(container["portsAttributes"]) == {str(n) for n in container["forwardPorts"]}


def test_the_container_runs_a_python_that_the_course_can_use(container: dict[str, Any]) -> None:
    minor = int(container["image"].rpartition("3.")[2])
    assert 11 <= minor <= 13
    where = container["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert where == "${containerWorkspaceFolder}/.venv/bin/python"
