"""What may be said of a device: the closed list of facts, each with its kind and unit. A leaf."""

from __future__ import annotations

from spakc.ir.types import BYTES, NUMBER, Unit
from spakc.record import record


@record
class Fact:
    """`kind` is the Python type of a value in base units: `int` for a count or bytes, `float` for a rate,
    `bool` for a capability, `str` for a word."""

    name: str
    kind: type
    meaning: str
    unit: Unit = NUMBER


_RATE = Unit(byte=1, second=-1)

FACTS: dict[str, Fact] = {
    fact.name: fact
    for fact in (
        Fact("arch", str, "the architecture to compile for: `sm_80`, `sm_90a`, …, or `host`"),
        Fact("kind", str, "`gpu` or `emulator`"),
        Fact("sms", int, "streaming multiprocessors"),
        Fact("smem_per_block", int, "shared memory that one block may use", BYTES),
        Fact("smem_per_sm", int, "shared memory of a multiprocessor", BYTES),
        Fact("registers_per_sm", int, "32-bit registers of a multiprocessor"),
        Fact("threads_per_sm", int, "threads resident on a multiprocessor"),
        Fact("cp_async", bool, "asynchronous copies from global to shared memory"),
        Fact("tma", bool, "the tensor memory accelerator"),
        Fact("wgmma", bool, "warpgroup matrix instructions"),
        Fact("tcgen05", bool, "fifth-generation tensor cores with tensor memory"),
        Fact("clusters", bool, "thread block clusters"),
        Fact("bandwidth", float, "bandwidth of the device memory", _RATE),
        Fact("l2", int, "size of the second-level cache", BYTES),
        Fact("memory", int, "size of the device memory", BYTES),
        Fact("clock", float, "boost clock", Unit(second=-1)),
        Fact("peak", float, "dense 16-bit tensor throughput", Unit(flop=1, second=-1)),
    )
}
"""`device.NAME` by name. A device need not state all of them; a law over one that is missing is undecided."""
