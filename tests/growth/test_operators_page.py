"""Tests that docs/operators.md matches the operator registry."""

from pathlib import Path

from bertgrow.growth import operators_page, registry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operators.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == operators_page.page(), (
        "run: python -m bertgrow.growth.operators_page > docs/operators.md"
    )


def test_every_operator_has_a_row_and_a_section():
    page = operators_page.page()

    for dimension, makers in registry.OPERATORS.items():
        for name in makers:
            assert f"| {dimension} | `{name}` |" in page
            assert f"## {dimension}: `{name}`" in page
