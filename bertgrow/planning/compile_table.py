"""Tables of what the compiler says of a recipe's stages."""

from bertgrow.core import units
from bertgrow.planning import topologies


def tables(plan):
    """Yields (title, header, rows of strings) of each table of `compile_check.add`."""
    result = plan["compiled"]
    yield (
        f"compiled for {result['topology']}: memory of each chip ({plan['chips']} in all)",
        *_memory(result),
    )
    if any("seconds_per_step" in row for row in result["stages"]):
        yield "the compiler's own estimate of a step, without collectives", *_times(result)
    if plan["chips"] > 1:
        yield "collectives of one chip in a step", *_collectives(result)


def summary(plan):
    """Yields the lines below the tables."""
    result = plan["compiled"]
    for row in result["stages"]:
        for program in row["programs"]:
            if "error" in program:
                yield f"stage {row['name']}, {program['program']}: {program['error']}"
    if result["advice"]:
        yield result["advice"]


def assumptions(plan):
    """Yields the sentences that say how the figures were made."""
    if plan["compiled"]["topology"] != topologies.ATTACHED:
        yield (
            "the programs were compiled with little optimisation (O0): those of a run may take "
            "up to 1.4 times the temporary memory, and fewer cycles"
        )
    if any("seconds_per_step" in row for row in plan["compiled"]["stages"]):
        names = sorted(
            {
                name
                for row in plan["compiled"]["stages"]
                for program in row["programs"]
                for name in program.get("uncounted", {})
            }
        )
        counted = f"not counted: {', '.join(names)}" if names else "everything is counted"
        yield f"times of a step are the compiler's estimate, not measured; {counted}"
    yield "certificates of growth are not compiled; the table of peak memory estimates them"


def _memory(result):
    device = result["device"]
    limit = f"in {units.si(device['memory'], 'B')}"
    header = ["stage", "program", "compiled in", "arguments", "temporaries", "peak", limit]
    rows = []
    for stage in result["stages"]:
        for program in stage["programs"]:
            sizes = [
                units.si(program[name], "B") if name in program else "-"
                for name in ("arguments", "temporaries", "peak")
            ]
            fits = program.get("peak", float("inf")) <= device["memory"]
            time = units.duration(program["seconds"])
            cells = [stage["name"], program["program"], time, *sizes, "yes" if fits else "NO"]
            rows.append(cells)
    return header, rows


def _times(result):
    rows = []
    for stage in result["stages"]:
        if "seconds_per_step" not in stage:
            continue
        step = _step(stage)
        rows.append(
            [
                stage["name"],
                units.si(step["cycles"]),
                units.short(stage["seconds_per_step"]),
                f"{stage['of_peak']:.0%}",
            ]
        )
    return ["stage", "cycles", "time", "of peak"], rows


def _collectives(result):
    rows = []
    for stage in result["stages"]:
        for kind, (count, size) in _by_kind(_step(stage)).items():
            rows.append([stage["name"], kind, f"{count:,}", units.si(size, "B")])
    return ["stage", "collective", "times", "bytes"], rows


def _by_kind(program):
    """{kind and dtype: (arrays moved, their bytes)} of a program."""
    sums = {}
    for each in program.get("collectives", ()):
        key = f"{each['kind']} {each['dtype']}"
        count, size = sums.get(key, (0, 0))
        sums[key] = (count + each["count"], size + each["count"] * each["bytes"])
    return dict(sorted(sums.items(), key=lambda item: -item[1][1]))


def _step(stage):
    (step,) = (each for each in stage["programs"] if each["program"] == "step")
    return step
