"""The nine tasks of GLUE (Wang et al., 2019): their files, columns, labels and metrics."""

from pathlib import Path
from typing import NamedTuple

from bertgrow.core.errors import InputError
from bertgrow.core.fields import nearest
from bertgrow.finetune import examples, tables

NO_YES = ("0", "1")
ENTAILMENT = ("not_entailment", "entailment")
SUFFIXES = ("", ".xz", ".gz", ".zst")


class GlueTask(NamedTuple):
    """A task. `dev` and `test` map the name of a submission to the name of its file."""

    folder: str
    text: str
    pair: str | None
    label: str
    classes: tuple | None  # None: scores from 0 to 5
    metrics: tuple  # the first is the one to compare by
    dev: dict
    test: dict
    has_names: bool = True  # whether train and dev begin with a line of column names
    tfds: dict = {}  # {column: its name in TFDS}; labels are `label` there


def _task(folder, text, pair, label, classes, metrics, **fields):
    files = dict(dev={folder: "dev.tsv"}, test={folder: "test.tsv"}) | fields
    return GlueTask(folder, text, pair, label, classes, metrics, **files)


ACCURACY_F1 = ("accuracy", "f1")
TASKS = {
    "cola": _task("CoLA", "sentence", None, "label", NO_YES, ("matthews",), has_names=False),
    "sst2": _task("SST-2", "sentence", None, "label", NO_YES, ("accuracy",)),
    "mrpc": _task(
        "MRPC", "#1 String", "#2 String", "Quality", NO_YES, ACCURACY_F1,
        tfds={"#1 String": "sentence1", "#2 String": "sentence2"},
    ),
    "qqp": _task("QQP", "question1", "question2", "is_duplicate", NO_YES, ACCURACY_F1),
    "stsb": _task(
        "STS-B", "sentence1", "sentence2", "score", None, ("pearson", "spearman")
    ),
    "mnli": _task(
        "MNLI", "sentence1", "sentence2", "gold_label",
        ("contradiction", "entailment", "neutral"), ("accuracy",),
        dev={"MNLI-m": "dev_matched.tsv", "MNLI-mm": "dev_mismatched.tsv"},
        test={"MNLI-m": "test_matched.tsv", "MNLI-mm": "test_mismatched.tsv"},
        tfds={"sentence1": "premise", "sentence2": "hypothesis"},
    ),
    "qnli": _task("QNLI", "question", "sentence", "label", ENTAILMENT, ("accuracy",)),
    "rte": _task("RTE", "sentence1", "sentence2", "label", ENTAILMENT, ("accuracy",)),
    "wnli": _task("WNLI", "sentence1", "sentence2", "label", NO_YES, ("accuracy",)),
}  # fmt: skip
COLA = ("source", "label", "mark", "sentence")  # columns of its files without names
SCORES = (0, 5)  # of STS-B


def find(name):
    """The `GlueTask` of "sst2"; InputError with the known ones if there is none."""
    if name not in TASKS:
        raise InputError(f"--task glue/{name}: no task of GLUE; {nearest(name, list(TASKS))}")
    return TASKS[name]


def folder_of(data, task):
    """The folder of a task: `data` itself, or the folder of the task's name inside it.

    A name of TFDS, `tfds:glue/sst2`, is returned as it is.
    """
    if tables.is_tfds(data):
        return str(data)
    data = Path(data)
    if not data.is_dir():
        raise InputError(f"--data {data} is no folder; expected {task.folder} of GLUE")
    return data / task.folder if (data / task.folder).is_dir() else data


def file_of(folder, name):
    """A file, perhaps compressed; None if it is not there."""
    paths = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), None)


def has(folder, name):
    """Whether a task has a file; TFDS has all."""
    return tables.is_tfds(folder) or file_of(folder, name) is not None


def read(folder, name, task, *, has_labels=True):
    """Reads the `Examples` of a file of a task.

    Args:
      folder: folder of the task, or its name in TFDS.
      name: file, e.g. "dev.tsv".
      task: `GlueTask`.
      has_labels: whether the file has labels; a test file has none, and has the column
        `index` or `id`, or counts from 0.

    Raises:
      InputError: the file is missing, or a row is wrong.
    """
    if tables.is_tfds(folder):
        return _read_tfds(folder, name, task, has_labels)
    path = file_of(folder, name)
    if path is None:
        raise InputError(f"{folder} has no {name} (nor {name}.xz); expected {task.folder}")
    table = tables.read(path, None if task.has_names or not has_labels else COLA)
    ids = next((each for each in ("index", "id") if each in table.columns), None)
    return examples.make(
        table, text=task.text, pair=task.pair, classes=task.classes,
        label=task.label if has_labels else None,
        score_range=SCORES, ids=None if has_labels else ids,
    )  # fmt: skip


def _read_tfds(data, name, task, has_labels):
    """As `read`, from the split of TFDS that is made of the file."""
    split = name.removesuffix(".tsv").replace("dev", "validation")
    is_numbered = task.classes is None or task.classes == NO_YES  # named otherwise in TFDS
    table = tables.of_tfds(f"{data}:{split}", has_names=not is_numbered)
    return examples.make(
        table, text=task.tfds.get(task.text, task.text),
        pair=task.pair and task.tfds.get(task.pair, task.pair),
        classes=task.classes, label="label" if has_labels else None,
        score_range=SCORES, ids="idx",
    )  # fmt: skip
