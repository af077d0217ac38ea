"""Architectures: what the documentation of each GPU generation says, as a type that answers questions. A
leaf."""

from __future__ import annotations

from spakc.record import record


@record
class Target:
    """One architecture that kernels are compiled for. Sizes in bytes and 32-bit registers.

    `smem_per_block` is what a block may have after opting in; 1 KiB of every block's share of `smem_per_sm`
    is the system's. `features` are instructions by the names that device facts use. `sms` and the rates are
    those of a typical device, for ranking only: FLOP per second of dense 16-bit products, bytes per second.
    """

    arch: str
    smem_per_block: int
    smem_per_sm: int
    threads_per_sm: int
    blocks_per_sm: int
    features: frozenset[str]
    sms: int
    tensor_flops: float
    fma_flops: float
    bandwidth: float
    registers_per_sm: int = 65_536
    registers_per_thread: int = 255
    threads_per_block: int = 1024

    @property
    def capability(self) -> int:
        """80, 90, 120 …: the number without its suffix."""
        return int("".join(c for c in self.arch if c.isdigit()))

    def has(self, feature: str) -> bool:
        """Whether the instructions of this feature exist: cp_async, mma, tma, wgmma, tcgen05, clusters, …"""
        return feature in self.features

    def resident_blocks(self, threads: int, registers: int, shared_bytes: int) -> int:
        """How many blocks of this size one multiprocessor holds at once; 0 if not even one."""
        if (
            threads > self.threads_per_block
            or registers > self.registers_per_thread
            or shared_bytes > self.smem_per_block
        ):
            return 0
        warps = -(-threads // 32)
        registers_a_warp = -(-registers * 32 // 256) * 256
        return min(
            self.blocks_per_sm,
            self.threads_per_sm // (warps * 32),
            self.registers_per_sm // (registers_a_warp * warps),
            self.smem_per_sm // (shared_bytes + 1024),
        )


_MMA = frozenset({"cp_async", "mma", "ldmatrix"})
_BULK = _MMA | {"tma", "clusters", "stmatrix"}

TARGETS: dict[str, Target] = {
    target.arch: target
    for target in (
        Target("sm_80", 166_912, 167_936, 2048, 32, _MMA, 108, 312e12, 19.5e12, 2.04e12),
        Target("sm_86", 101_376, 102_400, 1536, 16, _MMA, 84, 142e12, 35.6e12, 0.94e12),
        Target("sm_89", 101_376, 102_400, 1536, 24, _MMA, 128, 165e12, 82.6e12, 1.01e12),
        Target(
            "sm_90a", 232_448, 233_472, 2048, 32, _BULK | {"wgmma", "setmaxnreg"}, 132, 989e12, 67e12, 3.35e12
        ),
        Target(
            "sm_100a",
            232_448,
            233_472,
            2048,
            32,
            _BULK | {"tcgen05", "setmaxnreg"},
            148,
            2250e12,
            75e12,
            8e12,
        ),
        Target(
            "sm_103a",
            232_448,
            233_472,
            2048,
            32,
            _BULK | {"tcgen05", "setmaxnreg"},
            148,
            2500e12,
            75e12,
            8e12,
        ),
        Target("sm_120a", 101_376, 102_400, 1536, 24, _BULK | {"setmaxnreg"}, 48, 72e12, 31e12, 0.67e12),
    )
}
"""By architecture. The `a` forms have the instructions that exist on one generation only."""


def target(arch: str) -> Target | None:
    """The architecture of this name, or None if no kernel can be compiled for it (`host`)."""
    return TARGETS.get(arch)
