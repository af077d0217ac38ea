"""What a block takes, estimated before anything is compiled, and why an architecture cannot hold it."""

from __future__ import annotations

from spakc.record import record
from spakc.target import Target


@record
class Resources:
    """Per block: threads, bytes of shared memory; per thread: 32-bit registers (an estimate)."""

    threads: int
    registers: int
    shared_bytes: int


def refusal(resources: Resources, target: Target) -> str | None:
    """Why one block does not fit on a multiprocessor of the target, or None if it does."""
    if resources.threads > target.threads_per_block:
        return f"{resources.threads} threads, and a block has at most {target.threads_per_block}"
    if resources.shared_bytes > target.smem_per_block:
        return (
            f"{resources.shared_bytes} bytes of shared memory, "
            f"and a block on {target.arch} has at most {target.smem_per_block}"
        )
    if resources.registers > target.registers_per_thread:
        return (
            f"about {resources.registers} registers a thread, and there are {target.registers_per_thread}: "
            "values would spill to memory"
        )
    if resources.registers * resources.threads > target.registers_per_sm:
        return (
            f"about {resources.registers * resources.threads} registers, "
            f"and a multiprocessor has {target.registers_per_sm}"
        )
    return None
