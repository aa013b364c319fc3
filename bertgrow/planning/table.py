"""Prints a plan as four tables of at most 80 columns, with a summary and assumptions."""

import shutil
import sys
import textwrap

import rich.console
import rich.table
import rich.text

from bertgrow.core import units
from bertgrow.planning import cache_cost, compile_table, store_epochs


def show(plan, file=None):
    """Prints the plan of `estimate.make`, to which the caller added `recipe`."""
    file = file or sys.stdout
    console = rich.console.Console(file=file, highlight=False, soft_wrap=True)
    for title, header, rows in tables(plan):
        console.print(rich.text.Text(title, style="bold"))
        lines = list(units.aligned([header, *rows]))
        console.print(rich.text.Text(lines[0], style="dim"))
        for line in lines[1:]:
            console.print(rich.text.Text(line))
        console.print()
    width = min(shutil.get_terminal_size((96, 24)).columns, 100)
    for line in summary(plan):
        console.print(rich.text.Text(_wrap(line, width)))
    console.print("\nassumed:")
    for line in plan["assumptions"]:
        console.print(rich.text.Text(_wrap(line, width, "- ")))


def tables(plan):
    """Yields (title, header, rows of strings) of each table."""
    plural = "" if len(plan["stages"]) == 1 else "s"
    yield (
        f"{plan['recipe']}: {len(plan['stages'])} stage{plural}, {plan['steps']:,} steps, "
        f"{units.si(plan['tokens'])} tokens",
        *_models(plan),
    )
    yield "cost", *_costs(plan)
    chips = "one chip" if plan["chips"] == 1 else f"each of {plan['chips']} chips"
    axes = " x ".join(f"{name} {size}" for name, size in plan["mesh"].items() if size > 1)
    yield f"memory of {chips}" + (f" ({axes})" if axes else "") + " in training", *_memory(plan)
    yield "peak memory, and disk of a checkpoint", *_peaks(plan)
    if "compiled" in plan:
        yield from compile_table.tables(plan)


def summary(plan):
    """Yields the summary lines below the tables."""
    if len(plan["stages"]) > 1 and "plain" in plan:
        line = f"predicted speed-up: {plan['speedup_percent']:+.1f} % in FLOPs"
        if "hours" in plan:
            line += f", {plan['speedup_percent_time']:+.1f} % in time"
        yield f"{line}, over the plain recipe"
    if "hours" in plan:
        unit, name = _time_unit(plan)
        duration, device = _in_unit(plan["hours"], unit), plan["device"]["name"]
        line = f"{duration} {name} on {plan['chips']} x {device}"
        yield line + (f", cost {plan['cost']:,.2f}" if plan["cost"] is not None else "")
    yield f"checkpoints take at most {units.si(plan['disk_bytes'], 'B')} of disk"
    yield from store_epochs.summary(plan)
    yield from cache_cost.summary(plan)
    yield from _not_fitting(plan)
    for before, row in zip(plan["stages"], plan["stages"][1:], strict=False):
        if row["task"] != before["task"]:
            change = f"{before['task']} to {row['task']}"
            yield f"change of task {before['name']}-{row['name']}: {change}"
            continue
        changes = [growth["changed"] for growth in row["growth"]] or ["no change of size"]
        yield f"growth {before['name']}-{row['name']}: {'; '.join(changes)}"
    for axis in plan["whole"]:
        yield (
            f"{axis['axis']} {axis['size']} is not divided over the chips: {axis['along']} "
            f"{axis['parts']} does not divide it ({', '.join(axis['weights'])})"
        )
    if "compiled" in plan:
        yield from compile_table.summary(plan)


def _time_unit(plan):
    """Time unit of the plan: (seconds per unit, name of the unit)."""
    return (3600, "hours") if plan.get("plain", plan)["hours"] >= 0.1 else (1, "seconds")


def _in_unit(hours, unit):
    return units.plain(3600 * hours / unit)


