"""What the islands share: a few named tuples, so that none of them imports another."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Vocab(NamedTuple):
    """What a training step has to know of a vocabulary."""

    size: int
    pad_id: int
    unk_id: int
    cls_id: int
    sep_id: int
    mask_id: int
    starts: np.ndarray  # bool [size], true where a piece begins a word
    special: np.ndarray  # bool [size], true at [PAD] [UNK] [CLS] [SEP] [MASK]
    hash: str = ""  # of the pieces; empty where there is no store, as in a plan


class Network(NamedTuple):
    """A model as pure functions.

    `init(key) -> params`. `apply(params, inputs, key=None) -> outputs`, where `inputs` has
    `tokens` and `types`, int32 [batch, length], and `positions`, int32 [batch, slots],
    ascending in the slots that count, with `weights`, float32 [batch, slots], 0 in the rest.
    Without a key there is no dropout. Outputs: `hidden` [batch, rows, width], `first_token`
    [batch, width] (pooled for the next-sentence head), `layer_max` [layers], the largest
    magnitude of each layer's outputs, `mlm_logits` [batch, slots, vocab] and `nsp_logits`
    [batch, 2], all three float32. `axes` mirrors the parameters with a `jax.P`
    of axis names at every leaf.
    """

    init: Callable
    apply: Callable
    axes: Any


class Task(NamedTuple):
    """All that the loop knows about what is being learnt.

    `init(key) -> params`.
    `prepare(batch) -> inputs` draws the masks of a whole global batch and weighs its
    predictions so that the weights sum to one; every leaf keeps the leading batch axis.
    `loss(params, frozen, inputs, key, step) -> (loss, metrics)`, scalars that add up over
    slices of `inputs`: accumulating slices equals one big batch.
    `evaluate(params, frozen, batch) -> {name: (sum, count)}` with fixed masks; sums may be
    vectors, and under count None it is the greatest value that counts, not the mean.
    `frozen` holds a teacher (or nothing): an argument of the step, never captured.
    `view(params, step) -> params`, None for the identity: what the model consists of at a
    step, for the loss and for evaluation; masked growth hides what is new at first.
    """

    init: Callable
    prepare: Callable
    loss: Callable
    evaluate: Callable
    axes: Any
    frozen: Any = ()
    view: Callable | None = None


class Stage(NamedTuple):
    """A part of a run with fixed shapes; it compiles once."""

    name: str
    task: Task
    steps: int
    batch: int  # global rows a step
    length: int
    optimizer: Any  # optax.GradientTransformationExtraArgs; `update` also takes `step`
    enter: Callable | None  # see `Objective.enter`
    flops: float  # model FLOPs a step, forward and backward
    frozen: "Frozen | None" = None  # what `task.frozen` is to be, a teacher for instance
    targets: "Targets | None" = None  # what a cache can hold of what these say


class Frozen(NamedTuple):
    """Weights that a stage uses and does not train: where they come from.

    `shapes(mesh)` is their tree of `jax.ShapeDtypeStruct` with shardings; `load(saves,
    shapes)` reads them into it, `saves` being the checkpoints of the run itself.
    `digest(saves)` is the identity of the weights, None while they are not trained.
    `at_entry`, `at_steps`: whether `Objective.enter` reads them, which no cache can spare, and
    whether the loss asks them at every step.
    `lent` says of another run's weights which they are, {its folder: {"step", "digest"}}: the
    run keeps it in config.json, and finds it in `RunConfig.lent` at its next start.
    """

    shapes: Callable
    load: Callable
    digest: Callable = lambda saves: None
    at_entry: bool = True
    at_steps: bool = True
    lent: dict | None = None


class Targets(NamedTuple):
    """What a stage asks its frozen weights about each row, to be kept on disk in their stead.

    `fields` is {name: (shape, dtype)} of one row's arrays. `make(frozen, inputs, step) ->
    {name: array [batch, *shape]}` is what the update after `step` asks about the rows of
    `inputs`, which `Task.prepare` gave; a pure function. `task` learns the same from batches
    that bring these arrays along, and needs no frozen weights.
    """

    fields: dict
    make: Callable
    task: Task
    phases: int  # equal parts of the stage, each of which asks about its rows anew
    depends: dict  # what else in the recipe the arrays follow from, plain data
    flops: float  # of the frozen weights in a step, which reading saves


class Objective(NamedTuple):
    """What a stage can learn, by its name in a recipe; every function is pure.

    All take `(family, settings, index, ...)`, the index of the stage in `settings.stages`.
    `task(..., vocab) -> Task`, `frozen` still empty.
    `enter(..., vocab, optimizer)` gives None, or how the stage begins: a function `(state,
    shardings, probe, frozen) -> (state, certificate)` from the last state of the stage
    before - at the start of a run: random weights - to the first state of this one.
    `optimizer(..., axes)`, the recipe's, and what the objective asks of it beyond that.
    `flops(...) -> float`, model FLOPs a step, forward and backward, the mean of the stage.
    `frozen(...) -> Frozen | None`.
    `targets(..., vocab) -> Targets | None`.
    `remarks(...)` are sentences that a plan adds on how its FLOPs were counted.
    """

    task: Callable
    enter: Callable
    optimizer: Callable
    flops: Callable
    frozen: Callable = lambda family, settings, index: None
    targets: Callable = lambda family, settings, index, vocab: None
    remarks: Callable = lambda family, settings, index: ()


class TrainState(NamedTuple):
    """What a checkpoint holds, beside the data position and the stage."""

    step: Any  # int32 scalar, counted over the whole run
    params: Any
    opt_state: Any
    key: Any


class StepInfo(NamedTuple):
    """What the loop yields. `state` lives until the next step is asked for: it is donated."""

    step: int
    state: TrainState
    metrics: dict  # device scalars; reading them waits for the step
    position: dict  # where the data stand after this step


class Growth(NamedTuple):
    """One growth operator bound to two size tables; binding refuses what cannot be.

    `weights`, `gradients` and `copies` are pure functions `(tree, axes) -> (tree, axes)`.
    `gradients` is the dual map, which gives the grown model's gradients from the old ones;
    None where the operator does not have one. `copies` carries statistics of the optimiser
    along without a claim: each new unit or layer takes what its source had, or zero.
    """

    name: str
    dimension: str  # "width", "depth" or "length"
    claim: str  # for these two models: "exact" or "no"
    changes: dict  # {axis: (old size, new size)}
    weights: Callable
    gradients: Callable | None
    copies: Callable
    describe: str  # what changed, in words, e.g. "mlp 64 -> 128"
    source: str  # paper and section
    sources: dict = {}  # {axis: int [new size]}, the old unit that each copies; -1: fresh
    masks: dict = {}  # {axis: bool [new size]}: what starts hidden, so that the claim holds
    needs: str = ""  # the moments policy without which the method does not work
    exact_if: str = ""  # what the claim depends on, in words; "": it is always the same
    seed: int = 0  # of what it draws besides fresh parameters; 0 where it draws nothing
    low_cost: str = ""  # field of the low-cost form that it undoes; "": a smaller model


class Family(NamedTuple):
    """A kind of model, found by entry point `bertgrow.families`.

    `config` is its frozen dataclass; `network(config) -> Network`;
    `sizes(config) -> {axis: size}`, with `norm_order` where claims of growth depend on it;
    `flops(config, length, predictions) -> {part: forward FLOPs a row}`.
    `objectives` are what its stages can learn besides masked words, by name; `sections` the
    frozen dataclasses of the recipe's sections that these read, by name.
    `stages(recipe) -> list`: of a recipe as plain data, the stages that are left to be run;
    a student whose teacher is there already needs no stage that trains one.
    """

    config: type
    network: Callable
    sizes: Callable
    flops: Callable
    objectives: dict = {}
    sections: dict = {}
    stages: Callable = lambda recipe: recipe["stages"]
