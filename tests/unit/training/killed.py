"""A run that kills itself: `python killed.py FOLDER OUT PROFILE WHEN`, WHEN one of `step:N`, `saving:N`,
`evaluating`.

Started by test_run.py in a process of its own, so that the kill is a real one."""

import os
import signal
import sys
from pathlib import Path

from spak_runtime.training import checkpoint, evaluate, loop
from spak_runtime.training.run import run_experiment


def die(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, out: str, profile: str, when: str) -> None:
    what, _, number = when.partition(":")
    if what == "step":
        forward = loop.Trainer._forward_backward

        def counted(self, batch):
            if self.step == int(number) and "identity" in self.state:
                die()
            return forward(self, batch)

        loop.Trainer._forward_backward = counted
    elif what == "saving":
        saves = iter(range(1_000_000))

        def half(tensors, path, metadata=None):
            if next(saves) == int(number):
                Path(path).write_bytes(b"half a file")
                die()
            from safetensors.torch import save_file

            save_file(tensors, path, metadata=metadata)

        checkpoint.save_file = half
    else:
        evaluate.exact_match = die
    run_experiment(Path(folder), Path(out), profile=profile or None, save_seconds=0.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
