"""Labelled tables and GLUE: what is read, and one line for every wrong input."""

import gzip
import json

import numpy as np
import pretrained_models
import pyarrow as pa
import pytest
from pyarrow import parquet

from bertgrow.core.errors import InputError
from bertgrow.finetune import card, examples, glue, labelled, metrics, reading, tables

ROWS = [("the list", "1"), ('a "file', "0"), ("in paris", "1")]
LINES = dict(text=[text for text, _ in ROWS], label=[label for _, label in ROWS])


def write(path):
    """One of the tables of `ROWS`, by the suffix of its path."""
    if path.name.endswith(".parquet"):
        parquet.write_table(pa.table(LINES), path)
    elif path.name.endswith(".jsonl"):
        rows = [json.dumps(dict(label=label, text=text)) for text, label in ROWS]
        path.write_text("\n".join(rows) + "\n")
    else:
        lines = [("text", "label"), *ROWS]
        if path.name.endswith(".csv"):
            lines = [(f'"{a.replace(chr(34), chr(34) * 2)}"', b) for a, b in lines]
        separator = "," if path.name.endswith(".csv") else "\t"
        content = "".join(f"{separator.join(line)}\n" for line in lines).encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["t.tsv", "t.tsv.gz", "t.csv", "t.jsonl", "t.parquet"])
def test_a_table_of_every_kind_gives_the_same_examples(tmp_path, name):
    table = tables.read(write(tmp_path / name))

    rows = examples.make(table, text="text", label="label", classes=["0", "1"])

    assert rows.texts == LINES["text"]
    assert rows.labels.tolist() == [1, 0, 1]
    assert rows.ids == ["0", "1", "2"]


