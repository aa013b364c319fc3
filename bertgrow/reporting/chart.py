"""SVG charts; the page's style sheet sets their colours."""

import html
import math
from typing import NamedTuple

from bertgrow.core import units
from bertgrow.reporting import labels

NUM_COLOURS = 7  # the number of colours in chart.css
MAX_POINTS = 300  # maximum number of points of a line
MARGIN = 14  # to the right of the frame
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Line(NamedTuple):
    """A curve; `points` are (x, y, tooltip).

    `shade` is the position of a layer, from the first, 0, to the last, 1; it sets the colour.
    """

    colour: int
    points: list
    is_dashed: bool = False
    has_dots: bool = False
    is_faint: bool = False
    shade: float | None = None


class Span(NamedTuple):
    """A labelled horizontal segment from one curve to another."""

    colour: int
    y: float
    start: float
    end: float
    text: str


class Frame(NamedTuple):
    """The plotting area of a chart, and the data values at its borders."""

    left: float
    top: float
    right: float
    bottom: float
    x_max: float
    y_min: float
    y_max: float
    is_log: bool = False

    def x(self, value):
        return round(self.left + value / self.x_max * (self.right - self.left), 1)

    def y(self, value):
        levels = [self.y_min, self.y_max, value]
        low, high, at = map(math.log10, levels) if self.is_log else levels
        fraction = (at - low) / (high - low)
        return round(self.bottom - fraction * (self.bottom - self.top), 1)


def chart(
    lines, *, x, y, y_range=None, is_log=False, marks=(), band=None, spans=(), width=380,
    height=265,
) -> str:  # fmt: skip
    """Draws one chart as SVG.

    Args:
      lines: `Line`s.
      x: name and unit of the x axis, e.g. ("compute", "FLOP"); the unit gets an SI prefix.
        ("step", None) is an integer without a unit.
      y: name of the y axis.
      y_range: (minimum, maximum); lines are clipped to it. By default it starts at zero.
      is_log: whether the y axis is logarithmic; needs a `y_range` above zero.
      marks: (x, colour) of each growth, drawn as a vertical line.
      band: (from, to, label) of a shaded horizontal band.
      spans: `Span`s.
      width: of the chart, in units; a letter is 12 units high.
      height: of the chart.
    """
    points = [point for line in lines for point in line.points]
    if not points:
        return '<p class="empty">nothing to draw yet</p>'
    x_max = max(x for x, *_ in points) or 1.0
    y_min, y_max = y_range or (0.0, max(y for _, y, *_ in points) * 1.08 or 1.0)
    frame = Frame(54, 30, width - MARGIN, height - 38, x_max, y_min, y_max, is_log)
    marks, spans = list(marks), list(spans)
    band_place, places = _places(frame, lines, marks, band, spans)
    drawn = [_mark(frame, *mark) for mark in marks]
    drawn += [_line(frame, line) for line in lines]
    drawn += [_span(frame, *span) for span in zip(spans, places, strict=True)]
    # An inner <svg> clips the lines; unlike a clip path it needs no identifier.
    inner = (frame.left, frame.top, frame.right - frame.left + 6, frame.bottom - frame.top)
    box = " ".join(f"{number:g}" for number in inner)
    size = 'x="{:g}" y="{:g}" width="{:g}" height="{:g}"'.format(*inner)
    return "\n".join(
        [
            f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
            f'aria-label="{y} against {x[0]}">',
            _band(frame, *band[:2]) if band else "",
            *_axes(frame, x, y),
            _band_label(band[2], *band_place) if band else "",
            f'<svg {size} viewBox="{box}">',
            *drawn,
            "</svg>",
            "</svg>",
        ]
    )


