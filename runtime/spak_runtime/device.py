"""What the runtime knows of the device in front of it, under the names that `.spak` files use for facts."""

from __future__ import annotations

import functools

import torch

from spak_runtime.choose import Target


def arch_names(major: int, minor: int) -> tuple[str, ...]:
    """The architectures whose cubins run on a device of that compute capability, the most specific first.

    An `a` form has the instructions of exactly this device (wgmma on sm_90a), an `f` form those of its
    family. A variant that is lawful on another number is not taken, though its cubin might load: its laws
    were proved for other limits.
    """
    number = 10 * major + minor
    if major < 9:
        return (f"sm_{number}",)
    if major == 9:
        return (f"sm_{number}a", f"sm_{number}")
    return (f"sm_{number}a", f"sm_{number}f", f"sm_{number}")


def may_overlap(arch: str) -> bool:
    """Whether a launch can begin before the one before it has ended (programmatic dependent launch, from sm_90 on)."""
    return int(arch.removeprefix("sm_").rstrip("af")) >= 90


_FACTS = {
    "sms": "multi_processor_count",
    "smem_per_block": "shared_memory_per_block_optin",
    "smem_per_sm": "shared_memory_per_multiprocessor",
    "registers_per_sm": "regs_per_multiprocessor",
    "threads_per_sm": "max_threads_per_multi_processor",
    "l2": "L2_cache_size",
}
"""Fact to torch's property; a property that this torch lacks leaves the fact to the file."""


@functools.cache
def target_of(index: int) -> Target:
    """CUDA device `index`: its name, architectures, and the facts that the driver reports (sizes in
    bytes)."""
    properties = torch.cuda.get_device_properties(index)
    archs = arch_names(properties.major, properties.minor)
    facts = {fact: getattr(properties, name) for fact, name in _FACTS.items() if hasattr(properties, name)}
    return Target(properties.name, archs, {"arch": archs[0], **facts})
