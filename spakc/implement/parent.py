"""The judging side of a hand-written kernel's process. An edge."""

from __future__ import annotations

import json
import os
import pickle
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import numpy as np

from spak_runtime.errors import ToolError
from spak_runtime.processes import spared
from spakc.implement.candidates import Candidate
from spakc.implement.hosted import for_host
from spakc.ir.types import DType
from spakc.verify.arrays import Array
from spakc.verify.case import Case
from spakc.verify.examine import Counters, Finding, Observed
from spakc.verify.failure import Line
from spakc.verify.inputs import shape_of
from spakc.verify.oracle import NUMPY
from spakc.verify.tested import UnderTest

CHILD = (sys.executable, "-m", "spakc.implement.child")

OPEN_SECONDS = 120.0
"""What the child may take to begin: its libraries, the device, the first build."""


class Ended(Exception):
    """The process is gone, or says nothing; the message says which."""


@dataclass
class InChild:
    """Runs the cases of one hand-written kernel in a process of their own, which is started anew after it died.

    `files` are those of an artifact: sources and headers, on a device the manifest, too."""

    candidate: Candidate
    files: Mapping[str, str]
    on: str = "emulator"
    timeout: float = 60.0
    command: Sequence[str] = CHILD
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _rest: bytes = field(default=b"", init=False)

    def __call__(self, tested: UnderTest, case: Case, given: Mapping[str, Array | None]) -> Observed:
        """Raises ToolError where the machine cannot be had."""
        try:
            answer, blob = self._ask(("case", case, dict(given)))
        except Ended as error:
            return Observed({}, (Finding(str(error)),))
        seen = self._observed(tested, case, answer, blob)
        if seen.findings and self.on != "emulator":
            self.close()  # a device that reported an error serves its process no longer
        return seen

    def calls(
        self, tested: UnderTest, case: Case, given: Mapping[str, Array | None], count: int
    ) -> tuple[Observed, float, float]:
        """What `count` equal calls left, the seconds of one by the child's clock, and of all of them by ours.

        Raises Ended."""
        began = time.monotonic()
        answer, blob = self._ask(("calls", case, dict(given), count))
        elapsed = time.monotonic() - began
        claimed = answer.get("seconds")
        if not isinstance(claimed, float):
            raise Ended(str(answer.get("failed", "it tells no time")))
        return self._observed(tested, case, answer, blob), claimed, elapsed

    def close(self) -> None:
        """Ends the child."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process, self._rest = None, b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    # ---- what comes back is text and numbers ------------------------------------------------------------

    def _observed(self, tested: UnderTest, case: Case, answer: Mapping[str, Any], blob: bytes) -> Observed:
        if "failed" in answer:
            if answer.get("tool") is True:
                raise ToolError(str(answer["failed"]))
            return Observed({}, (Finding(str(answer["failed"])),))
        outputs: dict[str, Array] = {}
        for name, tensor in tested.kernel.tensors.items():
            if tensor.role == "input" or name in case.absent or name not in answer["outputs"]:
                continue
            dtype, shape = NUMPY[DType(case.dtypes[name])], shape_of(tensor, case.dims)
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            own, blob = blob[:size], blob[size:]
            if len(own) != size:
                return Observed({}, (Finding(f"its process gave {len(own)} of {size} bytes of {name}"),))
            outputs[name] = np.frombuffer(own, dtype).reshape(shape)
        findings = tuple(
            Finding(str(f["message"]), tuple(Line(str(a), int(n), str(t)) for a, n, t in f["lines"]))
            for f in answer["findings"]
        )
        counters = Counters(**answer["counters"]) if answer["counters"] is not None else None
        return Observed(
            outputs, findings, tuple(map(str, answer["touched"])), counters, bool(answer["built"])
        )

    # ---- the process --------------------------------------------------------------------------------------

    def _ask(self, request: tuple[Any, ...]) -> tuple[dict[str, Any], bytes]:
        """The answer to a request and the bytes behind it. Raises Ended."""
        if self._process is None:
            with spared():
                self._process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            opening = {"tested": replace(self.candidate.tested), "files": self._files(), "on": self.on}
            opened, _ = self._exchange(("open", opening), OPEN_SECONDS)
            if "failed" in opened:
                self.close()
                return opened, b""
        return self._exchange(request, self.timeout)

    def _files(self) -> dict[str, str]:
        own = self.candidate.sources if self.on == "emulator" else ()
        return {name: for_host(text) if name in own else text for name, text in self.files.items()}

    def _exchange(self, request: tuple[Any, ...], timeout: float) -> tuple[dict[str, Any], bytes]:
        assert self._process is not None and self._process.stdin is not None
        data = pickle.dumps(request)
        until = time.monotonic() + timeout
        try:
            self._process.stdin.write(json.dumps({"bytes": len(data)}).encode() + b"\n" + data)
            self._process.stdin.flush()
            answer = json.loads(self._read(until, None))
            size = sum(map(int, answer.get("outputs", {}).values()))
            return answer, self._read(until, size)
        except (OSError, ValueError, AttributeError) as error:
            ended = self._process.poll()
            self.close()
            raise Ended(
                f"the process of the kernel ended with {ended}"
                if ended is not None
                else f"the process of the kernel gave no answer in {timeout:g} s ({type(error).__name__})"
            ) from None

    def _read(self, until: float, size: int | None) -> bytes:
        """So many bytes, or one line. Raises OSError where they do not come."""
        assert self._process is not None and self._process.stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._process.stdout, selectors.EVENT_READ)
            while (b"\n" not in self._rest) if size is None else len(self._rest) < size:
                left = until - time.monotonic()
                if left <= 0 or not waiting.select(left):
                    raise OSError("nothing comes")
                read = os.read(self._process.stdout.fileno(), 1 << 20)
                if not read:
                    self._process.wait()
                    raise OSError("it ended")
                self._rest += read
        end = self._rest.index(b"\n") + 1 if size is None else size
        found, self._rest = self._rest[:end], self._rest[end:]
        return found