def skyline(stages, colour, *, step, num_steps, flops, width=960, height=110) -> str:
    """Draws stages as blocks: width is steps, height is FLOPs per step, area is compute.

    Steps after `step`, the present step of the run, are pale. `num_steps` and `flops` (per
    step) are the maxima over all runs of the page, so that their blocks have the same scale.
    """
    across, up = width / num_steps, height / flops
    parts = []
    for stage in stages:
        high = max(stage["flops_per_step"] * up, 3)
        start, end = stage["start"], stage["end"]
        middle = min(max(step, start), end)
        for name, first, last in (("done", start, middle), ("pending", middle, end)):
            if last > first:
                parts.append(
                    f'<rect class="{name} run{colour % NUM_COLOURS}" x="{first * across:.1f}" '
                    f'y="{height - high:.1f}" width="{(last - first) * across:.1f}" '
                    f'height="{high:.1f}"/>'
                )
        parts.append(f'<path class="seam" d="M{end * across:.1f} 0V{height}"/>')
    body = "\n".join(parts)
    return (
        f'<svg class="skyline" viewBox="0 0 {width} {height}" preserveAspectRatio="none" '
        f'role="img" aria-label="stages">\n{body}\n</svg>'
    )


def thin(points):
    """Reduces points to at most MAX_POINTS; each is the mean of a group of neighbours."""
    size = math.ceil(len(points) / MAX_POINTS)
    groups = [points[i : i + size] for i in range(0, len(points), size)] if size > 1 else []
    means = [
        [sum(values) / len(group) for values in zip(*group, strict=True)] for group in groups
    ]
    return [tuple(mean) for mean in means] or points


def ticks(low, high, count=5, least=0.0):
    """Tick values from `low` to `high`: about `count` round numbers, at least `least` apart."""
    raw = max((high - low) / count, least)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(n * power for n in (1, 2, 2.5, 5, 10) if n * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def decades(low, high, count=5):
    """Tick values of a logarithmic axis: powers of ten from `low` to `high`, about `count`.

    If there are too few powers, 2 and 5 times each power are included.
    """
    if high / low < 90:
        powers = range(math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high)) + 1)
        values = [factor * 10.0**n for n in powers for factor in (1, 2, 5)]
        return [value for value in values if low * 0.999 <= value <= high * 1.001]
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**n for n in range(first, last + 1, max(1, math.ceil((last - first) / count)))]


def scale(greatest, unit):
    """(factor, unit with SI prefix) for an axis that ends at `greatest`."""
    if unit is None:
        return 1.0, ""
    if unit == "s":
        return next(((n, name) for n, name in units.CLOCK if greatest >= 2 * n), (1, "s"))
    factor, letter = units.prefix(greatest)
    return factor, f"{letter}{unit}"


def _axes(frame, x, y):
    factor, unit = scale(frame.x_max, x[1])
    middle = (frame.left + frame.right) / 2
    label = f"{x[0]} ({unit})" if unit else x[0]
    yield f'<text class="label" x="6" y="16">{html.escape(y)}</text>'
    yield f'<text class="label middle" x="{middle:g}" y="{frame.bottom + 34:g}">{label}</text>'
    for value in (decades if frame.is_log else ticks)(frame.y_min, frame.y_max):
        at = frame.y(value)
        yield f'<path class="grid" d="M{frame.left} {at}H{frame.right}"/>'
        text = _level(frame, value)
        yield f'<text class="tick end" x="{frame.left - 6}" y="{at + 4:.1f}">{text}</text>'
    for value, text in _x_ticks(frame, factor, is_whole=x[1] is None):
        at = frame.x(value)
        # The last number must end within the chart.
        centre = min(at, frame.right + MARGIN - len(text) * labels.LETTER / 2)
        yield f'<path class="axis" d="M{at} {frame.bottom}v4"/>'
        yield f'<text class="tick middle" x="{centre:g}" y="{frame.bottom + 17}">{text}</text>'
    yield f'<path class="axis" d="M{frame.left} {frame.bottom}H{frame.right}"/>'


def _level(frame, value):
    """Formats a tick label of the y axis."""
    if frame.is_log:
        power = math.floor(math.log10(value) + 1e-9)
        factor = round(value / 10.0**power)
        if abs(power) < 4:
            return f"{value:g}"
        return f"{f'{factor}·' if factor > 1 else ''}10{str(power).translate(RAISED)}"
    return units.si(value) if frame.y_max >= 1e4 else f"{value:.4g}"


