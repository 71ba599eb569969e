"""Write the students' version of the project: no solutions, no hidden tests, no outputs.

Run as ``python -m course.grading.release --source FILE --to FOLDER`` (``make release``).
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from pathlib import Path

from course.grading.source import Notebook, Source, read_source
from helpers.errors import CourseError, GradingError
from helpers.settings import as_path

_MISTAKE = 2


def released(source: Source) -> Notebook:
    """Return the students' version of ``source``."""
    notebook = copy.deepcopy(source.notebook)
    for raw, cell in zip(notebook["cells"], source.cells, strict=True):
        raw["source"] = cell.released()
        if cell.code:
            raw["outputs"], raw["execution_count"] = [], None
        if cell.kind != "free":
            raw["metadata"]["deletable"] = False
        if cell.restored:
            raw["metadata"]["editable"] = False
    return notebook


def write(source_path: Path, folder: Path) -> Path:
    """Write the students' version of the notebook at ``source_path`` into ``folder``.

    Returns its path. Raises ``GradingError`` if the source is invalid or would be overwritten.
    """
    place = folder / source_path.name
    if place.resolve() == source_path.resolve():
        raise GradingError(f"{place} is the source itself: give another folder as TO.")
    notebook = released(read_source(source_path))
    folder.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return place


def main() -> int:
    """Write the students' version and print its path."""
    parser = argparse.ArgumentParser(prog="python -m course.grading.release", description=__doc__)
    parser.add_argument("--source", type=as_path, required=True)
    parser.add_argument("--to", type=as_path, required=True, help="the folder to write into")
    options = parser.parse_args()
    try:
        print(f"The students' version is {write(options.source, options.to)}.")
    except CourseError as error:
        print(error, file=sys.stderr)
        return _MISTAKE
    return 0


if __name__ == "__main__":
    sys.exit(main())
