"""How long a launch takes, by arithmetic. It ranks configs and never makes one lawful.

Three limits, and the whole number of rounds in which blocks run: the tensor cores (or the multiply-add
units), the copies into shared memory, and the memory. Constants are rough and the same for all;
measurements are evidence and come first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from spakc.plan.launch import Config
from spakc.plan.resources import Resources
from spakc.plan.template import Template
from spakc.target import Target

L2_FACTOR = 3.0
"""Second-level cache bandwidth over that of the memory, per device."""

STEP_LATENCY = 1e-6
"""Seconds from asking for a tile to having it under load. A ring of s slots asks s - 1 steps
ahead, so that a step takes at least this divided by s - 1."""

STEP_OVERHEAD = 5e-8
"""Seconds of barriers and address arithmetic in a step, while no product runs."""

MMA_SHARE = 0.65
"""What mma reaches of the tensor rate where the architecture has wider instructions (wgmma, tcgen05)."""

FMA_SHARE = 0.4
"""What a tiled product reaches of the multiply-add rate: every use of an operand reads shared memory."""

LAUNCH = 1e-6
"""Seconds in which a kernel fills the device and drains it."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds of one launch, and what limits it."""

    seconds: float
    limit: str


@dataclass(frozen=True, slots=True)
class ProductShape:
    """One product of rows x columns x depth, with elements of `element` bytes."""

    rows: int
    columns: int
    depth: int
    element: int = 2

    def __str__(self) -> str:
        return f"{self.rows} x {self.columns} x {self.depth}"


def product_time(
    template: Template, config: Config, resources: Resources, shape: ProductShape, target: Target
) -> Estimate:
    """Of a product by one of its templates. Seconds are infinite where a block does not fit."""
    resident = target.resident_blocks(resources.threads, resources.registers, resources.shared_bytes)
    if resident == 0:
        return Estimate(math.inf, "a block does not fit")
    if "tile_m" not in config:
        return _naive_time(config, shape, target)
    tile_m, tile_n, tile_k = (_number(config, knob) for knob in ("tile_m", "tile_n", "tile_k"))
    tiles = math.ceil(shape.rows / tile_m) * math.ceil(shape.columns / tile_n)
    rounds = math.ceil(tiles / (target.sms * resident))
    together = min(resident, math.ceil(tiles / target.sms))
    step, limit = _step_time(template, config, together, resources.threads, shape.element, target)
    output = rounds * together * tile_m * tile_n * shape.element / (target.bandwidth / target.sms)
    memory = (shape.rows + shape.columns) * shape.depth * shape.element / target.bandwidth
    total = rounds * math.ceil(shape.depth / tile_k) * step + output
    if memory > total:
        return Estimate(LAUNCH + memory, "memory")
    return Estimate(LAUNCH + total, limit)


ATTENTION_KEYS, ATTENTION_DEPTH = 4096, 128
"""The shape at which ways to compute attention are ranked: one row of queries for each multiprocessor and
tile, every key counts."""

OVERLAP = 0.5
"""Share of the exponentials and copies that hides behind products where tiles are copied ahead."""


def attention_time(template: Template, config: Config, resources: Resources, target: Target) -> Estimate:
    """Of as many tiles of queries as fill the device, against all keys. Seconds are infinite where a block
    does not fit."""
    resident = target.resident_blocks(resources.threads, resources.registers, resources.shared_bytes)
    if resident == 0:
        return Estimate(math.inf, "a block does not fit")
    rows = target.sms * 128
    flops = 4.0 * rows * ATTENTION_KEYS * ATTENTION_DEPTH
    if not template.tensor_cores:
        return Estimate(LAUNCH + 1.5 * flops / (0.05 * target.fma_flops), "loads")
    share = MMA_SHARE if target.has("wgmma") or target.has("tcgen05") else 1.0
    warps = min(1.0, resources.threads * resident / 256)
    products = flops / (share * target.tensor_flops * (0.4 + 0.6 * warps))
    steps = ATTENTION_KEYS / _number(config, "tile_k")
    ahead = "stages" in config
    copies = 2.0 * rows * ATTENTION_KEYS * ATTENTION_DEPTH * 2 / _number(config, "tile_q")
    moved = copies / (L2_FACTOR * target.bandwidth)
    waiting = moved * (1 - OVERLAP) if ahead else moved + steps * STEP_LATENCY / resident
    limit = "tensor cores" if products > waiting else "copies of tiles"
    return Estimate(LAUNCH + products + waiting + steps * STEP_OVERHEAD, limit)


def _step_time(
    template: Template, config: Config, together: int, threads: int, element: int, target: Target
) -> tuple[float, str]:
    """Seconds in which `together` blocks of one multiprocessor each do one step, and what limits them."""
    tile_m, tile_n, tile_k = (_number(config, knob) for knob in ("tile_m", "tile_n", "tile_k"))
    share = MMA_SHARE if target.has("wgmma") or target.has("tcgen05") else 1.0
    rate = share * target.tensor_flops if template.tensor_cores else FMA_SHARE * target.fma_flops
    rate *= _efficiency(threads * together, tile_m, tile_n) / target.sms
    products = together * 2.0 * tile_m * tile_n * tile_k / rate
    loads = together * (tile_m + tile_n) * tile_k * element
    copies = loads / (L2_FACTOR * target.bandwidth / target.sms)
    busy = max(products, copies)
    unit = "tensor cores" if template.tensor_cores else "multiply-add units"
    limit = unit if products >= copies else "copies from the cache"
    if "stages" not in config:  # nothing runs ahead: only other blocks work while one waits
        return busy + STEP_LATENCY / together + STEP_OVERHEAD, limit
    waiting = STEP_LATENCY / (_number(config, "stages") - 1)
    return max(busy, waiting) + STEP_OVERHEAD, "latency of copies" if waiting > busy else limit


def _naive_time(config: Config, shape: ProductShape, target: Target) -> Estimate:
    """Every operand comes from the first-level cache for every product: a few percent of the units' rate, and
    fewer where a warp reads several short pieces of rows instead of one long one."""
    flops = 2.0 * shape.rows * shape.columns * shape.depth
    block = _number(config, "block")
    share = 0.05 * min(1.0, block / 32 + 0.4)
    filled = min(1.0, math.ceil(shape.rows / block) * math.ceil(shape.columns / block) / target.sms)
    return Estimate(LAUNCH + flops / (share * filled * target.fma_flops), "loads")


def _efficiency(threads: int, tile_m: int, tile_n: int) -> float:
    """Share of the tensor rate that a multiprocessor reaches: eight warps fill it, and large warp tiles
    read less shared memory for each product."""
    warps = min(1.0, threads / 256)
    reuse = tile_m * tile_n / (tile_m + tile_n)
    return (0.4 + 0.6 * warps) * reuse / (reuse + 16)


def _number(config: Mapping[str, object], knob: str) -> int:
    value = config[knob]
    assert isinstance(value, int)
    return value