def _models(plan):
    stages = plan["stages"]
    is_mixed = any(row["task"] != stages[-1]["task"] for row in stages)
    is_pooled = not is_mixed or any(row["pool"] > 1 for row in stages)
    shape = ["batch", "length", *["pool"] * is_pooled, "layers", "width"]
    header = ["stage", *["task"] * is_mixed, "steps", *shape, "ffn"]
    rows = [
        [
            row["name"],
            *[row["task"]] * is_mixed,
            f"{row['steps']:,}",
            *(str(row[name]) for name in shape),
            str(row["ffn_width"]),
            units.si(row["parameters"]["encoder"]),
            units.si(row["parameters"]["heads"]),
        ]
        for row in plan["stages"]
    ]
    return [*header, "encoder", "heads"], rows


def _costs(plan):
    header = ["stage", "FLOP/step", "FLOPs", "of plain" if "plain" in plan else "of all"]
    if "hours" in plan:
        header += ["of peak", "per step", _time_unit(plan)[1]] + ["cost"] * (
            plan["cost"] is not None
        )
    rows = [
        [row["name"], *_flops(row, plan), *_times(row.get("time", {}), plan)]
        for row in plan["stages"]
    ]
    for name, sums in (("all", plan), ("plain", plan.get("plain"))):
        if sums:
            rows.append([name, *_flops(sums, plan), *_times(sums, plan)])
    return header, rows


def _flops(row, plan):
    per_step = units.si(row["flops_per_step"]) if "flops_per_step" in row else ""
    all_flops = plan.get("plain", plan)["flops"]
    return [per_step, units.si(row["flops"]), f"{row['flops'] / all_flops:.1%}"]


def _times(time, plan):
    if "hours" not in time:
        return []
    cells = ["", ""]
    if "seconds_per_step" in time:
        cells = [f"{time['utilisation']:.0%}", units.short(time["seconds_per_step"])]
    cells.append(_in_unit(time["hours"], _time_unit(plan)[0]))
    return cells if time["cost"] is None else [*cells, f"{time['cost']:,.2f}"]


def _memory(plan):
    names = ["parameters", "moments", "gradients", "activations"]
    if any(row["memory"]["frozen"] for row in plan["stages"]):
        names.insert(1, "frozen")
    rows = [
        [row["name"], *(units.si(row["memory"][name], "B") for name in [*names, "total"])]
        for row in plan["stages"]
    ]
    return ["stage", *names, "in all"], rows


def _peaks(plan):
    has_limit, rows = "device" in plan, []
    for row in plan["stages"]:
        memory = row["memory"]
        growth = max(memory["growth"], memory["certificate"])
        figures = [memory["total"], memory["evaluation"], growth, memory["peak"]]
        cells = [units.si(figure, "B") if figure else "" for figure in figures]
        if has_limit:
            cells.append("yes" if memory["fits"] else "NO")
        rows.append([row["name"], *cells, units.si(row["checkpoint_bytes"], "B")])
    limit = [f"in {units.si(plan['device']['memory'], 'B')}"] if has_limit else []
    return ["stage", "training", "evaluation", "growth, at most", "peak", *limit, "disk"], rows


def _not_fitting(plan):
    names = [row["name"] for row in plan["stages"] if not row["memory"].get("fits", True)]
    if not names:
        return
    hint = "take more chips, a smaller batch or --config.mesh.fsdp above 1"
    if plan["advice"]:
        fields = [f"--config.{name}={value}" for name, value in plan["advice"].items()]
        hint = f"add {' '.join(fields)}"
    subject = f"stage {names[0]} does" if len(names) == 1 else f"stages {', '.join(names)} do"
    yield f"{subject} not fit into the memory of {plan['device']['name']}: {hint}"


def _wrap(line, width, bullet=""):
    return textwrap.fill(
        line, width, initial_indent=bullet, subsequent_indent="  ", break_on_hyphens=False
    )
