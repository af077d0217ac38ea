"""The process in which hand-written kernels run: it gets inputs, and gives back what stands in the outputs.

It never sees a reference, a tolerance or a verdict. Its answers are read as numbers and text, never unpickled, so that
nothing that a source does to this process reaches the one that judges. On the emulator a source is code of the host,
which is why none is ever loaded elsewhere.

A request is a line `{"bytes": n}` and n pickled bytes; an answer is a line of JSON and the bytes that it announces."""

from __future__ import annotations

import json
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from spakc.verify.arrays import Array
from spakc.verify.case import Case
from spakc.verify.examine import Observed, Run
from spakc.verify.tested import UnderTest


class Session:
    """One hand-written kernel on one machine. `opening`: the variant, the files of its artifact, where it runs."""

    def __init__(self, opening: Mapping[str, Any]) -> None:
        self.tested: UnderTest = opening["tested"]
        self.run: Run
        if opening["on"] == "emulator":
            from spakc.emulator_runner import OnEmulator

            self.run = OnEmulator(opening["files"], isolate=False)
        else:
            from spakc.device_runner import OnDevice

            self.run = OnDevice(opening["files"], Path(tempfile.mkdtemp(prefix="spak-by-hand-")))

    def case(self, case: Case, given: Mapping[str, Array | None]) -> tuple[dict[str, Any], list[bytes]]:
        """Runs one case on poisoned outputs."""
        seen = self.run(self.tested, case, given)
        return _answer(seen), [array.tobytes() for array in seen.outputs.values()]

    def calls(
        self, case: Case, given: Mapping[str, Array | None], count: int
    ) -> tuple[dict[str, Any], list[bytes]]:
        """The same call `count` times, by this process's own clock."""
        began = time.perf_counter()
        for _ in range(count):
            seen = self.run(self.tested, case, given)
        seconds = (time.perf_counter() - began) / count
        return _answer(seen) | {"seconds": seconds}, [array.tobytes() for array in seen.outputs.values()]


def _answer(seen: Observed) -> dict[str, Any]:
    return {
        "outputs": {name: array.nbytes for name, array in seen.outputs.items()},
        "findings": [
            {"message": f.message, "lines": [[at.file, at.number, at.text] for at in f.lines]}
            for f in seen.findings
        ],
        "touched": list(seen.touched),
        "counters": asdict(seen.counters) if seen.counters is not None else None,
        "built": seen.built,
    }


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answers requests until there are no more."""
    session: Session | None = None
    while line := requests.readline():
        what, *rest = pickle.loads(requests.read(json.loads(line)["bytes"]))
        blobs: list[bytes] = []
        try:
            if session is None:
                session = Session(*rest)
                answer: dict[str, Any] = {}
            else:
                answer, blobs = getattr(session, what)(*rest)
        except Exception as error:  # whatever it is, it is this kernel's
            answer = {"failed": f"{type(error).__name__}: {error}", "tool": _is_missing_tool(error)}
        answers.write(json.dumps(answer).encode() + b"\n" + b"".join(blobs))
        answers.flush()


def _is_missing_tool(error: Exception) -> bool:
    from spak_runtime.errors import ToolError

    return isinstance(error, ToolError)


def main() -> None:
    """Answers go through a descriptor of their own: what a kernel prints is no answer."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
