"""Independent runs side by side: one process each, on one device.

A run of a small model leaves most of a GPU idle, and most of its host time is its own. What runs leave in their folders
is what one after another would leave; whoever asked for them reads it there.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from spak_runtime.processes import end_with_parent, spared


def side_by_side(calls: Sequence[Mapping[str, Any]], artifact: Path, jobs: int) -> Iterator[int]:
    """Does `run_experiment(**call)` for every call, at most `jobs` at a time, with the kernels of the artifact at
    `artifact`; yields the number of each call when it is done. Raises what a run raises, after those that have begun
    are done; an interrupt ends them."""
    share = max(1, (os.cpu_count() or 1) // jobs)
    spawn = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(jobs, spawn, _begin, (share,)) as pool:
        with spared():
            begun = {pool.submit(_run, artifact, dict(call)): number for number, call in enumerate(calls)}
        try:
            for done in as_completed(begun):
                done.result()
                yield begun[done]
        except KeyboardInterrupt:
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    end_with_parent()


def _run(artifact: Path, call: dict[str, Any]) -> None:
    from spak_runtime import artifact as artifacts
    from spak_runtime.training.run import run_experiment

    run_experiment(**call, artifact=artifacts.load(artifact))