@pytest.mark.parametrize(
    "name, content, expected",
    [
        ("t.tsv", "text\tlabel\na\t1\nb\n", "line 3 has 1 fields; expected 2"),
        ("t.csv", 'text,label\n"a,1\n', "line 2: unexpected end of data"),
        (
            "t.jsonl",
            '{"text": 1}\n{"label": 1}\n',
            "line 2 has the fields label; expected text",
        ),
        ("t.jsonl", "{\n", "line 1: it is not JSON"),
        ("t.tsv", "text\ttext\n", "line 1: a column name occurs twice"),
        ("t.tsv", "text\tlabel\n", "has no rows"),
        ("t.txt", "a", "expected a file that ends in .tsv"),
        ("t.parquet", "a", "is no Parquet file"),
        ("t.tsv.gz", "a", "cannot be read to its end"),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_text(content)

    with pytest.raises(InputError, match=expected):
        tables.read(path)


@pytest.mark.parametrize(
    "options, expected",
    [
        (dict(text="txet"), "no column 'txet'; did you mean 'text'"),
        (
            dict(text="text", label="label", classes=["0", "2"]),
            "line 2: label '1'; expected 0, 2",
        ),
        (dict(text="text", label="text"), "line 2: label 'the list'; expected a number"),
        (
            dict(text="text", label="label", score_range=(1, 5)),
            "line 3: label '0'; .*from 1 to 5",
        ),
    ],
)
def test_a_wrong_column_or_label_is_one_line(tmp_path, options, expected):
    table = tables.read(write(tmp_path / "t.tsv"))

    with pytest.raises(InputError, match=expected):
        examples.make(table, **options)


def test_a_class_without_examples_is_refused():
    with pytest.raises(InputError, match="no example has the label 'b'"):
        examples.check_classes(np.array([0, 2]), ["a", "b", "c"], "train.tsv")
    table = tables.Table("t", {"label": ["x", "x"]}, ["line 2", "line 3"])
    with pytest.raises(InputError, match="every label of column 'label' is 'x'"):
        examples.find_classes(table, "label")


def test_classes_that_are_numbers_are_in_their_order():
    table = tables.Table("t", {"label": [10, 2, 1, 2]}, [""] * 4)

    assert examples.find_classes(table, "label") == ["1", "2", "10"]


def test_every_tenth_row_is_held_out_where_no_file_is_given(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,y\n" + "".join(f"the list {'a ' * i},{i}\n" for i in range(20)))
    columns, tokenizer = ("text", None, "y"), pretrained_models.tokenizer()

    problem = labelled.of_table("regress", path, columns, tokenizer, 32)

    assert len(problem.train) == 18
    assert problem.dev["dev"].labels.tolist() == [9, 19]
    values = dict(loss=0.5, numbers=np.array([1, 0, -1]), logits=np.float32([[18], [10], [0]]))
    assert problem.score("dev", values) == pytest.approx(
        dict(loss=0.5, pearson=1, spearman=1, mse=1)
    )


@pytest.mark.parametrize(
    "name, file, rows, majority",
    [
        ("cola", "CoLA/dev.tsv", 1043, 0.691),
        ("sst2", "SST-2/dev.tsv", 872, 0.509),
        ("mrpc", "MRPC/train.tsv", 3668, 2474 / 3668),
        ("qnli", "QNLI/dev.tsv", 5463, 0.505),
        ("rte", "RTE/dev.tsv", 277, 0.527),
        ("qqp", "QQP-part/dev.tsv", 3531, 0.632),
        ("mnli", "MNLI-mm-1000/dev_mismatched.tsv", 1000, None),
        ("stsb", "STS-B/dev.tsv", 1500, None),
    ],
)
def test_the_files_of_glue_have_their_published_sizes(name, file, rows, majority, real_data):
    folder, _, file = file.partition("/")
    task = glue.find(name)

    read = glue.read(real_data / "glue" / folder, file, task)

    assert len(read.texts) == len(read.labels) == rows
    assert (read.pairs is None) == (name in ("cola", "sst2"))
    if majority:
        assert np.bincount(read.labels).max() / rows == pytest.approx(majority, abs=5e-4)
    if name == "stsb":
        assert (read.labels.min(), read.labels.max()) == (0, 5)


def test_a_folder_that_is_not_of_the_task_says_what_is_missing(tmp_path):
    with pytest.raises(InputError, match="has no train.tsv .*expected RTE"):
        labelled.of_glue("rte", tmp_path, pretrained_models.tokenizer(), 32)
    with pytest.raises(InputError, match="is no folder"):
        labelled.of_glue("rte", tmp_path / "x", pretrained_models.tokenizer(), 32)


@pytest.mark.parametrize(
    "task, columns, expected",
    [
        ("glue/sst", (None,) * 3, "did you mean 'glue/sst2'"),
        ("classify", ("text", None, None), "needs --text-column NAME and --label-column"),
        ("squad1", ("text", None, "y"), "knows its columns"),
    ],
)
def test_a_wrong_task_is_one_line(task, columns, expected):
    with pytest.raises(InputError, match=expected):
        reading.check(task, columns)


def test_defaults_follow_the_model_and_the_task():
    options = dict(learning_rate=None, batch=32, epochs=None, length=None, seed=0)

    bert = reading.settings("glue/rte", pretrained_models.pretrained("bert"), **options)
    student = reading.settings("squad1", pretrained_models.pretrained("mobilebert"), **options)

    assert (bert.learning_rate, bert.epochs, bert.length) == (3e-5, 3, 32)  # 32 positions
    assert (student.learning_rate, student.epochs) == (4e-5, 5)
    for length in (4, 64):
        with pytest.raises(InputError, match=f"--length {length}; expected 8 to 32, the pos"):
            reading.settings(
                "glue/rte",
                pretrained_models.pretrained("bert"),
                **options | dict(length=length),
            )


def test_a_run_that_predicts_one_class_is_reported_as_stuck():
    stuck = metrics.majority(np.array([0, 1, 1]), np.array([1, 1, 1]), ["bad", "good"])
    learnt = metrics.majority(np.array([0, 1, 1]), np.array([1, 0, 1]), ["bad", "good"])

    (line,) = card.warnings(
        dict(details=dict(dev=dict(majority=stuck), other=dict(majority=learnt)))
    )

    assert line.startswith(
        "dev: stuck at one class: every prediction is 'good', accuracy 0.6667"
    )
