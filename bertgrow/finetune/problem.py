"""The common form of every task that can be fine-tuned."""

from collections.abc import Callable
from typing import NamedTuple

from bertgrow.finetune.sequences import Sequences


class Problem(NamedTuple):
    """A task with its data.

    `losses` is `loss_and_scores` of `tasks.make`. `score(name, values) -> {metric: float}`
    makes the metrics of the labelled set `name` from the values of `Task.score`. `write(folder,
    split, name, values) -> [Path]` writes the predictions of a set of the split "dev" or
    "test", in the layout of its benchmark. `details(name, values)` is plain data that the
    report shows, e.g. a confusion matrix.
    """

    name: str  # as in `--task`
    train: Sequences
    dev: dict[str, Sequences]  # labelled sets; the first is evaluated in training
    test: dict[str, Sequences]  # sets without labels
    classes: list | None
    metric: str  # the one to compare by
    head: str  # name in `task_heads.HEADS`
    outputs: int  # of the head
    losses: Callable
    score: Callable
    write: Callable
    details: Callable
    notes: tuple = ()  # sentences about the data, e.g. repaired answers
