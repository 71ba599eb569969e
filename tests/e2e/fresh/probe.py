"""Run a notebook's cells in a kernel started by JupyterLab, in the clone's environment."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from jupyter_client.blocking.client import BlockingKernelClient

from helpers.cli.jupyterlab import RUNTIME

_SECONDS = 300


def run_cells(client: BlockingKernelClient, notebook: Path) -> int:
    """Run every code cell and return their number.

    Raises ``RuntimeError`` for the first one that fails.
    """
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    for cell in code:
        reply = client.execute_interactive(
            "".join(cell["source"]), timeout=_SECONDS, output_hook=lambda _: None
        )
        content = reply["content"]
        if content["status"] != "ok":
            raise RuntimeError(f"{cell['id']}: {content.get('ename')}: {content.get('evalue')}")
    return len(code)


def main() -> None:
    """Run a notebook, the second argument, in the kernel whose id is the first argument."""
    kernel, notebook = sys.argv[1:]
    folder = Path(tempfile.gettempdir())
    [file] = folder.glob(f"{RUNTIME}*/kernel-{kernel}.json")
    client = BlockingKernelClient(connection_file=str(file))
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=_SECONDS)
        print(run_cells(client, Path(notebook)), "cells")
    finally:
        client.stop_channels()


if __name__ == "__main__":
    main()
