"""The model card of a fine-tuned model: metrics, data, recipe and lineage."""

from pathlib import Path

from bertgrow.core import units
from bertgrow.run import workdir

MAX_GENERATIONS = 20


def text(results, run_job, pretrained):
    """MODEL_CARD.md, for `outcome.write`."""
    store = run_job.summary["store"]
    metrics = [
        (part, metric, f"{value:.4f}")
        for part, metrics in results["metrics"].items()
        for metric, value in metrics.items()
    ]
    versions = ", ".join(
        f"{name} {value}" for name, value in run_job.summary["versions"].items()
    )
    return "\n".join([
        f"# {results['task']}, fine-tuned by bertgrow\n",
        "## Metrics\n",
        "On labelled sets that were not trained on.\n",
        *_table(("set", "metric", "value"), metrics),
        *(f"\n{line}" for line in (*warnings(results), *results["notes"])),
        "\n## Data\n",
        f"{store['documents']:,} training sequences, {store['tokens']:,} tokens; sha256 of all "
        f"sequences: {store['hash'][:16]}.",
        "\n## Recipe\n",
        *_table(("field", "value"), _recipe(run_job).items()),
        "\n## Lineage\n",
        *(f"1. {line}" for line in lineage(pretrained)),
        f"\nVersions: {versions}.\n",
    ])  # fmt: skip


def _recipe(run_job):
    stage, row = run_job.settings.stages[0], run_job.summary["stages"][0]
    teacher = run_job.summary["finetuning"].get("teacher", {})
    distilled = {}
    if teacher:
        distilled = dict(
            teacher=f"{teacher['source']}, step {teacher['step']}",
            label_weight=teacher["label_weight"], temperature=teacher["temperature"],
        )  # fmt: skip
    return dict(
        learning_rate=stage.schedule.peak, schedule="linear decay",
        warmup=stage.schedule.warmup, optimizer=stage.optimizer.name,
        weight_decay=stage.optimizer.weight_decay, clip=stage.optimizer.clip,
        batch=stage.batch, steps=stage.steps, length=stage.length, seed=run_job.settings.seed,
        parameters=units.si(row["parameters"]),
        FLOPs=units.si(row["flops_per_step"] * stage.steps), **distilled,
    )  # fmt: skip


def _table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def warnings(results):
    """One line for each set whose predictions are all the same class."""
    stuck = {
        name: details["majority"]
        for name, details in results["details"].items()
        if details.get("majority")
    }
    return [
        f"{name}: stuck at one class: every prediction is {each['class']!r}, accuracy "
        f"{each['accuracy']:.4f}; lower the learning rate, train longer or try another seed"
        for name, each in stuck.items()
    ]


def lineage(pretrained):
    """Where the weights came from, the newest first, as far as the folders are there."""
    source, step = pretrained.source, pretrained.step
    for _ in range(MAX_GENERATIONS):
        at = "" if step is None else f", step {step}"
        folder = Path(source)
        if not (folder / "checkpoints").is_dir() or not (folder / "config.json").is_file():
            yield f"{pretrained.family} of {source}{at}"
            return
        config = workdir.read(folder)
        begun = config.get("finetuning") or {}
        task = begun.get("task") or config["stages"][-1].get("task", "pre-training")
        yield f"{source}{at}: {task}, {config['stages'][-1]['end']} steps"
        source = begun.get("source") or config["recipe"].get("init_from")
        source = source or (config.get("imported") or {}).get("source")
        step = begun.get("step")
        if not source:
            return
