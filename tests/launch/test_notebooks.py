"""Both notebooks run from the first cell to the last, and again in a second session."""

import re

import nbclient
import nbformat
import pytest
import stubs
from nbformat.v4 import new_code_cell

NOTEBOOKS = sorted((stubs.LAUNCH / "notebooks").glob("*.ipynb"))
TESTS = stubs.LAUNCH.parent / "tests"
SMALL, DISTILLED = TESTS / "small_recipe.py", TESTS / "mobilebert" / "distillations.py"
PARAMETERS = {
    "bertgrow": {"RECIPES": {"scratch": f"{SMALL}:plain", "grown": f"{SMALL}:short"}},
    "mobilebert": {"TEACHER": f"{DISTILLED}:teacher", "STUDENT": str(DISTILLED)},
}


def read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def execute(name, folder, **parameters):
    """Runs a notebook in a folder, with other parameters; returns it with its outputs."""
    notebook = read(stubs.LAUNCH / "notebooks" / f"{name}.ipynb")
    lines = [f"{key} = {value!r}" for key, value in parameters.items()]
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    notebook.cells.insert(tags.index(["parameters"]) + 1, new_code_cell("\n".join(lines)))
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources=resources
    ).execute()
    return notebook


def printed(notebook):
    """What all cells printed, without colours."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def page(notebook):
    (shown,) = notebook.cells[-1].outputs[-1:]
    return shown.data["text/html"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short_and_has_no_outputs(path):
    notebook = read(path)

    assert len(notebook.cells) < 15
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert [cell.metadata.get("tags") for cell in notebook.cells].count(["parameters"]) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_pip_may_not_replace_the_jax_of_the_image(path):
    (install,) = [cell.source for cell in read(path).cells if "%pip" in cell.source]

    assert "%pip install -q {SOURCE} {KEPT}" in install
    assert 'for name in ("jax", "jaxlib")' in install


@pytest.mark.slow
@pytest.mark.parametrize("name", PARAMETERS)
def test_a_notebook_trains_shows_its_report_and_continues(name, text_file, tmp_path):
    settings = dict(PARAMETERS[name], TEXT=str(text_file), VOCABULARY=400)

    first = execute(name, tmp_path, **settings, MINUTES=0)  # too short to train
    second = execute(name, tmp_path, **settings, MINUTES=60)

    assert "tokens in the vocabulary" in printed(first)
    assert "growth 0-1" in printed(first) or name == "mobilebert"
    assert "The session's time is over" in printed(first)
    assert "tokens in the vocabulary" not in printed(second)
    assert printed(second).count("finished at step") == 2
    assert "[MASK]" in printed(second)
    for heading in ("Held-out loss", "Stages"):
        assert heading in page(second)
    assert page(second).count("&lt;svg") > 5
