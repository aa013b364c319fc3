"""Tests of the public functions: they load lazily, and every snippet of docs/api.md runs."""

import re
import subprocess
import sys
from pathlib import Path

import devices
import pytest

import bertgrow

ROOT = Path(__file__).resolve().parents[1]
SNIPPET = re.compile(r"```python\n(.*?)```", re.S)


def test_the_package_has_a_handful_of_names_and_imports_no_jax():
    code = "import sys, bertgrow; print(dir(bertgrow), 'jax' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    names = "['__version__', 'compare', 'load', 'plan', 'report', 'train']"
    assert done.stdout.strip() == f"{names} False"


@pytest.mark.parametrize("name", bertgrow.__all__)
def test_every_name_is_a_documented_function(name):
    from bertgrow import api

    assert callable(getattr(bertgrow, name))
    assert getattr(api, name).__doc__


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = bertgrow.trian


@pytest.mark.slow
def test_every_snippet_of_the_page_and_of_the_readme_runs(store, tmp_path, monkeypatch, capsys):
    """With the small recipe of the tests in place of the demo."""
    text = "".join((ROOT / page).read_text("utf-8") for page in ("docs/api.md", "README.md"))
    recipe = f"{ROOT / 'tests' / 'small_recipe.py'}:plain"
    text = text.replace('"demo:grow"', repr(recipe)).replace('"STORE"', repr(str(store.folder)))
    monkeypatch.chdir(tmp_path)
    names = {}

    with devices.only(1):
        for snippet in SNIPPET.findall(text):
            exec(compile(snippet, "snippet", "exec"), names)

    output = capsys.readouterr().out
    assert "(2, 16)" in output and "(2, 16, 16) (2, 2, 400)" in output
    assert (tmp_path / "RUN" / "report.html").is_file()
    assert (tmp_path / "RESULTS" / "compare.json").is_file()
    assert names["model"].step == 8
