"""Opens the token stores and the working directory of a recipe, then trains it."""

import hashlib
import json
import shlex

import jax

from bertgrow.core import signals, system_files
from bertgrow.recipes import resolve, token_stores
from bertgrow.run import claim, job, kernel_gate, profiling, trainer, weights, workdir
from bertgrow.run.processes import places
from bertgrow.train import agreement


def launch(args, recipe, *, command, cache=None):
    """Starts or continues the run of a recipe, see `steps`; returns the exit code 0."""
    for _ in steps(args, recipe, command=command, cache=cache):
        pass
    return 0


def steps(args, recipe, *, command, cache=None):
    """Starts or continues the run of a recipe; yields a `StepInfo` after each step.

    Args:
      args: parsed command-line arguments.
      recipe: ConfigDict.
      command: name of the command; a stopped run prints it as the way to continue.
      cache: folder of the teacher cache, see `job.make`; None without one.
    """
    remember_compilations()
    resume = _resume(command, args, cache)
    limit = args.time_limit and args.time_limit * 60
    with signals.StopRequest(resume=resume, time_limit=limit, start=args.start) as stop:
        with stop.uninterruptible():
            stores = token_stores.open_all(recipe)
            _check_equal(recipe, stores)
        with claim.claim(args.workdir, restart=args.restart) as path:
            with stop.uninterruptible():
                made = _job(args, recipe, stores, resume, cache)
                profiling.check(args.profile, made.settings.stages[-1].end)
                agreement.from_first(lambda: _open(path, made, args))
            yield from trainer.steps(made, path, stop=stop, profile=args.profile)


def _check_equal(recipe, stores):
    """Raises InputError if the processes have other recipes or stores than the first."""
    fields = recipe.to_dict()
    fields["data"] = fields["data"] | dict(store="")  # its path may differ, its contents not
    text = json.dumps(fields, sort_keys=True, default=str)
    agreement.check_equal({
        "the recipe": hashlib.sha256(text.encode()).hexdigest(),
        "the token store": "+".join(store.hash for store in stores),
    })  # fmt: skip


def _open(path, made, args):
    workdir.open_for(path, made.summary, extend=args.extend)
    weights.write_vocabulary(path, made.tokenizer)


def _job(args, recipe, stores, resume, cache):
    pinned = agreement.from_first(lambda: workdir.pinned_teachers(args.workdir))
    settings = resolve.resolve(recipe, vocab=stores[0].vocab, pinned=pinned)
    settings = kernel_gate.settle(settings)
    return job.make(settings, stores, command=resume, cached_in=cache)


def remember_compilations():
    """Turns on the compilation cache of JAX, unless JAX is configured with a folder already."""
    if jax.config.jax_compilation_cache_dir is None:
        folder = system_files.user_cache() / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _resume(command, args, cache):
    """Shell command that continues the run, in one line."""
    words = ["bertgrow", command, "--config", args.config, *args.overrides]
    if cache is not None:
        words += ["--cache", str(cache)]
    words += ["--workdir", str(args.workdir), *places.words(args)]
    return shlex.join(words)
