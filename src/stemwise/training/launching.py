"""Several processes on one machine: the same command again, under PyTorch's `torchrun`."""

from __future__ import annotations

import os
import sys

from stemwise.cores import cores
from stemwise.errors import RecipeError


def join_processes(count: int) -> None:
    """Become `count` processes that run this command; return in each of them.

    This process becomes `torchrun`, which ends all of them when one fails. Where the processes
    were started already, by this or by another launcher, nothing happens.

    Raises RecipeError where a launcher started another number of processes.
    """
    started = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("SLURM_STEP_NUM_TASKS", "1")))
    if count == 1 or started == count:
        return
    if started > 1:
        raise RecipeError(
            f"{started} processes were started here already: leave --devices {count} away"
        )
    sys.stdout.flush()
    sys.stderr.flush()
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    # without this, threads of the processes would crowd each other out on a CPU
    threads = max(1, cores() // count)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.execv(sys.executable, [sys.executable, *torchrun, "-m", "stemwise", *sys.argv[1:]])
