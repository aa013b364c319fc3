"""A recipe, resolved: frozen dataclasses, one a section of the ConfigDict."""

from dataclasses import dataclass, field

from bertgrow.errors import InputError

PUBLISHED_SLOTS = {128: 20, 512: 76}  # Devlin et al. (2019), max_predictions_per_seq


@dataclass(frozen=True)
class DataConfig:
    store: str = ""
    weights: str = ""
    rows: str = "packed"
    vocab_size: int = 0
    workers: int = 0
    mask_epochs: int = 0


@dataclass(frozen=True)
class MaskingConfig:
    rate: float = 0.15
    max_predictions: int = 0
    whole_word: bool = False

    def slots(self, length):
        """Prediction slots a row: as published at 128 and 512, room for all elsewhere."""
        every = max(1, round(self.rate * (length - 2)) + 1)
        return self.max_predictions or PUBLISHED_SLOTS.get(length, every)


@dataclass(frozen=True)
class GrowthConfig:
    width: str = "uneven"
    depth: str = "stack"
    moments: str | dict = "reset"
    counts: str = "auto"
    rewarmup_new: int = 0
    ramp: int = 0
    rewind: int = 0
    on_broken_claim: str = "stop"

    def check(self, where):
        for name, known in (
            ("counts", ("auto", "keep", "reset")),
            ("on_broken_claim", ("stop", "warn")),
        ):
            if (value := getattr(self, name)) not in known:
                raise InputError(
                    f"{where}.{name} is {value!r}; expected one of {', '.join(known)}"
                )
        for name in ("rewarmup_new", "ramp", "rewind"):
            if (value := getattr(self, name)) < 0:
                raise InputError(f"{where}.{name} is {value}; expected 0 or more")


@dataclass(frozen=True)
class MeshConfig:
    data: int = -1
    fsdp: int = 1
    tensor: int = 1


@dataclass(frozen=True)
class EvalConfig:
    every: int = 1000
    rows: int = 512


@dataclass(frozen=True)
class CheckpointConfig:
    every: int = 1000
    keep: int = 2


@dataclass(frozen=True)
class StageConfig:
    """One stage, complete: `model` holds every field of the family's configuration."""

    name: str
    steps: int
    batch: int
    length: int
    model: object
    start: int  # the run's step at which it begins
    optimizer: dict
    schedule: dict
    task: str = "masked_lm"  # what it learns, see `stages.OBJECTIVES` and the family's
    grow: GrowthConfig = GrowthConfig()  # how the stage before becomes this one

    @property
    def end(self):
        return self.start + self.steps


@dataclass(frozen=True)
class RunConfig:
    """A whole recipe, resolved and checked."""

    seed: int
    family: str
    data: DataConfig
    masking: MaskingConfig
    accumulate: int
    stages: tuple[StageConfig, ...]
    growth: GrowthConfig
    mesh: MeshConfig
    eval: EvalConfig
    checkpoint: CheckpointConfig
    log_every: int
    init_from: str
    sections: dict  # the family's own sections, by name
    recipe: dict = field(repr=False)  # the resolved recipe as plain data, for config.json
    lent: dict = field(default_factory=dict)  # by other runs before this start, `Frozen.lent`

    @property
    def model(self):
        """The model that comes out: the last stage's."""
        return self.stages[-1].model
