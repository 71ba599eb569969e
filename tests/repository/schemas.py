"""Check a file against a published schema, as ``check-jsonschema`` does, without a process."""

from __future__ import annotations

from pathlib import Path


def exit_code(file: Path, schema: str) -> int:
    """Return 0 if the file is valid by the schema of that name, 1 if it is not."""
    # Imported here: it takes a second, and every process of a test run collects all tests.
    from check_jsonschema import main  # type: ignore[import-untyped]
    from click.testing import CliRunner

    return CliRunner().invoke(main, ["--builtin-schema", f"vendor.{schema}", str(file)]).exit_code
