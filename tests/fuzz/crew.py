"""Worker processes that judge chunks of inputs, and whoever watches them.

A worker has a timer of processor time for each input. That does not help where Python itself stands still, nor where
the process dies; so each worker keeps the number of its input in shared memory, and the watcher ends a worker whose
number rests too long, counts that input as failed, and lets another worker go on behind it."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import connection
from types import TracebackType
from typing import Any, Self

LIMIT = 20
"""Seconds of the processor that one input may take: a busy machine is no hang."""

STILL = 120.0
"""Seconds in which a worker must begin another input."""

LIFE = 20_000
"""Inputs of one worker, before another takes its place with empty caches."""

_context = multiprocessing.get_context("fork")


@dataclass
class Result:
    """A chunk, judged."""

    numbers: range
    outcomes: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, str]] = field(default_factory=list)


class Crew:
    """Workers with their chunks."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.end()

    def work(self, chunks: Iterator[range]) -> Iterator[Result]:
        """The results of chunks, in the order in which they are done."""
        while True:
            while len(self.workers) < self.jobs and (chunk := next(chunks, None)) is not None:
                self.workers.append(Worker(Result(chunk)))
            if not self.workers:
                return
            connection.wait([worker.pipe for worker in self.workers], timeout=1.0)
            for place, worker in enumerate(list(self.workers)):
                finished = worker.look()
                if finished is None:
                    continue
                yield finished
                following = next(chunks, None)
                self.workers[place : place + 1] = (
                    [worker.after(following)] if following is not None else [worker]
                )
            for worker in [worker for worker in self.workers if worker.idle]:
                self.workers.remove(worker)
                worker.end()  # it would wait for ever: those forked after it hold the other end of its pipe


class Worker:
    """One process, the chunk that it is at, and what was lost on the way."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.number = _context.Value("q", -1, lock=False)
        self.seen, self.since = -1, time.monotonic()
        self.judged = 0
        self.idle = False
        self._start()
        self._give(result.numbers)

    def _start(self) -> None:
        self.pipe, theirs = _context.Pipe()
        self.process = _context.Process(target=_serve, args=(theirs, self.number), daemon=True)
        self.process.start()
        theirs.close()

    def _give(self, numbers: range) -> None:
        self.since = time.monotonic()
        self.pipe.send((numbers.start, numbers.stop))

    def after(self, chunk: range) -> Worker:
        """The one that takes the next chunk: this one, until it is old."""
        if self.judged >= LIFE:
            self.end()
            return Worker(Result(chunk))
        self.idle = False
        self.result = Result(chunk)
        self._give(chunk)
        return self

    def look(self) -> Result | None:
        """The chunk, once it is done. An input that killed its worker, or stopped it, has failed."""
        if self.pipe.poll():
            with contextlib.suppress(EOFError, OSError):
                outcomes, failed = self.pipe.recv()
                self.result.outcomes += outcomes
                self.result.failed += failed
                self.judged += len(self.result.numbers)
                self.idle = True
                return self.result
            return self._lost(f"its process ended with {self._ended()}")
        if not self.process.is_alive():
            return self._lost(f"its process ended with {self._ended()}")
        now = self.number.value
        if now != self.seen:
            self.seen, self.since = now, time.monotonic()
        elif time.monotonic() - self.since > STILL:
            return self._lost(f"nothing for {STILL:g} s, not even the end of its time")
        return None

    def _lost(self, why: str) -> Result | None:
        """Another process goes on behind the input that was lost; those before it are judged again."""
        at = max(self.number.value, self.result.numbers.start)
        self.end()
        self.result.failed.append((at, why))
        self._start()
        self.pipe.send(
            (self.result.numbers.start, self.result.numbers.stop, *(n for n, _ in self.result.failed))
        )
        self.since = time.monotonic()
        return None

    def _ended(self) -> object:
        self.process.join(5)
        return self.process.exitcode

    def end(self) -> None:
        if self.process.is_alive():
            os.kill(self.process.pid or 0, signal.SIGKILL)
        self.process.join()
        self.pipe.close()


def _serve(pipe: Any, number: Any) -> None:
    """A worker: chunks come through the pipe, with inputs to leave out."""
    from tests.fuzz.examine import examine

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, _too_long)
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)
    while True:
        try:
            first, end, *lost = pipe.recv()
        except EOFError:
            return
        outcomes: Counter[str] = Counter()
        failed: list[tuple[int, str]] = []
        for each in range(first, end):
            if each in lost:
                continue
            number.value = each
            signal.setitimer(signal.ITIMER_PROF, LIMIT)
            try:
                outcomes[examine(each)] += 1
            except BaseException:
                failed.append((each, traceback.format_exc()))
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send((outcomes, failed))


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {LIMIT} s of the processor")
