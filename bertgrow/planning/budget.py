"""Estimates the hours and cost of a plan, and lists the assumptions."""

from bertgrow.core import units
from bertgrow.planning import calibration
from bertgrow.train import sharding

LOW_COST = 1.5  # time of a narrow or pooled stage, relative to the time from its FLOPs


def add(plan, settings, family, stages, *, device, chips, mfu, price, calibrate):
    """Adds `time` to every stage, and `hours` and `cost` to the plan and its plain recipe."""
    if calibrate:
        seconds = measured(settings, stages, chips)
    else:
        seconds = assumed(settings, family, stages, device, chips, mfu)
    for row, stage, step_time in zip(plan["stages"], stages, seconds, strict=True):
        row["time"] = dict(
            seconds_per_step=step_time,
            utilisation=stage.flops / (step_time * chips * device.peak),
            measured=calibrate,
            **_cost(stage.steps * step_time, chips, price),
        )
    total = sum(stage.steps * time for stage, time in zip(stages, seconds, strict=True))
    plan |= _cost(total, chips, price)
    if plain := plan.get("plain"):
        plain |= _cost(plain["steps"] * seconds[-1], chips, price)
        plan["speedup_percent_time"] = 100 * (plain["hours"] / plan["hours"] - 1)
    plan["device"] = device._asdict()
    plan["assumptions"] += _assumptions(plan, settings, family, device, mfu, price)


def assumed(settings, family, stages, device, chips, mfu):
    """Seconds per step of each stage, from its FLOPs and a fraction of the peak FLOP/s."""
    speed = chips * device.peak * (mfu or device.utilisation)  # FLOP/s
    return [
        stage.flops / speed * (LOW_COST if is_low_cost(family, settings, config) else 1)
        for stage, config in zip(stages, settings.stages, strict=True)
    ]


def measured(settings, stages, chips):
    """Seconds per step of each stage, timed on the present devices and scaled to `chips`."""
    mesh = sharding.make_mesh(vars(settings.mesh))
    return [
        calibration.seconds_per_step(
            stage,
            mesh,
            vocab_size=settings.model.vocab_size,
            accumulate=settings.accumulate,
            start=config.start,
        )
        * (mesh.size / chips)
        for stage, config in zip(stages, settings.stages, strict=True)
    ]


def is_low_cost(family, settings, stage):
    """Whether a model differs from the last model of its task in more than its depth.

    Only stages of the same task are compared: a student may be narrower than its teacher.
    """
    last = next(other for other in reversed(settings.stages) if other.task == stage.task)
    ignored = dict(layers=0, positions=0)
    sizes, last_sizes = (family.sizes(config.model) | ignored for config in (stage, last))
    return sizes != last_sizes


def _cost(seconds, chips, price):
    hours = seconds / 3600
    return dict(hours=hours, cost=None if price is None else hours * chips * price)


def _assumptions(plan, settings, family, device, mfu, price):
    yield (
        f"{device.name}: {units.si(device.peak, 'FLOP/s')} in {device.dtype} and "
        f"{units.si(device.memory, 'B')} a chip ({device.source})"
    )
    if plan["stages"][0]["time"]["measured"]:
        yield (
            f"times are those of {calibration.TIMED} steps of each stage on this device; more "
            "or fewer chips are assumed to scale in proportion"
        )
    else:
        source = "by --mfu" if mfu else "assumed: --mfu changes it, --calibrate measures it"
        yield f"{mfu or device.utilisation:.0%} of the peak is reached, {source}"
        if any(is_low_cost(family, settings, stage) for stage in settings.stages):
            yield (
                f"a stage that is narrower or pooled takes {LOW_COST} times as long as in "
                "proportion to its FLOPs, as reported for TPU v3; --calibrate measures it"
            )
    yield "reading data, compiling, evaluating and saving take no time of their own"
    if price is not None:
        yield f"a chip costs {price:g} an hour, of which none is lost to interruptions"
