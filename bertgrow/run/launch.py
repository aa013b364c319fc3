"""Opens the token stores and the working directory of a recipe, then trains it."""

import os
import shlex
from pathlib import Path

import jax

from bertgrow.core.errors import InputError
from bertgrow.data.corpus import prepare, store
from bertgrow.recipes import resolve
from bertgrow.run import job, profiling, trainer, workdir
from bertgrow.train import signals


def launch(args, recipe, *, command, cache=None):
    """Starts or continues the run of a recipe.

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
            todo = _job(args, recipe, resume, cache)
            profiling.check(args.profile, todo.settings.stages[-1].end)
            path = workdir.open_for(args.workdir, todo.summary, extend=args.extend)
        trainer.run(todo, path, stop=stop, profile=args.profile)
    return 0


def _job(args, recipe, resume, cache):
    stores = open_stores(recipe)
    lent = workdir.lent(args.workdir)
    settings = resolve.resolve(recipe, vocab=stores[0].vocab, lent=lent)
    return job.make(settings, stores, command=resume, cached_in=cache)


def open_stores(recipe):
    """Opens the stores of the recipe; a small recipe builds one from the default corpus."""
    paths = [path.strip() for path in recipe.data.store.split(",") if path.strip()]
    if not paths:
        if not recipe.data.vocab_size:
            raise InputError(
                "config.data.store is empty; make one with `bertgrow prepare --output STORE` "
                "and pass --config.data.store=STORE"
            )
        paths = [_default_store(recipe.data.vocab_size)]
    stores = [store.Store(path) for path in paths]
    hashes = {
        opened.meta["vocab"]["hash"]: path for opened, path in zip(stores, paths, strict=True)
    }
    if len(hashes) > 1:
        listed = ", ".join(f"{path}: {digest}" for digest, path in hashes.items())
        raise InputError(f"config.data.store mixes vocabularies ({listed}); use one for all")
    return stores


def _default_store(vocab_size):
    path = cache() / f"docs-{vocab_size}"
    if not (path / "store.json").exists():
        print(f"preparing the default corpus once, into {path}", flush=True)
        prepare.prepare(["docs"], path, vocab_size=vocab_size)
    return path


def cache():
    """Cache folder of the user: compiled programs and the default corpus."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return home / "bertgrow"


def remember_compilations():
    """Turns on the compilation cache of JAX, unless JAX is configured with a folder already."""
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache() / "compiled"))


def _resume(command, args, cache):
    """Shell command that continues the run, in one line."""
    words = ["bertgrow", command, "--config", args.config, *args.overrides]
    if cache is not None:
        words += ["--cache", str(cache)]
    return shlex.join([*words, "--workdir", str(args.workdir)])
