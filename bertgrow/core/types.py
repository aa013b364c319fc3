"""Named tuples that the packages share, so that they need not import each other."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

BATCH_AXES = ("data", "fsdp")  # axes of the mesh that divide the sequences of a batch


class Vocab(NamedTuple):
    """Properties of a vocabulary that a training step uses."""

    size: int
    pad_id: int
    unk_id: int
    cls_id: int
    sep_id: int
    mask_id: int
    starts: np.ndarray  # bool [size], true where a token begins a word
    special: np.ndarray  # bool [size], true at [PAD] [UNK] [CLS] [SEP] [MASK]
    hash: str = ""  # of the tokens; empty without a token store, as in a plan


class Network(NamedTuple):
    """A model as pure functions.

    `init(key) -> params`. `apply(params, inputs, keys=None) -> outputs`; `keys` are dropout
    keys [batch], one for each sequence. Without them there is no dropout. `axes` has the
    structure of the parameters, with a `jax.P` of axis names at every leaf.

    Inputs:
      tokens, types: int32 [batch, length].
      mask: bool [batch, length], false at padding; by default, at the tokens `pad_id`.
      positions: int32 [batch, max_predictions], masked positions, ascending where their
        weights are above 0.
      weights: float32 [batch, max_predictions], 0 at padding predictions.

    Outputs:
      hidden: [batch, length, width]; pooling shortens `length`.
      mask: bool, false where `hidden` is of padding.
      first_token: [batch, width], pooled for the next-sentence head.
      layer_max: float32 [layers], the largest magnitude of each layer's outputs.
      mlm_logits: float32 [batch, max_predictions, vocab].
      nsp_logits: float32 [batch, 2].
    """

    init: Callable
    apply: Callable
    axes: Any


class Task(NamedTuple):
    """A training task: the functions that the training loop calls.

    `init(key) -> params`.
    `prepare(batch) -> inputs` draws the masks of a whole global batch and scales the weights
    of its predictions so that they sum to one. Every leaf keeps the leading batch axis.
    `loss(params, frozen, inputs, keys, step) -> (loss, metrics)`, scalars that add up over
    slices of `inputs`, so that accumulation over slices equals one large batch. `keys` are the
    random keys [batch] of the sequences.
    `evaluate(params, frozen, batch) -> {name: (sum, count)}` with fixed masks. Sums may be
    vectors. If the count is None, the metric is the maximum and not the mean. A 1-tuple holds
    an array [batch, ...] of values of each sequence, which `score` gets as NumPy array of all
    sequences.
    `score(values) -> {name: float}` makes the metrics of an evaluation from its means and
    arrays; None: the means are the metrics. It runs on the host.
    `frozen` holds the frozen weights, e.g. a teacher, or is empty. It is an argument of the
    step, and the functions do not capture it.
    `masked_params(params, step) -> params` gives the effective parameters at a step, for the
    loss and for evaluation; None is the identity. Masked growth uses it to ramp in new units.
    """

    init: Callable
    prepare: Callable
    loss: Callable
    evaluate: Callable
    axes: Any
    frozen: Any = ()
    masked_params: Callable | None = None
    score: Callable | None = None


class Stage(NamedTuple):
    """A part of a run with fixed shapes. It compiles once, or once a length in fine-tuning."""

    name: str
    task: Task
    steps: int
    batch: int  # sequences of a global step
    length: int  # of its longest batches
    optimizer: Any  # optax.GradientTransformationExtraArgs; `update` also takes `step`
    enter: Callable | None  # see `Objective.enter`
    flops: float  # model FLOPs per step, forward and backward
    frozen: "Frozen | None" = None  # source of `task.frozen`, e.g. a teacher
    targets: "Targets | None" = None  # outputs of the frozen weights that can be cached


class Frozen(NamedTuple):
    """Source of the frozen weights that a stage uses and does not train.

    `shapes(mesh)` is their tree of `jax.ShapeDtypeStruct` with shardings.
    `load(saves, shapes)` reads them with these shapes and shardings; `saves` are the
    checkpoints of the run itself.
    `digest(saves)` is a digest of the weights, None before they are trained.
    `at_entry`: whether `Objective.enter` reads them; a cache cannot replace this.
    `at_steps`: whether the loss uses them at every step.
    `pinned` identifies teacher checkpoints of other runs: {folder: {"step", "digest"}}. The run
    stores it in config.json and reads it from `RunConfig.pinned` at its next start.
    """

    shapes: Callable
    load: Callable
    digest: Callable = lambda saves: None
    at_entry: bool = True
    at_steps: bool = True
    pinned: dict | None = None


class Targets(NamedTuple):
    """Per-example teacher outputs that can be cached on disk.

    `fields` is {name: (shape, dtype)} of the arrays of one example.
    `make(frozen, inputs, step) -> {name: array [batch, *shape]}` computes the targets that
    the update after `step` needs for the examples of `inputs`, which come from
    `Task.prepare`. It is a pure function.
    `task` is the same task for batches that contain these arrays. It needs no frozen weights.
    """

    fields: dict
    make: Callable
    task: Task
    phases: int  # equal parts of the stage; each computes the targets of its examples again
    depends: dict  # other recipe values that determine the arrays, plain data
    flops: float  # of the teacher's forward pass per step, which the cache saves


class StageContext(NamedTuple):
    """One stage of a run: the argument of the functions of an `Objective`."""

    family: "Family"
    settings: Any  # RunConfig
    index: int  # of the stage in `settings.stages`
    vocab: Vocab

    @property
    def stage(self):
        """`StageConfig` of the stage."""
        return self.settings.stages[self.index]

    @property
    def previous(self):
        """`StageConfig` of the stage before it; None for the first stage."""
        return self.settings.stages[self.index - 1] if self.index else None

    def at(self, index):
        """The context of stage number `index` of the same run."""
        return self._replace(index=index)


class Objective(NamedTuple):
    """A training objective that a recipe selects by name. Every function is pure.

    `context` is the `StageContext` of the stage.
    `task(context) -> Task`, with `frozen` empty.
    `enter(context, optimizer)` returns None, or a function `(state, shardings, probe,
    frozen) -> (state, certificate)`. The function maps the last state of the previous stage
    to the first state of this one. At the start of a run its input has random weights.
    `optimizer(context, axes)` is the recipe's optimiser with the changes of the objective.
    `flops(context) -> float`, model FLOPs per step, forward and backward, as mean over the
    stage.
    `frozen(context) -> Frozen | None`.
    `targets(context) -> Targets | None`.
    `remarks(context)` are sentences that explain in a plan how its FLOPs were counted.
    """

    task: Callable
    enter: Callable
    optimizer: Callable
    flops: Callable
    frozen: Callable = lambda context: None
    targets: Callable = lambda context: None
    remarks: Callable = lambda context: ()


class TrainState(NamedTuple):
    """State of training. A checkpoint also holds the data position and the stage."""

    step: Any  # int32 scalar, steps since the start of the run
    params: Any
    opt_state: Any
    key: Any


class StepInfo(NamedTuple):
    """Result of one training step. `state` is valid until the next step, which donates it."""

    step: int
    state: TrainState
    metrics: dict  # device scalars; reading one blocks until the step ends
    position: dict  # position in the data after this step


class Growth(NamedTuple):
    """One growth operator for a pair of size tables.

    An operator raises `InputError` when it is built for sizes that it does not support.
    `weights`, `gradients` and `copies` are pure functions `(tree, axes) -> (tree, axes)`.
    `weights` maps the parameters. `gradients` is the dual map: it computes the grown model's
    gradients from the old ones, and is None if the operator has none. `copies` maps optimiser
    statistics without a claim: each new unit or layer gets the values of its source, or zero.
    """

    name: str
    dimension: str  # "width", "depth" or "length"
    claim: str  # for these two models: "exact" or "no"
    changes: dict  # {axis: (old size, new size)}
    weights: Callable
    gradients: Callable | None
    copies: Callable
    describe: str  # the change in words, e.g. "mlp 64 -> 128"
    source: str  # paper and section
    sources: dict = {}  # {axis: int [new size]}, the old unit of each copy; -1: fresh
    masks: dict = {}  # {axis: bool [new size]}, true at units that start with mask 0
    needs: str = ""  # the moments policy that the method requires; "": any
    exact_if: str = ""  # condition of an exact claim, in words; "": no condition
    seed: int = 0  # of random choices other than fresh parameters; 0 if there are none
    low_cost: str = ""  # field of the low-cost form that it removes; "": a smaller model


class Family(NamedTuple):
    """A model family, registered by the entry point group `bertgrow.families`.

    `config` is its frozen dataclass. `network(config) -> Network`.
    `sizes(config) -> {axis: size}`, with `norm_order` if growth claims depend on it.
    `flops(config, length, predictions) -> {part: forward FLOPs of one sequence}`.
    `objectives` are its training objectives besides masked language modelling, by name.
    `layouts` is its `bertgrow.core.layouts.Layouts`, for import and export.
    `sections` are the frozen dataclasses of the recipe sections that they read, by name.
    `stages(recipe) -> list` returns the stages to run from a recipe as plain data. It omits
    the stages that train a teacher if the teacher's checkpoint is given.
    """

    config: type
    network: Callable
    sizes: Callable
    flops: Callable
    layouts: Any
    objectives: dict = {}
    sections: dict = {}
    stages: Callable = lambda recipe: recipe["stages"]
