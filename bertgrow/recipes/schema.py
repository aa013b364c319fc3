"""Frozen dataclasses of the sections of a recipe, with all fields and defaults.

`StageConfig` and `RunConfig` are the resolved recipe, the output of `resolve.resolve`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from bertgrow.core.fields import REQUIRED, option
from bertgrow.data.sequences import streams
from bertgrow.growth import registry, train_state

# Devlin et al. (2019): max_predictions_per_seq by length, valid for their masking rate only.
PUBLISHED_RATE, PUBLISHED_PREDICTIONS = 0.15, {128: 20, 512: 76}


@dataclass(frozen=True)
class DataConfig:
    """Token stores, and how sequences are made from them."""

    store: str = option(
        "",
        "token store, or several joined by commas; empty: the default corpus, see vocab_size",
    )
    weights: str = option(
        "", "weight of each store in the mixture, joined by commas; empty: equal weights"
    )
    rows: str = option(
        "packed",
        "sequences of consecutive sentences, or pairs of segments for next_sentence",
        choices=streams.KINDS,
    )
    vocab_size: int = option(
        0,
        "vocabulary of the store that is made of the default corpus where none is given; 0: "
        "a store has to be given",
        unit="tokens",
        minimum=0,
    )
    workers: int = option(
        0,
        "processes that make batches; 0: the training process makes them itself",
        unit="processes",
        minimum=0,
        maximum=1024,
    )
    mask_epochs: int = option(
        0,
        "epochs after which sequences and masks repeat; 0: they never repeat",
        unit="epochs",
        minimum=0,
    )


@dataclass(frozen=True)
class MaskingConfig:
    """Masked positions of a sequence; a stage overrides it in training: `masking=dict(...)`."""

    rate: float = option(0.15, "fraction of the tokens to predict", above=0, below=1)
    max_predictions: int = option(
        0,
        "masked positions a sequence has room for; 0: as many as the rate masks, at rate "
        "0.15 BERT's 20 at length 128 and 76 at 512",
        unit="tokens",
        minimum=0,
    )
    whole_word: bool = option(False, "masks all tokens of a word together")

    def num_predictions(self, length):
        """Maximum number of masked positions in a sequence of `length` tokens.

        It is `max_predictions` if that is set, the published value at the published rate and
        lengths, and otherwise the number of tokens that the rate masks.
        """
        if self.max_predictions:
            return self.max_predictions
        if self.rate == PUBLISHED_RATE and length in PUBLISHED_PREDICTIONS:
            return PUBLISHED_PREDICTIONS[length]
        return max(1, round(self.rate * (length - 2)) + 1)


@dataclass(frozen=True)
class GrowthConfig:
    """Growth from the previous stage; a stage overrides it with `grow=dict(...)`."""

    width: str = option(
        "uneven", "operator for width, see docs/operators.md", choices=registry.named("width")
    )
    depth: str = option(
        "stack", "operator for depth, see docs/operators.md", choices=registry.named("depth")
    )
    moments: str | dict = option(
        "reset",
        "what becomes of the optimizer's moments",
        choices=train_state.POLICIES,
        keys=tuple(registry.OPERATORS),
    )
    counts: str = option(
        "auto",
        "what becomes of the optimizer's step counts; auto: kept with the moments",
        choices=("auto", "keep", "reset"),
    )
    rewarmup_new: int = option(
        0,
        "warm-up of new units and layers alone; 0: they learn at the full rate at once",
        unit="steps",
        minimum=0,
    )
    ramp: int = option(
        0, "steps over which masked growth (msg) adds new parts", unit="steps", minimum=0
    )
    rewind: int = option(
        0, "steps by which the schedule goes back at a growth", unit="steps", minimum=0
    )
    on_broken_claim: str = option(
        "stop",
        "what follows when an operator that claims to keep the function changed it",
        choices=("stop", "warn"),
    )


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis of the mesh; -1: all remaining devices."""

    data: int = option(-1, "data parallelism", unit="devices", minimum=-1)
    fsdp: int = option(1, "weights and optimizer state sharded", unit="devices", minimum=-1)
    tensor: int = option(1, "heads and FFN units sharded", unit="devices", minimum=-1)


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation on held-out sequences."""

    every: int = option(1000, "steps from one evaluation to the next", unit="steps", minimum=1)
    rows: int = option(512, "sequences of an evaluation", unit="sequences", minimum=1)


@dataclass(frozen=True)
class CheckpointConfig:
    """Checkpoints in the working directory."""

    every: int = option(1000, "steps from one checkpoint to the next", unit="steps", minimum=1)
    keep: int = option(2, "newest checkpoints that are kept", unit="checkpoints", minimum=1)


SECTIONS = dict(
    data=DataConfig, masking=MaskingConfig, growth=GrowthConfig, mesh=MeshConfig,
    eval=EvalConfig, checkpoint=CheckpointConfig,
)  # fmt: skip
STAGED = ("batch", "length")  # fields of a stage whose defaults are in the recipe
# A section of a stage, and the section of the recipe of which it overrides some fields.
OVERRIDES = dict(grow="growth", masking="masking")


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One resolved stage; `model` has every field of the config of its family."""

    name: str
    steps: int = option(REQUIRED, "updates of the stage", unit="steps", minimum=1)
    batch: int = option(
        256, "sequences of an update, over all devices", unit="sequences", minimum=1
    )
    length: int = option(512, "tokens of a sequence", unit="tokens", minimum=8)
    task: str = option("masked_lm", "objective of the stage")
    model: Any
    start: int  # step of the run at which the stage begins
    optimizer: Any  # one of `optimization.OPTIMIZERS`
    schedule: Any  # one of `optimization.SCHEDULES`
    grow: GrowthConfig = GrowthConfig()  # growth from the previous stage
    masking: MaskingConfig = MaskingConfig()  # evaluation uses that of the run

    @property
    def end(self):
        return self.start + self.steps


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A whole recipe, resolved and checked."""

    seed: int = option(0, "seed of weights, data order, masks and dropout", minimum=0)
    family: str
    data: DataConfig
    masking: MaskingConfig
    accumulate: int = option(
        1, "micro-batches that a batch is split into, one after another", minimum=1
    )
    stages: tuple[StageConfig, ...]
    growth: GrowthConfig
    mesh: MeshConfig
    eval: EvalConfig
    checkpoint: CheckpointConfig
    log_every: int = option(
        100, "steps from one line of metrics to the next", unit="steps", minimum=1
    )
    init_from: str = option("", "working directory whose weights to start from; empty: none")
    sections: dict  # sections of the family, by name
    recipe: dict = dataclasses.field(repr=False)  # plain data for config.json
    # Teacher checkpoints pinned at an earlier start, see `Frozen.pinned`.
    pinned: dict = dataclasses.field(default_factory=dict)

    @property
    def model(self):
        """Config of the final model: that of the last stage."""
        return self.stages[-1].model
