"""Finds positions for the labels of a chart that do not overlap its curves."""

import itertools
import math

CELL = 4  # side of a grid cell in chart units; a curve is 2 units wide
LETTER = 8  # width of the widest letter in chart units
ROWS = 4  # height of a label in cells
BASELINE = 12  # distance from the upper edge of the label's cells


def occupied(points):
    """The cells {(column, row)} on a line through `points`, each (x, y)."""
    cells = {_cell(*point) for point in points[:1]}
    for (x, y), (next_x, next_y) in itertools.pairwise(points):
        num = max(1, math.ceil(2 * math.hypot(next_x - x, next_y - y) / CELL))
        cells |= {
            _cell(x + (next_x - x) * i / num, y + (next_y - y) * i / num)
            for i in range(num + 1)
        }
    return cells


def near(frame, words, x, y):
    """All positions for `words` in the frame, the nearest to (x, y) first."""
    columns = _columns(words)
    left, top = _cell(frame.left, frame.top)
    right, bottom = _cell(frame.right, frame.bottom)
    places = itertools.product(range(left + 1, right - columns), range(top, bottom - ROWS))
    column, row = x / CELL - columns / 2, y / CELL - ROWS / 2
    return sorted(places, key=lambda at: math.hypot(at[0] - column, at[1] - row))


def beside(frame, words, y):
    """Positions for `words` along a horizontal line: first above it, from right to left."""
    columns, row = _columns(words), math.floor(y / CELL)
    left, right = _cell(frame.left, y)[0] + 1, _cell(frame.right, y)[0]
    rows = [at for at in (row - ROWS, row + 1) if at * CELL >= 0]
    return [(column, at) for at in rows for column in range(right - columns, left, -1)]


def first_free(words, places, *obstacles):
    """The first position whose cells are free, or the first position if none is free.

    Args:
      words: text of the label.
      places: (column, row) of the upper left cell, the best first.
      obstacles: sets of occupied cells; the next set is tried if the one before leaves no
        position.

    Returns:
      ((x of the middle, y of the baseline), the cells of the label).
    """
    for cells in obstacles:
        free = (place for place in places if cells.isdisjoint(covered(words, place)))
        place = next(free, None)
        if place:
            break
    column, row = place or places[0]
    middle = ((column + _columns(words) / 2) * CELL, row * CELL + BASELINE)
    return middle, covered(words, (column, row))


def covered(words, place):
    """The cells of the label `words` at a position."""
    column, row = place
    across, down = range(column, column + _columns(words)), range(row, row + ROWS)
    return set(itertools.product(across, down))


def _columns(words):
    return math.ceil(len(words) * LETTER / CELL)


def _cell(x, y):
    return math.floor(x / CELL), math.floor(y / CELL)
