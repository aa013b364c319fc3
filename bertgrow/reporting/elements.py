"""Parts of an HTML page: the document, tables, chart grids and formatted values."""

import html
import json
from importlib import resources

from bertgrow.reporting import chart

STYLES = ("chart.css", "page.css")


def document(title, parts) -> str:
    """An HTML page with inline styles; `parts` are HTML."""
    package = resources.files("bertgrow.reporting")
    styles = [package.joinpath(name).read_text("utf-8") for name in STYLES]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{text(title)}</title>\n<style>\n{''.join(styles)}</style></head>\n<body>",
            *parts,
            "</body></html>\n",
        ]
    )


def table(header, rows, numbers=(), style=""):
    """`rows` are HTML, `header` is plain text; columns in `numbers` are right-aligned."""

    def line(tag, cells):
        marks = [' class="number"' if i in numbers else "" for i in range(len(cells))]
        inner = (f"<{tag}{m}>{cell}</{tag}>" for m, cell in zip(marks, cells, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    lines = [line("th", [text(name) for name in header]), *(line("td", row) for row in rows)]
    return (
        f'<div class="scroll"><table class="{style}">{"".join(lines)}</table></div>'
        if rows
        else ""
    )


def grid(charts, size=""):
    yield f'<div class="charts {size}">'
    yield from (f"<div>{chart}</div>" for chart in charts)
    yield "</div>"


def swatch(colour):
    return f'<span class="swatch {colour_class(colour)}"></span>'


def colour_class(number):
    return f"run{number % chart.NUM_COLOURS}"


def flat(tree, path=""):
    """("optimizer.peak_lr", 1e-4) for every leaf of nested dicts and lists."""
    items = enumerate(tree) if isinstance(tree, list) else tree.items()
    for name, value in items:
        item_path = (
            f"{path}[{name}]" if isinstance(tree, list) else f"{path}.{name}".lstrip(".")
        )
        if isinstance(value, dict | list) and value:
            yield from flat(value, item_path)
        else:
            yield item_path, value


def plain(value):
    """Formats any JSON value as short text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict | list):
        return json.dumps(value)
    return "-" if value is None else str(value)


def text(value):
    return html.escape(str(value))
