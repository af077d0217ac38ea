"""Compiles kernels into the cache with several processes: `python -m spak_runtime.build_worker ROOT` is one of them and
reads a request a line. NVRTC compiles one source at a time in a process, so whoever needs many starts some of these."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread

from spak_runtime.cache import KernelCache
from spak_runtime.errors import SpakRuntimeError
from spak_runtime.nvrtc import BuildRequest
from spak_runtime.processes import spared


def build_together(
    cache: KernelCache,
    requests: Sequence[BuildRequest],
    processes: int,
    done: Callable[[BuildRequest], object] = lambda _: None,
) -> None:
    """Compiles what the cache lacks of `requests`, in this process and in `processes - 1` beside it; whoever is free
    takes the next. Nothing is said of a request that cannot be compiled or kept: it is not in the cache afterwards.
    `done` is called with each one that is behind us, in any thread."""
    waiting = deque(requests)
    started: list[subprocess.Popen[str]] = []
    try:
        with spared():
            started += [_start(cache) for _ in range(processes - 1)]
        feeders = [Thread(target=_feed, args=(process, waiting, done), daemon=True) for process in started]
        for feeder in feeders:
            feeder.start()
        while waiting:
            with contextlib.suppress(IndexError):
                request = waiting.popleft()
                with contextlib.suppress(SpakRuntimeError):
                    cache.build(request)
                done(request)
        for feeder in feeders:
            feeder.join()
    finally:
        for process in started:
            process.kill()  # idle, or its work is no longer wanted
            process.wait()


def _start(cache: KernelCache) -> subprocess.Popen[str]:
    here = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "spak_runtime.build_worker", str(cache.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": path},
        text=True,
    )


def _feed(
    process: subprocess.Popen[str], waiting: deque[BuildRequest], done: Callable[[BuildRequest], object]
) -> None:
    """One request after the other, as the process says that it has done the last; ends with it."""
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(OSError, IndexError, ValueError), process.stdin, process.stdout:
        process.stdout.readline()
        while True:
            request = waiting.popleft()
            process.stdin.write(json.dumps(dataclasses.asdict(request)) + "\n")
            process.stdin.flush()
            said = process.stdout.readline()
            done(request)
            if not said:
                return


def main() -> None:
    cache = KernelCache(Path(sys.argv[1]))
    print("ready", flush=True)
    for line in sys.stdin:
        entry = json.loads(line)
        request = BuildRequest(**{**entry, "options": tuple(entry["options"])})
        with contextlib.suppress(SpakRuntimeError):
            cache.build(request)
        print("done", flush=True)


if __name__ == "__main__":
    main()
