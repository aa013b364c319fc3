"""Results of a comparison: computes them from runs and writes them as files.

A folder of runs is read in the order of its compare.json.
"""

import contextlib
import json

from bertgrow.core import system_files
from bertgrow.reporting import baseline, compare_page, seeds, table

FILES = ("compare.json", "compare.svg", "compare.html")


def compare(runs, folder, baseline_name, order):
    """Compares runs and writes the results.

    Args:
      runs: list of `records.Run`; `NAME-seedN` is a seed of the arm NAME.
      folder: output folder.
      baseline_name, order: as in `baseline.choose`.

    Returns:
      (list of `seeds.Result`, `Baseline`).
    """
    groups = seeds.group(runs)
    stages = {group.name: group.runs[0].stages for group in groups}
    chosen = baseline.choose(stages, baseline_name, order)
    results = seeds.compare(baseline.first(groups, chosen, lambda group: group.name))
    _write(results, folder, chosen)
    return results, chosen


def runs_in(folder):
    """The folder itself if it is a run; else the runs in it, in the order of its arms."""
    if not _is_folder_of_runs(folder):
        return [folder]
    runs = sorted(path for path in folder.iterdir() if (path / "config.json").exists())
    order = _recorded_order(folder)
    runs.sort(key=lambda path: order.index(path.name) if path.name in order else len(order))
    return runs or [folder]


def reason_of_order(folder):
    """The reason for the order of `runs_in(folder)`; None if the order has no meaning."""
    if not _is_folder_of_runs(folder):
        return "named first"
    return f"first in {folder / FILES[0]}" if _recorded_order(folder) else None


def as_json(results, folder, chosen):
    """All results and the evaluation curves; `folder` is the output folder."""
    arms = [table.as_json(_arm(result, folder)) for result in results]
    return {"baseline": baseline.as_json(chosen), "arms": arms}


def _is_folder_of_runs(folder):
    return folder.is_dir() and not (folder / "config.json").exists()


def _recorded_order(folder):
    """Names of runs in the order of the folder's last comparison; empty without one."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        results = json.loads((folder / FILES[0]).read_text())
        return [run["folder"] for arm in results["arms"] for run in arm["runs"]]
    return []


def _write(results, folder, chosen):
    """Writes compare.json, compare.svg and compare.html."""
    contents = (
        json.dumps(as_json(results, folder, chosen), indent=1) + "\n",
        compare_page.picture(results),
        compare_page.page(results, chosen),
    )
    for name, content in zip(FILES, contents, strict=True):
        system_files.write_atomically(folder / name, content)


def _arm(result, folder):
    arm = result.arm._asdict()
    against = arm.pop("against_first")
    if against:
        arm["against_first"] = against._asdict() | {
            "speed_up": against.speed_up,
            "is_paired": result.is_paired,
            "inconclusive": result.inconclusive,
            "by_seed": {str(seed): equal for seed, equal in result.pairs.items()},
        }
    else:
        arm["against_first"] = None
    return arm | {
        "seeds": result.group.seeds,
        "final": result.final._asdict(),
        "stages": result.mean.stages,
        "runs": [_run(run, folder) for run in result.group.runs],
    }


def _run(run, folder):
    fields = ("step", "stage", "length", "tokens", "flops", "seconds", "mask_loss", "unigram")
    return {
        "folder": _relative(run.folder, folder),
        "seed": seeds.seed(run),
        "is_finished": run.is_finished,
        "store": (run.config.get("store") or {}).get("hash"),
        "versions": run.config.get("versions"),
        "evaluations": [{f: row[f] for f in fields if f in row} for row in run.evaluations],
    }


def _relative(run, folder):
    """Path of a run relative to a folder around it, so that both can move; else as given."""
    inner, outer = run.resolve(), folder.resolve()
    return str(inner.relative_to(outer) if inner.is_relative_to(outer) else run)
