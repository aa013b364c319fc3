"""Runs a recipe: pre-trains an encoder, growing it from stage to stage."""

import os
import shlex
from pathlib import Path

import jax

from bertgrow import job, run, workdir
from bertgrow.data import prepare, store
from bertgrow.errors import InputError
from bertgrow.recipes import load, resolve

TAKES_RECIPE = True
EPILOG = """examples:
  bertgrow pretrain --config bert_base_grow:smoke --workdir runs/smoke
  bertgrow pretrain --config bert_base_grow --config.data.store=STORE \\
      --config.schedule.peak=2e-4 --config.stages[0].steps=1000 --workdir runs/base

The same command continues a run that was killed. SIGTERM and Ctrl-C save and stop.
exit codes: 0 finished, 1 diverged or a claim broken, 2 bad input, 75 saved and stopped early"""


def add_arguments(parser):
    load.add_argument(parser)
    parser.add_argument("--workdir", required=True, type=Path, help="where the run leaves all")
    parser.add_argument(
        "--extend", action="store_true", help="allow more steps in the last stage than begun"
    )
    parser.add_argument(
        "--time-limit", type=float, metavar="MINUTES", help="save and stop after so long"
    )
    parser.add_argument(
        "--profile", action="store_true", help="write a trace into WORKDIR/profile"
    )


def main(args):
    return launch(args, load.read(args.config, args.overrides), command="pretrain")


def launch(args, recipe, *, command, cache=None):
    """Runs or continues a recipe.

    Args:
      args: as parsed.
      recipe: ConfigDict.
      command: the one that a stopped run is told to repeat.
      cache: a folder for what frozen weights say, see `job.make`.
    """
    remember_compilations()
    stores = open_stores(recipe)
    lent = workdir.lent(args.workdir)
    settings = resolve.resolve(recipe, vocab=stores[0].vocab, lent=lent)
    again = _again(command, args, cache)
    todo = job.make(settings, stores, command=again, cached_in=cache)
    path = workdir.open_for(args.workdir, todo.summary, extend=args.extend)
    limit = args.time_limit and args.time_limit * 60
    run.run(todo, path, time_limit=limit, profile=args.profile)
    return 0


def open_stores(recipe):
    """The recipe's stores, or the one that a small recipe makes of the default corpus."""
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
    """The user's folder for what can be made again."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return home / "bertgrow"


def remember_compilations():
    """A program compiled once is read back after a restart; JAX's own setting goes first."""
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache() / "compiled"))


def _again(command, args, cache):
    words = ["bertgrow", command, "--config", args.config, *args.overrides]
    if cache is not None:
        words += ["--cache", str(cache)]
    return shlex.join([*words, "--workdir", str(args.workdir)])
