"""The outputs that JupyterLab must render, read from a notebook's file."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# In JupyterLab's order of preference.
_KINDS = ("text/html", "text/markdown", "image/svg+xml", "image/png", "text/plain")
_FIELD = re.compile(r"<t[dh][^>]*>(.*?)</t[dh]>", re.DOTALL)
_TAG = re.compile(r"<[^>]+>")


@dataclass(frozen=True)
class Shown:
    """One output: its MIME type, its text or the texts of its table's cells, its images."""

    kind: str
    texts: list[str] = field(default_factory=list)
    pictures: int = 0


def stored_outputs(notebook: Path) -> list[list[Shown]]:
    """Return the stored outputs of each code cell, as they are rendered."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return [
        [_shown(output) for output in cell["outputs"]]
        for cell in cells
        if cell["cell_type"] == "code"
    ]


def _shown(output: dict[str, Any]) -> Shown:
    if output["output_type"] == "stream":
        kind, text = f"application/vnd.jupyter.{output['name']}", _joined(output["text"])
    elif output["output_type"] == "error":
        kind, text = "application/vnd.jupyter.error", "\n".join(output["traceback"])
    else:
        kind = next(kind for kind in _KINDS if kind in output["data"])
        text = _joined(output["data"][kind])
    if kind.startswith("image/"):
        return Shown(kind, [""], pictures=1)
    if kind == "text/html":
        fields = [html.unescape(_TAG.sub("", found)).strip() for found in _FIELD.findall(text)]
        return Shown(kind, fields or [html.unescape(_TAG.sub("", text)).strip()])
    return Shown(kind, [text.strip()])


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
