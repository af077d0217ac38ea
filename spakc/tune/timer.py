"""Timings in a child process, so that a kernel that hangs or crashes costs one config and not the search. An edge."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from spak_runtime.processes import spared
from spakc.record import record

CHILD = (sys.executable, "-m", "spakc.tune.child")

OPEN_SECONDS = 120.0
"""What the child may take to begin: torch, the device, the operands and the kernels that it builds."""


@record
class Time:
    """Seconds of one call, one figure a round; or why there are none."""

    seconds: tuple[float, ...] = ()
    failed: str = ""


@dataclass
class JsonChild:
    """A child process that answers each line of JSON with one. `opening` is the first line that it gets; it is started
    anew after it was killed."""

    opening: Mapping[str, Any]
    timeout: float = 20.0
    command: Sequence[str] = CHILD
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _rest: bytes = field(default=b"", init=False)

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer, with `failed` where there is none. A child that says nothing for too long is killed."""
        if self._process is None:
            with spared():
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
            opened = self._exchange(self.opening, OPEN_SECONDS)
            if "failed" in opened:
                self.close()
                return opened
        answer = self._exchange(request, self.timeout)
        if "failed" in answer:  # the child ends with it
            self.close()
        return answer

    def close(self) -> None:
        """Ends the child."""
        if self._process is None:
            return
        self._process.kill()
        self._process.communicate()
        self._process, self._rest = None, b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _exchange(self, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._line(timeout)
            answer = json.loads(line) if line else None
        except (OSError, ValueError):
            answer = None
        if isinstance(answer, dict):
            return answer
        ended = self._process.poll()
        self.close()
        return {
            "failed": f"no answer in {timeout:g} s" if ended is None else f"the process ended with {ended}"
        }

    def _line(self, timeout: float) -> bytes:
        """One line of the child's answer; empty where none comes in time, or it ended."""
        assert self._process is not None and self._process.stdout is not None
        until = time.monotonic() + timeout
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                left = until - time.monotonic()
                if left <= 0 or not waiting.select(left):
                    return b""
                read = os.read(self._process.stdout.fileno(), 1 << 16)
                if not read:
                    self._process.wait()
                    return b""
                self._rest += read
        line, self._rest = self._rest.split(b"\n", 1)
        return line


class ChildTimer(JsonChild):
    """Asks a child process for the times of variants of one artifact. `opening` says what to load and what to call."""

    def time(self, variant: str) -> Time:
        """Of one variant."""
        answer = self.ask({"time": variant})
        if "failed" in answer:
            return Time(failed=str(answer["failed"]))
        return Time(tuple(float(each) for each in answer["seconds"]))
