"""The example notebook runs from its first cell to its last, in a kernel of its own."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pages
import pytest
from nbclient import NotebookClient

NOTEBOOK = pages.ROOT / "examples" / "digits.ipynb"


def executed(folder: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, run in a fresh folder."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # The kernel is a process of its own: it must find the package that is tested here, and this interpreter.
    path = os.pathsep.join([str(pages.ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    return notebook


def test_every_cell_runs(tmp_path: Path) -> None:
    if not os.environ.get("EXITSEARCH_TEST_DOCS"):
        pytest.skip("takes a minute; set EXITSEARCH_TEST_DOCS=1 to run it")
    notebook = executed(tmp_path)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    kinds = {kind for cell in cells for output in cell.outputs for kind in output.get("data", {})}
    assert {"text/html", "image/png"} <= kinds
    assert not list(tmp_path.iterdir()), "what it writes goes into a folder of its own"
    if os.environ.get("EXITSEARCH_RECORD_DOCS"):
        for cell in cells:
            cell.metadata = {}
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]  # progress, warnings
        nbformat.write(notebook, NOTEBOOK)


def test_it_is_valid() -> None:
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=4))
