"""Tests of the list of recipe fields: current, complete, within the terminal width."""

from pathlib import Path

import pytest

from bertgrow import cli
from bertgrow.recipes import build, describe

PAGE = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == describe.page(), (
        "run: python -m bertgrow.recipes.describe > docs/recipes.md"
    )


def test_every_field_of_a_recipe_is_listed():
    lines = describe.text("bert", 100).splitlines()

    for name, value in build.pretraining().items():
        listed = value if isinstance(value, build.ConfigDict) else [name]
        for field in set(listed) - {"stages", "family"}:
            assert any(line.startswith(f"  {field} ") for line in lines), (name, field)


@pytest.mark.parametrize("columns", [80, 120])
def test_help_shows_the_sections_of_the_family_within_the_terminal(
    columns, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", str(columns))

    assert cli.main(["plan", "--help-config", "--config", "mobilebert:smoke"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert "config.transfer" in lines
    assert any(line.startswith("  body_width ") for line in lines)
    assert max(map(len, lines)) <= columns
