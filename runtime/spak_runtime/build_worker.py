"""Compiles kernels into the cache, in a process of its own: `python -m spak_runtime.build_worker`, its work as JSON on
standard input. NVRTC compiles one source at a time in a process, so whoever needs many starts several of these."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from spak_runtime.cache import KernelCache
from spak_runtime.errors import SpakRuntimeError
from spak_runtime.nvrtc import BuildRequest


@contextlib.contextmanager
def workers(cache: KernelCache, shares: Sequence[Sequence[BuildRequest]]) -> Iterator[None]:
    """Compiles each share in a process beside the body, and waits for all. Nothing is said of a request that cannot be
    compiled or kept: it is not in the cache afterwards."""
    command = [sys.executable, "-m", "spak_runtime.build_worker"]
    here = str(Path(__file__).resolve().parents[1])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    }
    started: list[subprocess.Popen[bytes]] = []
    try:
        for share in shares:
            text = json.dumps({"root": str(cache.root), "requests": [dataclasses.asdict(r) for r in share]})
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            started.append(process)
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
                stdin.write(text.encode())
        yield
        for process in started:
            process.wait()
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()


def main() -> None:
    asked = json.load(sys.stdin)
    cache = KernelCache(Path(asked["root"]))
    for entry in asked["requests"]:
        request = BuildRequest(**{**entry, "options": tuple(entry["options"])})
        with contextlib.suppress(SpakRuntimeError):
            cache.build(request)


if __name__ == "__main__":
    main()
