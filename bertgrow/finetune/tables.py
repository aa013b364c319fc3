"""Reads tables of texts: TSV, CSV, JSONL and Parquet, perhaps compressed, and TFDS."""

import csv
import io
import json
from pathlib import Path
from typing import NamedTuple

from bertgrow.core.errors import InputError
from bertgrow.core.fields import nearest
from bertgrow.data.corpus import files, tfds

TFDS = "tfds:"  # begin of a name instead of a path
KINDS = (".tsv", ".csv", ".jsonl", ".parquet")


class Table(NamedTuple):
    """A table. A place is "line 7" of a text file, or "row 7" of a Parquet file."""

    path: Path
    columns: dict  # {name: list of values}
    places: list  # of each row

    def column(self, name):
        """Values of a column; InputError with the known columns if there is none."""
        if name not in self.columns:
            raise InputError(
                f"{self.path} has no column {name!r}; {nearest(name, list(self.columns))}"
            )
        return self.columns[name]

    def texts(self, name):
        """Values of a column of text; InputError at the first that is none."""
        values = self.column(name)
        for place, value in zip(self.places, values, strict=True):
            if not isinstance(value, str):
                raise InputError(
                    f"{self.path}, {place}: column {name!r} is {value!r}; expected text"
                )
        return values


def read(path, names=None):
    """Reads a table.

    TSV is split at tabs, without quotes, as in GLUE. CSV has quotes. A first line names the
    columns, and every row has as many fields.

    Args:
      path: file that ends in one of `KINDS`, perhaps with .gz, .xz or .zst behind it; or
        `tfds:NAME[:split]`, whose classes are read by their names.
      names: columns of a file without a line of names; None: the first line has them.

    Raises:
      InputError: the file is missing, of another kind or damaged, or a row has another number
        of fields.
    """
    if is_tfds(path):
        return of_tfds(str(path))
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give a table ({', '.join(KINDS)})")
    kind = Path(path.stem if files.compression(path) else path.name).suffix
    if kind not in KINDS:
        raise InputError(f"{path}: expected a file that ends in {', '.join(KINDS)}")
    if kind == ".parquet":
        return _parquet(path)
    with files.damage_as_input_error(path), files.open_bytes(path) as stream:
        try:
            text = stream.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not UTF-8 text: {error}") from None
    rows = dict(zip(KINDS, (_tsv, _csv, _json), strict=False))[kind](path, text)
    table = _table(path, rows, names, is_dict=kind == ".jsonl")
    if not table.places:
        raise InputError(f"{path} has no rows; expected some")
    return table


def is_tfds(path):
    return str(path).startswith(TFDS)


def of_tfds(name, *, has_names=True):
    """Reads a TFDS data set, in the order of its column `idx` if it has one.

    Args:
      name: `tfds:NAME[:split]`.
      has_names: whether classes are read by name; else by number.
    """
    columns, classes = tfds.read_columns(name)
    for feature, names in classes.items() if has_names else ():
        columns[feature] = [names[n] if n >= 0 else None for n in columns[feature]]
    count = len(next(iter(columns.values()), ()))
    if not count:
        raise InputError(f"{name} has no rows; expected some")
    order = range(count)
    if "idx" in columns:
        order = sorted(order, key=columns["idx"].__getitem__)
    columns = {feature: [values[n] for n in order] for feature, values in columns.items()}
    return Table(name, columns, [f"row {number}" for number in range(1, count + 1)])


def _tsv(path, text):
    """Yields (line number, fields)."""
    del path
    for number, line in enumerate(text.split("\n"), 1):
        if line := line.removesuffix("\r"):
            yield number, line.split("\t")


def _csv(path, text):
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for fields in reader:
            if fields:
                yield reader.line_num, fields
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None


def _json(path, text):
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: it is not JSON ({error})") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: expected an object, e.g. {{...}}")
        yield number, row


def _table(path, rows, names, *, is_dict):
    columns, places = None, []
    for number, fields in rows:
        if names is None:
            names = list(fields)
            columns = {name: [] for name in names}
            if len(columns) < len(names):
                raise InputError(f"{path}, line {number}: a column name occurs twice")
            if not is_dict:
                continue
        columns = columns or {name: [] for name in names}
        if is_dict and fields.keys() != columns.keys():
            raise InputError(
                f"{path}, line {number} has the fields {', '.join(fields)}; expected "
                f"{', '.join(names)}, as in its first line"
            )
        if len(fields) != len(names):
            raise InputError(
                f"{path}, line {number} has {len(fields)} fields; expected {len(names)} "
                f"({', '.join(names)})"
            )
        values = fields.values() if is_dict else fields
        keys = fields if is_dict else names
        for name, value in zip(keys, values, strict=True):
            columns[name].append(value)
        places.append(f"line {number}")
    return Table(path, columns or {}, places)


def _parquet(path):
    import pyarrow as pa
    from pyarrow import parquet

    try:
        columns = parquet.read_table(path).to_pydict()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is no Parquet file: {error}") from None
    count = len(next(iter(columns.values()), ()))
    if not count:
        raise InputError(f"{path} has no rows; expected some")
    return Table(path, columns, [f"row {number}" for number in range(1, count + 1)])
