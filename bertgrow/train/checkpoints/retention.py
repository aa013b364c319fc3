"""Which checkpoints stay."""

import bisect


def retained(steps, stage_ends, keep):
    """The steps to keep: the last `keep`, and the last one of each stage.

    Decided from the plan alone: metrics are not there after a restart, and a rule that reads
    them deletes whole stages then.

    Args:
      steps: steps of the checkpoints there are.
      stage_ends: the run's step at which each stage ends; a checkpoint at an end belongs to
        the stage that ends.
      keep: int, at least 1.
    """
    steps, ends = sorted(steps), sorted(stage_ends)
    last_of_stage = {bisect.bisect_left(ends, step): step for step in steps}
    return set(steps[-keep:]) | set(last_of_stage.values())
