"""Scenarios: files of SQL statements, and the recorded results of genuine Citus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.e2e.conformance.databases import Connection, Database

DATA = Path(__file__).parent / "data"
_FOLDER = DATA / "scenarios"

#: The result of a statement: columns and rows, or the number of rows, or an error. Of a plan, the
#: number of tasks.
Answer = dict[str, Any]


@dataclass(frozen=True)
class Statement:
    """A statement of a scenario, with ``PORT0``, ``PORT1``, … for the nodes' ports."""

    number: int
    sql: str

    @property
    def ordered(self) -> bool:
        return "order by" in self.sql.lower()


def names() -> list[str]:
    """Return the scenarios' names."""
    return sorted(path.stem for path in _FOLDER.glob("*.sql"))


def statements(name: str) -> list[Statement]:
    """Return the statements of a scenario, numbered from 1."""
    return [
        Statement(number, sql)
        for number, sql in enumerate(_split((_FOLDER / f"{name}.sql").read_text("utf-8")), 1)
    ]


def recorded(name: str) -> list[Answer]:
    """Return the recorded results of genuine Citus for a scenario's statements."""
    answers: list[Answer] = json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))
    assert [answer["sql"] for answer in answers] == [
        statement.sql for statement in statements(name)
    ]
    return [_result_only(answer) for answer in answers]


def answers_here(name: str) -> dict[int, Answer]:
    """Return the teaching cluster's results that differ, by the number of the statement."""
    answers = json.loads((DATA / "answers_here.json").read_text("utf-8"))
    return {int(number): answer for number, answer in answers.get(name, {}).items()}


def replay(name: str, database: Database) -> list[Answer]:
    """Execute a scenario in a database and return the result of each statement.

    The scenario's roles, which would outlive the database, are dropped at the end.
    """
    answers = []
    connection = database.connect()
    for statement in statements(name):
        answers.append(_execute(connection, statement.sql, database.ports))
        if connection.closed:
            connection = database.connect()
    connection.execute("RESET ROLE")
    for statement in statements(name):
        if created := re.match(r"CREATE ROLE (\w+)", statement.sql):
            connection.execute(f"DROP OWNED BY {created[1]}".encode())
            connection.execute(f"DROP ROLE {created[1]}".encode())
    connection.close()
    return answers


def same(statement: Statement, expected: Answer, found: Answer) -> bool:
    """Return whether two results are the same; rows may be in any order without ``ORDER BY``."""
    if statement.ordered or "rows" not in expected or "rows" not in found:
        return expected == found
    return expected["columns"] == found["columns"] and sorted(
        map(repr, expected["rows"])
    ) == sorted(map(repr, found["rows"]))


def _split(text: str) -> Iterator[str]:
    """Yield the statements of a file: each ends with a line that ends with a semicolon."""
    lines: list[str] = []
    for line in text.splitlines():
        if not lines and (line.startswith("--") or not line.strip()):
            continue
        lines.append(line.rstrip())
        if lines[-1].endswith(";"):
            yield "\n".join(lines)[:-1]
            lines = []


def _execute(connection: Connection, sql: str, ports: list[int]) -> Answer:
    sql = re.sub(r"PORT(\d)", lambda found: str(ports[int(found[1])]), sql)
    try:
        cursor = connection.execute(sql.encode(), prepare=False)
    except psycopg.Error as error:
        diag = error.diag
        texts = (diag.message_primary, diag.message_detail, diag.message_hint)
        message, detail, hint = (_plain(text, ports) for text in texts)
        return {
            "error": {
                "sqlstate": diag.sqlstate,
                "message": message,
                "detail": detail,
                "hint": hint,
            }
        }
    if cursor.description is None:
        return {"rowcount": cursor.rowcount}
    return _result_only(
        {
            "columns": [column.name for column in cursor.description],
            "rows": _plain(cursor.fetchall(), ports),
        }
    )


def _result_only(answer: Answer) -> Answer:
    if answer.get("columns") == ["QUERY PLAN"]:
        return {"tasks": _count_tasks(answer["rows"])}
    return {key: answer[key] for key in ("columns", "rows", "rowcount", "error") if key in answer}


def _count_tasks(plan: object) -> int:
    """Return the number of tasks in a plan as JSON: Citus's count, or that of foreign scans."""
    match plan:
        case {"Task Count": int(count)}:
            return count
        case {"Node Type": "Foreign Scan"}:
            return 1
        case dict():
            return sum(map(_count_tasks, plan.values()))
        case list():
            return sum(map(_count_tasks, plan))
    return 0


def _plain(value: object, ports: list[int]) -> Any:
    """Return a value as in JSON, with the nodes' ports replaced by ``PORT0``, …."""
    match value:
        case None | bool() | float():
            return value
        case int():
            return f"PORT{ports.index(value)}" if value in ports else value
        case list() | tuple():
            return [_plain(element, ports) for element in value]
        case dict():
            return {key: _plain(element, ports) for key, element in value.items()}
    text = str(value)
    for number, port in enumerate(ports):
        text = text.replace(str(port), f"PORT{number}")
    return text
