"""Estimates the parameters, FLOPs, memory, disk space, time and cost of a recipe.

It needs no accelerator and no token store. Without a store it takes the vocabulary size from
the recipe. docs/plan.md describes the estimates.
"""

import functools
import json
from pathlib import Path

import jax

from bertgrow.core.errors import InputError
from bertgrow.planning import (
    compile_check,
    compiled,
    estimate,
    hardware,
    store_epochs,
    table,
)
from bertgrow.recipes import load, resolve, token_stores
from bertgrow.teacher_cache import cache

TAKES_RECIPE = True
EPILOG = """examples:
  bertgrow plan --config bert_base_grow
  bertgrow plan --config bert_large_grow --device v5e --chips 64 --price 1.20
  bertgrow plan --config bert_base_grow --config.data.store=STORE
  bertgrow plan --config bert_large_grow --compile v5e:16x16
  bertgrow plan --config demo --calibrate --json"""


def add_arguments(parser):
    load.add_argument(parser)
    parser.add_argument(
        "--device",
        choices=tuple(hardware.TABLE),
        metavar="NAME",
        help=f"also estimate hours, on one of {', '.join(hardware.TABLE)}",
    )
    parser.add_argument(
        "--chips", type=int, metavar="N", help="number of these devices (default: 1)"
    )
    parser.add_argument(
        "--mfu",
        type=float,
        metavar="FRACTION",
        help="model FLOP/s as a fraction of the peak, e.g. 0.4",
    )
    parser.add_argument(
        "--price",
        type=float,
        metavar="P",
        help="price of one chip for one hour, to estimate the cost",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="time 20 steps of each stage on the device of this machine, in place of --mfu",
    )
    parser.add_argument(
        "--compile",
        metavar="TOPOLOGY",
        help="compile every stage for these chips, e.g. v5e:4x4, or for the attached devices, "
        "attached; fail if a stage does not fit",
    )
    parser.add_argument(
        "--search-batch",
        action="store_true",
        help="with --compile: find the largest micro-batch (smallest accumulate) that fits",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="fail if the disk of DIR has no space for a teacher cache (docs/cache.md)",
    )
    parser.add_argument(
        "--read-rate",
        type=float,
        metavar="GB",
        help="gigabytes per second read from the disk of a teacher cache (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def main(args):
    if not args.calibrate:  # keeps the accelerator free for a run that may use it
        jax.config.update("jax_platforms", "cpu")
    plan = make(args)
    if args.json:
        print(json.dumps(plan, indent=2))
    else:
        table.show(plan)
    if args.cache is not None:  # after the output, so that the plan is printed in any case
        cache.check_free_disk(args.cache, plan.get("cache_bytes", 0))
    return 1 if plan.get("compiled", {}).get("advice") else 0


def make(args):
    """The plan of parsed arguments, as `--json` prints it."""
    recipe = load.read(args.config, args.overrides)
    topology = _topology(args)
    device, chips = (topology.device, topology.chips) if topology else _device(args)
    stores = token_stores.open_all(recipe) if recipe.data.store else []
    settings = estimate.in_dtype(
        _resolve(recipe, stores), device.dtype if device else "bfloat16"
    )
    estimated = functools.partial(
        estimate.make, device=device, chips=chips, mfu=args.mfu, price=args.price,
        calibrate=args.calibrate, read_rate=args.read_rate and 1e9 * args.read_rate,
    )  # fmt: skip
    plan = dict(recipe=args.config, **estimated(settings))
    if args.search_batch:
        settings = compile_check.with_largest_slices(plan, settings, topology)
        plan = dict(recipe=args.config, **estimated(settings))
    if topology:
        compile_check.add(plan, settings, topology)
    if stores:
        store_epochs.add(plan, stores, token_stores.weights(settings, stores))
    return plan


def _resolve(recipe, stores):
    if stores:
        return resolve.resolve(recipe, vocab=stores[0].vocab)
    if not (recipe.model.vocab_size or recipe.data.vocab_size):
        raise InputError(
            "config.model.vocab_size is 0, the size of the store's vocabulary, but there is "
            "no store; "
            "pass --config.data.store=STORE or --config.data.vocab_size=N"
        )
    return resolve.resolve(recipe)


def _topology(args):
    """The `Topology` to compile for, or None."""
    if args.compile is None:
        if args.search_batch:
            raise InputError("--search-batch needs --compile, e.g. --compile v5e:4x4")
        return None
    if args.calibrate:
        raise InputError("--compile estimates what --calibrate measures; remove one of the two")
    topology = compiled.resolve(args.compile)
    for option, value, expected in (
        ("--device", args.device, topology.device.name),
        ("--chips", args.chips, topology.chips),
    ):
        if value not in (None, expected):
            raise InputError(
                f"{option} is {value}, and --compile {args.compile} has {expected}; remove "
                f"{option}"
            )
    _check_numbers(args)
    return topology


def _device(args):
    """The device to plan for, or None, and the number of chips."""
    device = hardware.TABLE.get(args.device)
    _check_numbers(args)
    if args.calibrate:
        return _present_device(device, args)
    if device is None and (args.mfu, args.price) != (None, None):
        raise InputError(f"--mfu and --price need --device, one of {', '.join(hardware.TABLE)}")
    return device, args.chips


def _check_numbers(args):
    if args.mfu is not None and not 0 < args.mfu <= 1:
        raise InputError(f"--mfu is {args.mfu:g}; expected above 0 and at most 1")
    if args.price is not None and args.price < 0:
        raise InputError(f"--price is {args.price:g}; expected 0 or more")
    if args.read_rate is not None and args.read_rate <= 0:
        raise InputError(f"--read-rate is {args.read_rate:g}; expected above 0")
    if args.chips is not None and args.chips < 1:
        raise InputError(f"--chips is {args.chips}; expected 1 or more")


def _present_device(device, args):
    """The device of this process, on which the stages are timed."""
    present = hardware.present()
    if device not in (None, present):
        raise InputError(
            f"--calibrate times the present device, {present.name}, not {device.name}; "
            "remove one of the two options"
        )
    if args.mfu is not None:
        raise InputError("--calibrate measures what --mfu sets; remove one of the two options")
    return present, args.chips or jax.device_count()
