"""docs/notebook.ipynb runs, and shows what it shows on the page."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.builders.tiny_models import REPOSITORY

NOTEBOOK = REPOSITORY / "docs" / "notebook.ipynb"


def outputs(notebook: NotebookNode) -> list[list[tuple[str, list[str]]]]:
    """The kinds of the outputs of each code cell. Numbers may differ in their last digits."""
    return [
        [(output.output_type, sorted(output.get("data", {}))) for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_the_notebook_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    shown = outputs(notebook)
    # No limits of time: a slow machine is no error.
    client = NotebookClient(
        notebook,
        timeout=None,
        startup_timeout=3600,
        coalesce_streams=True,  # otherwise it depends on time how often a text is cut
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()  # raises for a cell with an error
    assert outputs(notebook) == shown
    assert notebook.cells[-1].outputs[-1]["data"]["text/plain"] == "True"


def test_the_notebook_is_executed_and_names_no_place_of_this_machine() -> None:
    text = NOTEBOOK.read_text()
    counts = [cell.execution_count for cell in nbformat.reads(text, as_version=4).cells if "outputs" in cell]
    assert counts == [*range(1, len(counts) + 1)]
    assert not any(f"{place}/" in text for place in ("/home", "/root", "/tmp", "/work", "site-packages"))
