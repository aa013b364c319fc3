"""Estimates the disk size of a teacher cache, and whether it saves time."""

import math

from bertgrow.core import units
from bertgrow.teacher_cache import cache

READ_RATE = 1e9  # bytes/s; assumed for a local solid-state disk or a fast network disk


def add(plan, stages, *, read_rate=None):
    """Adds `cache` to the plan of each stage with a teacher, and `cache_bytes` to the plan.

    Args:
      plan: plan with `stages`, in the order of `stages`. If they have a `time`, reading the
        cache is compared with running the teacher. The teacher takes a fraction of the step
        time: its FLOPs over those of the step.
      stages: `Stage`s of the run.
      read_rate: bytes per second read from disk; `READ_RATE` by default.
    """
    read_rate, total = read_rate or READ_RATE, 0
    for row, stage in zip(plan["stages"], stages, strict=True):
        if stage.targets is None:
            continue
        layout = cache.layout(stage)
        total += layout.bytes
        row["cache"] = dict(bytes=layout.bytes, entry_bytes=layout.entry_bytes)
        if "time" in row:
            read = stage.batch * layout.entry_bytes / read_rate
            teacher = stage.targets.flops / stage.flops * row["time"]["seconds_per_step"]
            row["cache"] |= compare(read, teacher)
    if not total:
        return
    plan["cache_bytes"] = total
    plan["assumptions"].append(
        "a cache of the teacher's targets is counted without rows that repeat "
        f"(config.data.mask_epochs), and read at {units.si(read_rate, 'B/s')}"
    )


def compare(read, teacher):
    """Compares seconds per step of reading the cache and of running the teacher.

    Without a cache each student runs the teacher at every step: `students * teacher`. With one
    the teacher runs once, and its outputs are written once (assumed as fast as reading) and
    read at every step of every student: `teacher + read + students * read`.

    Returns:
      `read_seconds`, `teacher_seconds`, and `pays_from`, the number of students from which the
      cache is cheaper; None if it never is.
    """
    gained = teacher - read  # a step and student
    students = math.floor((teacher + read) / gained) + 1 if gained > 0 else None
    return dict(read_seconds=read, teacher_seconds=teacher, pays_from=students)


def summary(plan):
    """Summary lines for `planning.table`."""
    if "cache_bytes" not in plan:
        return
    rows = [row for row in plan["stages"] if "cache" in row]
    sizes = ", ".join(f"stage {r['name']} {units.si(r['cache']['bytes'], 'B')}" for r in rows)
    yield f"--cache would take {units.plain(plan['cache_bytes'] / 1e9)} GB ({sizes})"
    if "device" not in plan:
        yield "whether caching or recomputing is cheaper depends on the device: add --device"
    for row in rows:
        if "pays_from" in row["cache"]:
            yield f"stage {row['name']}: {words(**row['cache'])}"


def words(*, read_seconds, teacher_seconds, pays_from, **_):
    """Formats the result of `compare` as a sentence."""
    times = (
        f"reading targets takes {units.short(read_seconds)} a step, the teacher's forward "
        f"pass {units.short(teacher_seconds)}"
    )
    if pays_from is None:
        return f"{times}: recomputing is cheaper"
    return f"{times}: caching is cheaper from {pays_from} students on"
