"""The tutorials run as they are printed, and keep their outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

HOUR = 3600  # how long a kernel may take to start on a machine that has much else to do
NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_and_its_kept_outputs_have_no_error(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    here = {"metadata": {"path": path.parent}}
    NotebookClient(notebook, timeout=None, startup_timeout=HOUR, resources=here).execute()
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
