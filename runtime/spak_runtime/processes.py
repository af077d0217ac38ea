"""Processes beside this one, and an interrupt (Ctrl-C), which a terminal sends to all of them at once.

Whoever started a process ends it. One that was interrupted by itself would print where it was; and where a compiler
that it waits for was, it would take that for a finding."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def spared() -> Iterator[None]:
    """What is started inside, and what that starts, never sees an interrupt. One that comes meanwhile reaches this
    thread afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """This process ends when the one that started it does: it would write into folders that a second start writes
    into."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
