"""A reader who follows ``SELECT create_distributed_table(…)`` opens few SQL files."""

from __future__ import annotations

import re
from pathlib import Path

from helpers.settings import PROJECT
from tests.repository.naming import walks

MOST_FILES = 6
_START = "pg_catalog.create_distributed_table"

_SQL = PROJECT / "helpers" / "citus" / "sql"
_DEFINITION = re.compile(r"^CREATE (?:FUNCTION|PROCEDURE) ([a-z_.0-9]+)", re.MULTILINE)
_OURS = re.compile(r"\bsharding\.([a-z_0-9]+)\(")
_UNQUALIFIED = re.compile(r"(?<![.\w])([a-z_0-9]+)\(")
_COMMENT = re.compile(r"--[^\n]*")
_STRING = re.compile(r"'(?:[^']|'')*'")


def definitions(text: str) -> list[tuple[str, str]]:
    """Return the functions of a script: qualified names, and the text up to the next one."""
    text = _COMMENT.sub("", text)
    starts = [*_DEFINITION.finditer(text)]
    ends = [*(start.start() for start in starts[1:]), len(text)]
    return [(start[1], text[start.end() : end]) for start, end in zip(starts, ends, strict=False)]


def calls(body: str, known: set[str]) -> set[str]:
    """Return the functions that a body calls, also in the commands that it builds as strings."""
    ours = {f"sharding.{name}" for name in _OURS.findall(body)}
    # A string with an unqualified name is a message, not a command.
    unqualified = {f"pg_catalog.{name}" for name in _UNQUALIFIED.findall(_STRING.sub("", body))}
    return (ours | unqualified) & known


def followed(start: str) -> dict[str, set[str]]:
    """Return the files with the functions that a call reaches, and these functions."""
    scripts = sorted(_SQL.rglob("*.sql"))
    found = [(file, name, body) for file in scripts for name, body in _definitions_in(file)]
    known = {name for _, name, _ in found}
    reached, new = set[str](), {start}
    while new:
        reached |= new
        bodies = [body for _, name, body in found if name in new]
        new = {called for body in bodies for called in calls(body, known)} - reached
    files: dict[str, set[str]] = {}
    for file, name, _ in found:
        if name in reached:
            files.setdefault(file.relative_to(PROJECT).as_posix(), set()).add(name)
    return files


def _definitions_in(file: Path) -> list[tuple[str, str]]:
    return definitions(file.read_text("utf-8"))


def test_calls_in_bodies_and_in_built_commands_are_found() -> None:
    body = """AS $$ SELECT sharding.kind(1), worker_hash(2) -- sharding.in_a_comment()
        EXECUTE 'DO sharding.run()'; RAISE EXCEPTION 'call create_table()' $$"""
    known = {"sharding.kind", "pg_catalog.worker_hash", "sharding.run", "pg_catalog.create_table"}
    [(name, text)] = definitions(f"CREATE FUNCTION sharding.f() {body}")
    assert name == "sharding.f"
    assert calls(text, known) == {"sharding.kind", "pg_catalog.worker_hash", "sharding.run"}


def test_create_distributed_table_reads_few_files() -> None:
    files = followed(_START)
    assert sum(map(len, files.values())) > 50, "calls are followed"
    assert len(files) <= MOST_FILES, sorted(files)


def test_the_walk_names_these_files_and_functions_in_them() -> None:
    steps = walks()["A distributed table"]
    assert {file for file, _ in steps} == set(followed(_START))
    for file, names in steps:
        defined = {name.partition(".")[2] for name, _ in _definitions_in(PROJECT / file)}
        assert set(names) <= defined, file