def _x_ticks(frame, factor, is_whole):
    """(value, label) of the x ticks; fewer for large integers, whose labels are long."""
    if not is_whole:
        values = ticks(0, frame.x_max / factor)
        return [(value * factor, f"{value:.4g}") for value in values]
    longest = (len(f"{frame.x_max:,.0f}") + 1) * labels.LETTER
    count = max(1, min(5, int((frame.right - frame.left) / longest)))
    return [(value, f"{value:,.0f}") for value in ticks(0, frame.x_max, count, least=1.0)]


def _line(frame, line):
    colour = f"run{line.colour % NUM_COLOURS}"
    path = "L".join(f"{frame.x(x)} {frame.y(y)}" for x, y, *_ in line.points)
    style = " dashed" if line.is_dashed else ""
    style += " faint" if line.is_faint else ""
    shade = "" if line.shade is None else f' style="--run: {shaded(line.shade)}"'
    drawn = [f'<path class="line {colour}{style}"{shade} d="M{path}"/>' if path else ""]
    if line.has_dots:
        drawn += [
            f'<circle class="{colour}"{shade} cx="{frame.x(x)}" cy="{frame.y(y)}" r="2.6">'
            f"<title>{html.escape(''.join(words))}</title></circle>"
            for x, y, *words in line.points
        ]
    return "\n".join(drawn)


def shaded(position):
    """CSS colour of a layer, from the first, 0, to the last, 1."""
    return f"color-mix(in oklab, var(--run1) {position:.0%}, var(--run5))"


def _mark(frame, x, colour):
    return (
        f'<path class="mark run{colour % NUM_COLOURS}" '
        f'd="M{frame.x(x)} {frame.bottom}V{frame.top}"/>'
    )


def _band(frame, low, high):
    top, bottom = frame.y(high), min(frame.y(low), frame.bottom)
    return (
        f'<rect class="band" x="{frame.left}" y="{top}" width="{frame.right - frame.left}" '
        f'height="{max(bottom - top, 0):.1f}"/>'
        f'<path class="bound" d="M{frame.left} {top}H{frame.right}"/>'
    )


def _band_label(text, x, y):
    return f'<text class="tick middle" x="{x:g}" y="{y:g}">{html.escape(text)}</text>'


def _places(frame, lines, marks, band, spans):
    """Positions (x, y) of the band's label (None without a band) and of each span's label.

    Labels do not overlap curves or other labels; if there is room, they also avoid the marks.
    """
    paths = [[(frame.x(x), frame.y(y)) for x, y, *_ in line.points] for line in lines]
    paths += [[(frame.x(s.start), frame.y(s.y)), (frame.x(s.end), frame.y(s.y))] for s in spans]
    curves = set().union(*map(labels.occupied, paths))
    upright = [[(frame.x(x), frame.top), (frame.x(x), frame.bottom)] for x, _ in marks]
    upright = set().union(*map(labels.occupied, upright))
    band_place, span_places = None, []
    if band:
        candidates = labels.beside(frame, band[2], frame.y(band[1]))
        band_place, cells = labels.first_free(band[2], candidates, curves | upright, curves)
        curves |= cells
    for span in spans:
        x, y = (frame.x(span.start) + frame.x(span.end)) / 2, frame.y(span.y) - 12
        candidates = labels.near(frame, span.text, x, y)
        place, cells = labels.first_free(span.text, candidates, curves | upright, curves)
        curves |= cells
        span_places.append(place)
    return band_place, span_places


def _span(frame, span, place):
    start, end, y = frame.x(span.start), frame.x(span.end), frame.y(span.y)
    colour = f"run{span.colour % NUM_COLOURS}"
    return (
        f'<path class="span {colour}" d="M{start} {y}H{end}M{start} {y - 5:.1f}v10'
        f'M{end} {y - 5:.1f}v10"/><text class="gain middle {colour}" x="{place[0]:g}" '
        f'y="{place[1]:g}">{html.escape(span.text)}</text>'
    )
