"""Declared types of the files of a working directory, see `core/json_files.py`."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from bertgrow.core import json_files
from bertgrow.core.json_files import Size
from bertgrow.train import metrics


class Recipe(TypedDict):
    model: NotRequired[dict[str, Any]]
    stages: NotRequired[list[dict[str, Any]]]


class Stage(TypedDict):
    name: str
    start: Size
    end: Size
    flops_per_step: float
    task: NotRequired[str]
    batch: NotRequired[Size]
    length: NotRequired[Size]
    parameters: NotRequired[Size]


class Store(TypedDict):
    hash: str
    vocabulary: NotRequired[str]


class Tokenizer(TypedDict):
    file: Literal["vocab.txt", "vocab.model"]
    cased: bool


class Change(TypedDict):
    step: Size | None
    field: str
    before: Any
    after: Any


class Pinned(TypedDict):
    step: Size
    digest: str


class Teacher(TypedDict):
    """A fine-tuned model that gives soft labels."""

    source: str
    step: int | None
    digest: str
    label_weight: float
    temperature: float


class FineTuning(TypedDict):
    """Entry `finetuning` of config.json: the task and the model that it started from."""

    task: str
    source: str
    step: int | None
    head: Literal["classifier", "spans"]
    outputs: Size
    classes: list[str] | None
    metric: NotRequired[str]  # the one to compare by
    batches: NotRequired[str]  # a sentence on padding
    teacher: NotRequired[Teacher]


class Config(TypedDict):
    """Contents of config.json, see docs/report.md."""

    version: NotRequired[Literal[1]]
    recipe: Recipe
    stages: Annotated[list[Stage], json_files.NOT_EMPTY]
    store: Store
    tokenizer: NotRequired[Tokenizer]
    changes: NotRequired[list[Change]]
    finetuning: NotRequired[FineTuning]
    pinned: NotRequired[dict[str, Pinned]]  # checkpoints of teachers, by their folder
    lent: NotRequired[dict[str, Pinned]]  # the same, in runs begun by earlier versions
    numerics: NotRequired[int]
    versions: NotRequired[dict[str, str]]
    saved: NotRequired[bool]  # whether a checkpoint was completed


class Sample(TypedDict):
    """A held-out sequence and its predictions, see `samples.of_evaluation`."""

    tokens: list[str]
    places: list[Size]
    predicted: list[str]


class Row(TypedDict):
    """A line of metrics.jsonl; figures that are not declared are numbers or lists of them."""

    step: Size
    stage: str
    split: str
    tokens: Size
    flops: float
    seconds: float
    loss: NotRequired[float]
    grad_norm: NotRequired[float]
    rate: NotRequired[float]
    tokens_per_second: NotRequired[float]
    mask_loss: NotRequired[float]
    mlm_loss: NotRequired[float]
    unigram: NotRequired[float]
    length: NotRequired[Size]
    samples: NotRequired[list[Sample]]


class Position(TypedDict):
    """Position of a data stream, see `streams.Stream`."""

    row: Size
    cursors: list[list[int]]


class Certificate(TypedDict):
    """Contents of growth/*.json, see docs/report.md."""

    transition: NotRequired[str]
    step: NotRequired[Size]
    rows: NotRequired[list[dict[str, Any]] | None]


class Results(TypedDict):
    """Contents of results.json, see docs/finetuning.md."""

    task: str
    step: Size
    compare_by: str
    metrics: dict[str, dict[str, float]]
    details: dict[str, dict[str, Any]]
    notes: list[str]


class Record(TypedDict):
    """State of a run that a checkpoint stores beside the arrays."""

    stage: Size
    position: Position | None
    tokens: Size
    seconds: float
    certificates: list[Certificate]
    environment: dict[str, Any]
    metrics: NotRequired[metrics.Digest | None]  # of metrics.jsonl at the save
