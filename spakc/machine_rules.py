"""The order of instructions that no selected variant's machine code may have, where the emulator is blind. Needs no
GPU. What the device compiler's report may not say is in `spak_runtime.machine_rules`: the runtime judges it, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spak_runtime.disassemble import Disassembly


def barriers_between_products(instructions: Sequence[str]) -> int:
    """How many MEMBAR.ALL.GPU stand between the first and the last HGMMA of a listing in program order.

    One of them waits, at every step of a loop, until all of a thread's accesses have reached the device; the
    emulator treats a fence of that scope and one of a block alike.
    """
    products = [i for i, name in enumerate(instructions) if name.split(".", 1)[0] == "HGMMA"]
    inside = instructions[products[0] : products[-1]] if products else ()
    return sum(1 for name in inside if name.startswith("MEMBAR") and name.endswith("ALL.GPU"))


def exponentials_after_products(code: Disassembly) -> tuple[int, int]:
    """How many exponentials stand between a wait that leaves a product running and the wait for that one too, and
    how many follow before the next product.

    A kernel that waits so wants to compute its softmax while the tensor cores multiply. The device compiler is
    free to move it behind the second wait, and does where nothing holds it."""
    between = after = 0
    place = ""
    for name, operands in zip(code.instructions, code.operands, strict=True):
        if name.startswith("WARPGROUP.DEPBAR"):
            pending = not operands.endswith("0x0")
            place = "between" if pending else "after" if place == "between" else ""
        elif name.startswith("HGMMA"):
            place = ""
        elif name.startswith("MUFU.EX2"):
            between += place == "between"
            after += place == "after"
    return between, after


def broken_order(code: Disassembly) -> Iterator[str]:
    """Each rule about the order of instructions that a listing breaks, in words."""
    barriers = barriers_between_products(code.instructions)
    if barriers:
        yield (
            f"{barriers} MEMBAR.ALL.GPU between two HGMMA: every step waits until its accesses have reached the "
            "whole device"
        )
    between, after = exponentials_after_products(code)
    if after > between:
        yield (
            f"{after} of {between + after} exponentials behind the wait for the product that they were to overlap "
            "with: the device compiler moved the softmax there"
        )
