"""A training on the device that kills itself: `python die_in_training.py ARTIFACT EXPERIMENT OUT STEP`. Started by
test_training.py in a process of its own, so that the kill is a real one."""

import os
import signal
import sys
from pathlib import Path

import torch

import spak_runtime
from spak_runtime.training.documents import DocumentData
from spak_runtime.training.run import run_experiment


def main(folder: str, experiment: str, out: str, step: str) -> None:
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    batches = DocumentData.batches

    def counted(self, count, seed, start=0, **where):
        for now, batch in enumerate(batches(self, count, seed, start, **where), start):
            if now == int(step):
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    DocumentData.batches = counted
    run_experiment(
        Path(folder) / "models" / experiment,
        Path(out),
        artifact=spak_runtime.load(folder),
        device="cuda" if torch.cuda.is_available() else "cpu",
        save_seconds=0.0,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
