"""Makes the working directory of an imported model, to grow, fine-tune or distil from."""

import jax
import jax.numpy as jnp

from bertgrow.core import fields, keys
from bertgrow.core.errors import InputError
from bertgrow.core.types import TrainState
from bertgrow.models import families
from bertgrow.recipes import build, resolve
from bertgrow.run import job, weights, workdir
from bertgrow.train import environment, sharding
from bertgrow.train.checkpoints import checkpoint

LENGTH = 512  # tokens of a sequence in the recipe, at most


def write(path, model, account):
    """Writes a working directory whose only checkpoint, step 0, has the imported weights.

    Args:
      path: new folder.
      model: `interop.pretrained.Pretrained`.
      account: `interop.conversion.Account`, which config.json keeps.
    """
    family = families.find(model.family)
    vocab = model.tokenizer.vocab._replace(hash=model.tokenizer.hash)
    settings = resolve.resolve(recipe_of(model, family), vocab=vocab)
    stage = settings.stages[0]
    summary = dict(
        recipe=settings.recipe,
        stages=[job.stage_row(family, stage, flops=0.0) | dict(end=0)],
        store=dict(hash="", vocabulary=model.tokenizer.hash, documents=0, tokens=0),
        tokenizer=weights.entry(model.tokenizer),
        imported=dict(source=model.source, **account._asdict()),
        fresh=list(model.fresh),
        numerics=keys.VERSION,
        versions=job.versions(),
    )
    if (path / "config.json").exists():
        raise InputError(f"--workdir {path} has a run already; give a new folder")
    workdir.open_for(path, summary)
    weights.write_vocabulary(path, model.tokenizer)
    key = jax.random.key(settings.seed)
    params = jax.tree.map(jnp.asarray, model.params)
    mesh = sharding.make_mesh()
    record = dict(stage=0, position={}, environment=environment.describe(mesh))
    with checkpoint.Checkpoints(path / "checkpoints", stage_ends=[0]) as saves:
        saves.save(0, TrainState(jnp.zeros((), jnp.int32), params, (), key), record)


def recipe_of(model, family):
    """A recipe of one stage with the model of a `Pretrained`."""
    recipe = build.pretraining()
    recipe.model = build.model(model.family, **fields.values(model.config))
    for name, cls in family.sections.items():
        recipe[name] = build.section(cls)
    if getattr(model.config, "next_sentence", False):
        recipe.data.rows = "pairs"
    recipe.length = min(LENGTH, model.config.max_length)
    recipe.stages = build.stages(dict(steps=1))
    return recipe
