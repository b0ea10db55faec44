"""MindSpore's worker threads, each on a core of its own."""

import os
from contextlib import suppress
from pathlib import Path

TASKS = Path("/proc/self/task")  # Linux alone
WORKERS = ("ActorThread_", "KernelThread_")  # what MindSpore calls the threads that compute on a CPU


def pin_workers() -> None:
    """Pins each worker thread to a core, where there are as many of them as this process may use; else does nothing.

    A thread that hands the work out spins meanwhile, and drives workers that may move from their cores: measured with
    two cores, products alone lost a quarter of their rate, an image tower a fortieth. Call it once something has been
    computed: the threads are made then.
    """
    with suppress(OSError):
        workers = sorted(int(task.name) for task in TASKS.iterdir() if (task / "comm").read_text().startswith(WORKERS))
        cores = sorted(os.sched_getaffinity(0))
        if len(workers) == len(cores):
            for worker, core in zip(workers, cores, strict=True):
                os.sched_setaffinity(worker, {core})
