"""Small run in a child process, to be killed: python child.py FOLDER UNTIL [key=value].

Saves every 2 steps, prints a line at each event and appends to FOLDER/metrics.jsonl. `die=N`
kills it in the way of kill -9 once step N is made; `die_in=checksums` while the save is done
and not vouched for; `leave=1` leaves without closing the checkpoints.
"""

import os
import sys
import time
from pathlib import Path

import jax

jax.config.update("jax_num_cpu_devices", 8)
sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

import toy_task  # noqa: E402

from bertgrow.train import loop, metrics, sharding  # noqa: E402
from bertgrow.train.checkpoints import checkpoint, checksums  # noqa: E402


def kill():
    os.kill(os.getpid(), 9)
    time.sleep(60)


def run(folder, until, *, die=None, die_in=None, leave=None, spec="1,1,1", slow=0.0):
    sizes = dict(zip(sharding.MESH, map(int, spec.split(",")), strict=True))
    devices = jax.devices()[: sizes["data"] * sizes["fsdp"] * sizes["tensor"]]
    mesh = sharding.make_mesh(sizes, devices)
    task, optimizer = toy_task.task(), toy_task.optimizer()
    os.makedirs(folder, exist_ok=True)
    checkpoints = checkpoint.Checkpoints(f"{folder}/checkpoints", stage_ends=[until])
    newest = checkpoints.latest()
    if newest is None:
        where = sharding.state_shardings(task, optimizer, mesh)
        state, row = loop.initial_state(task, optimizer, jax.random.key(0), where), 0
    else:
        target = loop.state_shapes(task, optimizer, mesh)
        state, record = checkpoints.restore(newest, target)
        row = record["row"]
    print("start", newest, flush=True)
    metrics.cut(f"{folder}/metrics.jsonl", -1 if newest is None else newest)
    if die_in == "checksums":
        checksums.write = lambda *_: kill()
    with metrics.Writer(f"{folder}/metrics.jsonl") as rows:
        batches = toy_task.batches(row)
        for info in loop.steps(task, state, batches, optimizer, until=until, mesh=mesh):
            state = info.state
            rows.write({"step": info.step, **info.metrics, "seconds": time.time()})
            if info.step % 2 == 0:
                rows.sync()
                checkpoints.save(info.step, state, info.position)
            print("step", info.step, flush=True)
            time.sleep(float(slow))
            if die is not None and info.step == int(die):
                checkpoints.wait()
                kill()
    if leave is None:
        checkpoints.close()


if __name__ == "__main__":
    folder, until, *rest = sys.argv[1:]
    run(folder, int(until), **dict(item.split("=") for item in rest))
