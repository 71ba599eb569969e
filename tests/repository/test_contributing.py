"""What contributors use: the checks before a commit, the templates, the changelog, the version."""

from __future__ import annotations

import re
from importlib import metadata
from typing import Any

import pytest
from ruamel.yaml import YAML

from helpers.settings import PROJECT
from tests.repository.schemas import exit_code

FORMS = sorted((PROJECT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def test_pre_commit_runs_the_checks_of_make_lint() -> None:
    config: dict[str, Any] = YAML(typ="safe").load(PROJECT / ".pre-commit-config.yaml")
    hooks = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    commands = [line.strip().lstrip("@") for line in recipe[1].splitlines()]
    assert hooks == [command.replace("$(BIN)", ".venv/bin") for command in commands]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_an_issue_form_is_valid_by_its_published_schema(form: Any) -> None:
    kind = "github-issue-config" if form.stem == "config" else "github-issue-forms"
    assert exit_code(form, kind) == 0


def test_the_changelog_names_the_installed_version_or_what_is_unreleased() -> None:
    version = metadata.version("distributed-data-course")
    headings = re.findall(r"^## (.+)$", (PROJECT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0].startswith("[Unreleased]" if ".dev" in version else version)
