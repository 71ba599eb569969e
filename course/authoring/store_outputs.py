"""Run notebooks and store their outputs, without metadata that varies between runs."""

from __future__ import annotations

import argparse
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from helpers.settings import as_path

_SECONDS_PER_CELL = 300

#: The cell metadata to keep: nbval's tags and nbgrader's.
KEPT = ("nbgrader", "tags")


def store(path: Path) -> None:
    """Run the notebook at ``path`` from top to bottom, and write it back with its outputs.

    Raises ``nbclient.exceptions.CellExecutionError`` if a cell fails; the file is not changed then.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=_SECONDS_PER_CELL,
        coalesce_streams=True,  # the output of one cell arrives in a varying number of parts
        kernel_name="python3",
        resources={"metadata": {"path": path.parent}},
    )
    client.execute()
    scrub(notebook)
    nbformat.write(notebook, path)


def scrub(notebook: NotebookNode) -> None:
    """Remove the metadata about when, where and with which version a notebook was run."""
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    for cell in notebook.cells:
        cell.metadata = NotebookNode(
            {key: value for key, value in cell.metadata.items() if key in KEPT}
        )


def main() -> None:
    """Store the outputs of the given notebooks, or of all notebooks in the given folders."""
    parser = argparse.ArgumentParser(
        prog="python -m course.authoring.store_outputs", description=__doc__
    )
    parser.add_argument("places", nargs="+", type=as_path, help="notebooks, or folders of them")
    for place in parser.parse_args().places:
        for path in sorted(place.glob("*.ipynb")) if place.is_dir() else [place]:
            print(f"Running {path.name}", flush=True)
            store(path)


if __name__ == "__main__":
    main()
