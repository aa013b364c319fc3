"""Synthetic working directories with round numbers, without training."""

import json

GROWN = [
    {
        "name": "0",
        "start": 0,
        "end": 200,
        "layers": 2,
        "ffn_width": 256,
        "pool": 2,
        "length": 32,
    },
    {
        "name": "1",
        "start": 200,
        "end": 400,
        "layers": 4,
        "ffn_width": 256,
        "pool": 2,
        "length": 32,
    },
    {
        "name": "2",
        "start": 400,
        "end": 800,
        "layers": 4,
        "ffn_width": 512,
        "pool": 1,
        "length": 64,
    },
]
WHOLE = [{**GROWN[-1], "name": "0", "start": 0}]
COST = {"0": 1e9, "1": 2e9, "2": 4e9}
OPERATORS = [
    {
        "operator": "stack",
        "dimension": "depth",
        "changed": "layers 2 -> 4",
        "claim": "no",
        "max_logit_change": 1.9,
        "loss_before": 4.5,
        "loss_after": 4.81,
        "loss_change": 0.31,
        "parameters_before": 600_000,
        "parameters_after": 1_000_000,
        "moments": "reset",
        "ties": {},
    },
    {
        "operator": "tile",
        "dimension": "width",
        "changed": "mlp 256 -> 512",
        "claim": "exact",
        "max_logit_change": 2.1e-6,
        "loss_before": 4.81,
        "loss_after": 4.81,
        "loss_change": 0.0,
        "parameters_before": 1_000_000,
        "parameters_after": 1_200_000,
        "moments": "reset",
        "ties": {"layers/up/kernel": 0.125},
    },
]


def run(folder, stages=WHOLE, *, losses, unigram=5.0, until=None, store="abc", seed=0):
    """Writes a run that evaluates every 100 steps; `losses(step)` is its `mask_loss`.

    A step takes 1 s and 1000 tokens; its FLOPs are 1, 2 or 4 G, as its stage says; rows of
    4 GFLOP only for a run of one stage.
    """
    cost = COST if len(stages) > 1 else {"0": 4e9}
    stages = [
        {"width": 128, "heads": 2, "batch": 32, "parameters": 300_000 * s["layers"], **s}
        | {"flops_per_step": cost[s["name"]]}
        for s in stages
    ]
    flops, lines = 0.0, []
    for stage in stages:
        for step in range(stage["start"], stage["end"] + 1):
            if until is not None and step > until:
                break
            flops += stage["flops_per_step"] if step > stage["start"] else 0.0
            so_far = {"step": step, "stage": stage["name"], "tokens": 1000 * step}
            so_far |= {"flops": flops, "seconds": 1.0 * step}
            if step % 10 == 0 and step > stage["start"]:
                lines.append({"split": "train", **so_far, **_training(losses(step), step)})
            if step % 100 == 0:
                evaluated = {"mask_loss": losses(step), "mlm_loss": losses(step) - 0.4}
                evaluated |= {"unigram": unigram, "length": stage["length"]}
                lines.append({"split": "eval", **so_far, **evaluated})
    folder.mkdir(parents=True)
    config = {
        "recipe": {"seed": seed, "optimizer": {"name": "adamw", "peak_lr": 1e-3}},
        "stages": stages,
        "store": {"hash": store, "documents": 10},
        "versions": {"jax": "0.0"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    certify(folder, stages)
    return folder


def certify(folder, stages):
    (folder / "growth").mkdir()
    for before, after in zip(stages, stages[1:], strict=False):
        name = f"{before['name']}-{after['name']}"
        certificate = {"transition": name, "step": after["start"], "rows": OPERATORS}
        certificate["cost"] = {"seconds": 1.25, "peak_bytes": 2_500_000}
        (folder / "growth" / f"{name}.json").write_text(json.dumps(certificate))


def _training(loss, step):
    return {
        "loss": loss - 0.4,
        "mlm_loss": loss - 0.4,
        "grad_norm": 1 + 1 / (step + 1),
        "rate": 1e-3 * (1 - step / 800),
        "tokens_per_second": 1000.0,
    }


def edit(folder, change):
    """Changes config.json of a run by a function of what it holds."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def falling(per_step):
    """Loss 5 at the start, falling in a straight line."""
    return lambda step: 5.0 - per_step * step
