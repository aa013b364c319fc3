"""Selects the checkpoints to keep."""

import bisect


def retained(steps, stage_ends, keep):
    """Returns the steps to keep: the last `keep`, and the last step of each stage.

    The rule uses the stage ends only. Metrics are not available after a restart, so a rule
    that reads them would then delete the checkpoints of whole stages.

    Args:
      steps: steps of the existing checkpoints.
      stage_ends: step of the run at which each stage ends; a checkpoint at that step belongs
        to the stage that ends.
      keep: int, at least 1.
    """
    steps, ends = sorted(steps), sorted(stage_ends)
    last_of_stage = {bisect.bisect_left(ends, step): step for step in steps}
    return set(steps[-keep:]) | set(last_of_stage.values())
