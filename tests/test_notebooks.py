"""The tutorials run from top to bottom, and lie in git without what they printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "notebooks"
PRINTS = {  # what a reader must see, besides no error
    "serve_and_query": [
        r"predicted: \[7 2 1 0 4\] actual: \[7 2 1 0 4\]",
        r"largest difference from model.predict: 0\.00[01]\d\d",
        r"(99|100) of 100 right",
    ],
    "your_own_model": [
        r"accuracy on 200 images it has not seen: 0\.[89]\d\d",
        r"Private plan of sequential",
        r"cannot be shared, 1 problem:\n  - lambda",
        r"add up to 1\.0",
        r"same class as the plain model: (19[89]|200) of 200",
        r"largest difference of a probability: 0\.00",
        r"predicted: \[.*\] actual: \[.*\]",
    ],
    "three_operators": [
        r"owner:alice +certs/alice/",
        r"server1/certs/server1/server1\.key",
        r"20 of 20 right",
        r"server1 .* up [\s\S]*? of owner:alice",
        r'"event": "run done"',
        r"\{'server0': 0, 'server1': 0, 'server2': 0\}",
    ],
}


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def test_every_notebook_is_tried() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == PRINTS.keys()


@pytest.mark.parametrize("name", PRINTS)
def test_it_lies_there_without_what_it_printed(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs"), cell.id
        assert cell.get("execution_count") is None, cell.id
        assert not cell.metadata, cell.id
    assert notebook.metadata.keys() == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("name", PRINTS)
def test_its_links_lead_somewhere(name: str) -> None:
    for cell in read(name).cells:
        for link in re.findall(r"\]\(([^)]+)\)", cell.source) if cell.cell_type == "markdown" else []:
            assert (FOLDER / link).exists(), link


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PRINTS)
def test_it_runs(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    monkeypatch.setenv("KERAS_PRIVATE_LOG", "info")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = read(name)
    before = set(psutil.Process().children(recursive=True))
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": FOLDER}}).execute()
    printed = "".join(
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream" and output.name == "stdout"
    )
    for line in PRINTS[name]:
        assert re.search(line, printed), f"{line} is not in:\n{printed}"
    _, alive = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, timeout=10)
    assert not alive
    assert not list(tmp_path.iterdir())
