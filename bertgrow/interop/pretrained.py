"""A trained model with all that belongs to it, wherever it came from."""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

from bertgrow.core.errors import InputError
from bertgrow.models import families


class TaskHead(NamedTuple):
    """The head of a fine-tuned model, see `models.task_heads`."""

    task: str  # as in `--task`
    kind: str  # "classifier" or "spans"
    classes: tuple | None  # names; None: a score, or spans
    weights: dict  # kernel [width, outputs] and bias [outputs]


class Pretrained(NamedTuple):
    """A model, its weights and its vocabulary."""

    family: str
    config: Any  # dataclass of the family
    params: Any  # float32 arrays
    tokenizer: Any  # `bertgrow.data.corpus.vocabulary.Tokenizer`
    source: str  # path of the weights
    step: int | None = None  # of the run that trained them
    fresh: tuple = ()  # modules with random weights, since the source had none
    head: TaskHead | None = None  # of the task that it was fine-tuned for

    @property
    def network(self):
        return families.find(self.family).network(self.config)


def find_family(fields):
    """Name of the family of a config.json; InputError if there is none."""
    for name in families.names():
        if families.find(name).layouts.recognises(fields):
            return name
    raise InputError(
        f"config.json describes a model of type {fields.get('model_type')!r}; known families: "
        f"{', '.join(families.names())}"
    )


def fit(config, tokenizer, vocab_file):
    """Sets `pad_id` to that of the vocabulary; InputError if it has another size."""
    if tokenizer.vocab.size != config.vocab_size:
        raise InputError(
            f"{vocab_file} has {tokenizer.vocab.size} tokens and the model "
            f"{config.vocab_size}: put the vocabulary of the model there, or "
            "give it to `bertgrow import --vocab`"
        )
    config = dataclasses.replace(config, pad_id=tokenizer.vocab.pad_id)
    config.check()
    return config


def read_json(path):
    """Reads a JSON object; InputError if it cannot be read."""
    try:
        fields = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise InputError(f"{path} is no JSON object")
    return fields


def write_json(path, fields):
    Path(path).write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", "utf-8")
