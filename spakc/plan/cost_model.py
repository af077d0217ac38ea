"""How long a launch takes, by arithmetic. It ranks configs and never makes one lawful: the compiler at
reference sizes, to decide what is built; the runtime at the sizes of a call, to decide what is launched.

Three limits, and the whole number of rounds in which blocks run: the tensor cores (or the multiply-add
units), the copies into shared memory, and the memory. Constants are rough and the same for all;
measurements are evidence and come first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from spakc.plan.launch import Config
from spakc.plan.parts import MOST, SHORTEST
from spakc.plan.resources import Resources
from spakc.plan.template import Template
from spakc.plan.terms import Amount, Term, ceil_div, floor_div, greatest, is_array, least
from spakc.record import record
from spakc.target import Target

L2_FACTOR = 3.0
"""Second-level cache bandwidth over that of the memory, per device."""

TMA_FACTOR = 4.45
"""The same where TMA copies whole tiles."""

STEP_LATENCY = 1e-6
"""Seconds from asking for a tile to having it under load. A ring of s slots asks s - 1 steps
ahead, so that a step takes at least this divided by s - 1."""

STEP_OVERHEAD = 5e-8
"""Seconds of barriers and address arithmetic in a step, while no product runs."""

MMA_SHARE = 0.65
"""What mma of attention reaches of the tensor rate where the architecture has wider instructions (wgmma, tcgen05)."""

MMA_PRODUCTS = 0.45
"""The same of products (263 to 291 TFLOP/s of 989 at large ones on an H100, where tiles of 128 x 128 reach 0.8 of this
rate; small ones that the model gave 7 us took 10 and 11)."""

PATH, ALL = 0.811, 0.491
"""Of wgmma: the time of the busiest multiprocessor at the full tensor rate counts by the first, and by the
second that of all products spread evenly over the device. Power is what the whole device may draw, so that the
clock falls with the work of all, also while few wait for one."""

NARROW = 26
"""A wgmma of n columns takes as long as n + this many: it reads the left operand, whatever n is."""

RAGGED = 1.26
"""How much longer TMA takes for rows of 128 bytes that lie across two lines of the cache."""

CLUSTER_RAGGED = 1.12
"""The same, where one of two blocks asks for a part of the tile and both receive it."""

ACROSS = {128: 0.0, 64: 0.5, 32: 1.7}
"""How much longer a wgmma takes that reads its right operand across rows of so many bytes."""

TMA_LATENCY = 1.44e-06
"""As STEP_LATENCY, where TMA copies whole tiles."""

SHALLOW = 0.000654
"""Share of a step that is lost where a ring of two slots runs empty, less with every further slot."""

WGMMA_STEP = 4.41e-10
"""Seconds of barriers in a step while no other warpgroup multiplies; half of it is lost where one does."""

CLUSTER_COST = 1
"""Factor of time for blocks that wait for each other's slots."""

CLUSTER_START = 1.3e-6
"""Seconds that a launch of clusters takes longer: their blocks begin and end together."""

STORED_ACCUMULATOR = 3.41e-09
"""Seconds in which a warpgroup converts and stores one accumulator of each thread."""

STORED_SLAB = 2.65e-07
"""Seconds in which a warpgroup hands one slab to TMA, besides."""

TILE = 2.72e-11
"""Seconds between the last product of a tile and the first of the next, besides what is stored."""

EXCHANGE = 7.75e-06
"""Seconds in which the blocks of a cluster meet for a sum and fill their rings anew."""

CLUSTER_BANDWIDTH = 1.93e10
"""Bytes in a second that a block reads of the shared memory of others."""

ADDED = 3e-6
"""Seconds of a launch that adds parts of sums, beside the bytes that lie between."""

MEMORY_SHARE = 1
"""Of the memory's bandwidth, where TMA moves each byte once."""

FMA_SHARE = 0.4
"""What a tiled product reaches of the multiply-add rate: every use of an operand reads shared memory."""

OVERLAP = 0.5
"""Share of the copies of keys and values that hides behind products where tiles are copied ahead."""

NAIVE_ATTENTION = 0.033
"""What attention by rows reaches of the multiply-add rate: its operands come from the first-level cache."""

NAIVE_WARPS, NAIVE_ELEMENT, NAIVE_KEY = 8, 6e-8, 3e-7
"""Warps of a block of it, and seconds of one for a row: for each element of queries and values, as often as its lanes
take keys, and for each key (27 us at 16 keys of 64 elements, 42 at 128 elements, however few rows there are)."""

ROWS_AT_ONCE = 1.3e-6
"""Seconds in which a warp computes rows that stay on chip, however many of them at once: two passes that wait for
memory, and the exchange of sums."""

MMA_ATTENTION = 0.45
"""What products of attention by mma reach of the rate of other products by mma: the softmax is computed in between."""

COPIES_BESIDE = 0.17
"""Of the products of attention by mma: what warps lose that issue copies, too, where TMA would do without (on an H100
`v3_tma` is 1.10 and 1.14 times as fast as `v3_pipelined` at rows of 64 elements, 1.21 and 1.24 at 128)."""

ATTENTION_PRODUCTS, ATTENTION_SCORES, ATTENTION_STEP = 0.893, 2.34e-7, 5.48e-7
"""Of a step of attention by wgmma: its products count by the first; seconds that 128 x 128 scores take besides, and
any step."""

ATTENTION_ENDS = 1.66
"""Steps that the beginning and the end of a tile of queries take besides."""

ATTENTION_TAIL = 0.29
"""Tiles for which multiprocessors wait at the end where a block is a tile and all tiles are alike."""

BLOCK_START = 2.1e-6
"""Seconds of a block of attention from its start to its first product and from the last to its end."""

GRADIENT_PRODUCTS = 0.55
"""Of a step of the gradient of attention by wgmma: what its products reach of the tensor rate."""

PACKED_BLOCK = 2.5e-6
"""Seconds in which a block of attention by `packed` copies its problems, computes them and stores what came out."""

LAUNCH = 1e-6
"""Seconds in which a kernel fills the device and drains it."""

PERSISTENT_LAUNCH = 1.5e-6
"""The same with barriers, tensor maps and a ring to fill first."""


@record
class Estimate:
    """Seconds of one launch, and what limits it (empty where that depends on the call, or calls are many)."""

    seconds: Amount
    limit: str


@record
class ProductShape:
    """`batch` products of rows x columns x depth, with elements of `element` bytes, on a device of so many
    multiprocessors (those of the target if not known). `ragged`: 1 for the left and the right operand if not all
    its rows in memory begin at multiples of 128 bytes, else 0. `across`: 1 if the rows of the right operand in memory
    run along rows of the output, 0 if along the depth."""

    rows: Amount
    columns: Amount
    depth: Amount
    element: int = 2
    batch: Amount = 1
    sms: Amount | None = None
    ragged: tuple[Amount, Amount] = (0, 0)
    across: Amount = 0

    def __str__(self) -> str:
        how = (", rows out of step" if self.ragged == (1, 1) else "") + (
            ", across" if self.across == 1 else ""
        )
        return f"{self.rows} x {self.columns} x {self.depth}{how}"

    @property
    def moved(self) -> Amount:
        """Bytes of both operands and of the output."""
        rows, columns, depth = self.rows, self.columns, self.depth
        return self.batch * (rows * depth + columns * depth + rows * columns) * self.element

    @property
    def handed_on(self) -> Amount:
        """Bytes that a left operand of this size moves to memory and back."""
        return 2 * self.rows * self.depth * self.element

    def multiprocessors(self, target: Target) -> Amount:
        return target.sms if self.sms is None else self.sms


@record
class AttentionShape:
    """`batch` times products of `rows` that stay with `others` that pass, as if every key counted for every query:
    what a mask leaves out is left out whatever computes it. A row and one of the others take `columns`
    multiplications: depth and depth of the values in the forward pass. `masked` is 1 if a mask makes rows unlike
    each other, else 0."""

    batch: Amount
    rows: Amount
    others: Amount
    columns: Amount
    sms: Amount | None = None
    masked: Amount = 0


def product_time(
    template: Template, config: Config, resources: Resources, shape: ProductShape, target: Target
) -> Estimate:
    """Of a product by one of its templates. Seconds are infinite where a block does not fit."""
    resident = target.resident_blocks(resources.threads, resources.registers, resources.shared_bytes)
    if resident == 0:
        return Estimate(math.inf, "a block does not fit")
    if template.in_parts:
        return _time_in_parts(config, shape, target)
    if "tile_m" not in config:
        return _naive_time(config, shape, target)
    if "consumers" in config:
        return _persistent_time(config, shape, target)
    return _tiled_time(template, config, resources, resident, shape, target)


def rows_time(config: Config, resources: Resources, shape: ProductShape, target: Target) -> Amount:
    """Of the rows that each block computes before it multiplies them."""
    resident = max(1, target.resident_blocks(resources.threads, resources.registers, resources.shared_bytes))
    tile_m, lanes, wide = (_number(config, knob) for knob in ("tile_m", "lanes", "wide"))
    blocks = ceil_div(shape.rows, tile_m) * ceil_div(shape.columns, _number(config, "tile_n") * wide)
    rounds = ceil_div(blocks, shape.multiprocessors(target) * resident)
    return rounds * (math.ceil(tile_m * lanes / resources.threads) * ROWS_AT_ONCE)


def attention_time(
    template: Template, config: Config, resources: Resources, shape: AttentionShape, target: Target
) -> Estimate:
    """Of attention by one of its templates. Seconds are infinite where a block does not fit."""
    resident = target.resident_blocks(resources.threads, resources.registers, resources.shared_bytes)
    if resident == 0:
        return Estimate(math.inf, "a block does not fit")
    sms = target.sms if shape.sms is None else shape.sms
    if not template.tensor_cores:
        flops = 2.0 * shape.batch * shape.rows * shape.others * shape.columns
        loads = flops / (NAIVE_ATTENTION * target.fma_flops)
        return Estimate(LAUNCH + greatest((loads, _naive_rows(config, resident, shape, sms))), "loads")
    if template.family == "attention_gradient" and "consumers" in config:
        return _keys_of_gradient(config, shape, target)
    if "consumers" in config:
        return _warp_specialized_attention(config, shape, target)
    if "length" in config:
        return _packed_attention(config, resident, shape, sms, target)
    own, other = ("tile_own", "tile_other") if "tile_own" in config else ("tile_q", "tile_k")
    tile, step_rows = _number(config, own), _number(config, other)
    tiles = shape.batch * ceil_div(shape.rows, tile)
    rounds = ceil_div(tiles, sms * resident)
    together = least((resident, ceil_div(tiles, sms)))
    share = MMA_SHARE if target.has("wgmma") or target.has("tcgen05") else 1.0
    rate = share * target.tensor_flops / target.sms
    warps = least((1.0, together * (resources.threads / 256)))
    if own == "tile_q":
        rate *= MMA_ATTENTION
        if target.has("tma") and not target.has("wgmma") and "tma" not in template.needs:
            rate *= 1 / (1 + COPIES_BESIDE)
    products = together * shape.columns * (2.0 * tile * step_rows / rate) / (warps * 0.6 + 0.4)
    copies = together * shape.columns * (2.0 * step_rows / (L2_FACTOR * target.bandwidth / target.sms))
    if "stages" in config:
        waiting: Amount = copies * (1 - OVERLAP)
    else:  # nothing runs ahead: only other blocks work while one waits
        waiting = copies + STEP_LATENCY / together
    step = products + waiting + STEP_OVERHEAD
    _, limit = _slowest({"tensor cores": products, "copies from the cache": waiting})
    steps = ceil_div(shape.others, step_rows) * step
    return Estimate(LAUNCH + rounds * (steps + together * BLOCK_START), limit)


def _naive_rows(config: Config, resident: int, shape: AttentionShape, sms: Amount) -> Amount:
    """Of warps that compute one row after the other, whatever else the device does: a warp waits for each load."""
    tile = _number(config, "tile_q")
    rounds = ceil_div(shape.batch * ceil_div(shape.rows, tile), sms * resident)
    rows = ceil_div(least((shape.rows, tile)), NAIVE_WARPS)
    return (
        rounds
        * rows
        * (ceil_div(shape.others, 32) * shape.columns * NAIVE_ELEMENT + shape.others * NAIVE_KEY)
    )


def _packed_attention(
    config: Config, resident: int, shape: AttentionShape, sms: Amount, target: Target
) -> Estimate:
    """Of blocks that hold whole problems, so that all is moved once. Larger problems, which no call brings here, count
    as if they were cut into such."""
    rows = _number(config, "length")
    blocks = ceil_div(shape.batch, _number(config, "warps") * 16 // rows)
    pieces = ceil_div(shape.rows, rows) * ceil_div(shape.others, rows)
    moved = shape.batch * (shape.rows + shape.others) * shape.columns * 2.0
    seconds, limit = _slowest(
        {
            "latency of copies": ceil_div(blocks, sms * resident) * PACKED_BLOCK,
            "memory": moved / target.bandwidth,
        }
    )
    return Estimate(LAUNCH + pieces * seconds, limit)


def _warp_specialized_attention(config: Config, shape: AttentionShape, target: Target) -> Estimate:
    """Of blocks, one on each multiprocessor, whose products overlap with softmax. Under a mask about half of all
    tiles count."""
    sms = target.sms if shape.sms is None else shape.sms
    rows, others = _number(config, "tile_q"), _number(config, "tile_k")
    products = shape.columns * (2.0 * rows * others / (target.tensor_flops / target.sms))
    step = products * ATTENTION_PRODUCTS + (rows * others / 128**2 * ATTENTION_SCORES + ATTENTION_STEP)
    half = 0.5 * shape.masked
    steps = ceil_div(shape.others, others) * (1 + -1 * half) + half
    tile = (steps + ATTENTION_ENDS) * step
    tiles = shape.batch * ceil_div(shape.rows, 64) * (64 / rows)  # warpgroups without rows take no time
    if config["grid"] == "persistent":
        seconds = ceil_div(tiles, sms) * tile
    else:
        waiting = ATTENTION_TAIL * (1 + -1 * shape.masked)
        seconds = (greatest((1.0, tiles / sms)) + waiting) * (tile + BLOCK_START)
    return Estimate(PERSISTENT_LAUNCH + seconds, "tensor cores")


def _keys_of_gradient(config: Config, shape: AttentionShape, target: Target) -> Estimate:
    """Of blocks of keys, one on each multiprocessor, that queries pass by."""
    sms = target.sms if shape.sms is None else shape.sms
    rows, others = _number(config, "tile_k"), _number(config, "tile_q")
    step = shape.columns * (2.0 * rows * others / (target.tensor_flops / target.sms)) / GRADIENT_PRODUCTS
    tile = ceil_div(shape.others, others) * step
    tiles = shape.batch * ceil_div(shape.rows, rows)
    rounds = ceil_div(tiles, sms)
    if config["grid"] == "persistent":
        seconds = rounds * tile
    else:
        seconds = rounds * (tile + BLOCK_START)
    return Estimate(PERSISTENT_LAUNCH + seconds, "tensor cores")


def _tiled_time(
    template: Template,
    config: Config,
    resources: Resources,
    resident: int,
    shape: ProductShape,
    target: Target,
) -> Estimate:
    """Of blocks that compute a tile each and leave."""
    sms = shape.multiprocessors(target)
    tile_m, tile_n, tile_k = (_number(config, knob) for knob in ("tile_m", "tile_n", "tile_k"))
    tiles = shape.batch * ceil_div(shape.rows, tile_m) * ceil_div(shape.columns, tile_n)
    rounds = ceil_div(tiles, sms * resident)
    together = least((resident, ceil_div(tiles, sms)))
    share = MMA_PRODUCTS if target.has("wgmma") or target.has("tcgen05") else 1.0
    rate = (
        share * target.tensor_flops if template.tensor_cores else FMA_SHARE * target.fma_flops
    ) / target.sms
    warps = least((1.0, together * (resources.threads / 256)))
    reuse = tile_m * tile_n / (tile_m + tile_n)
    efficiency = (warps * 0.6 + 0.4) * (reuse / (reuse + 16))
    products = together * (2.0 * tile_m * tile_n * tile_k / rate) / efficiency
    loads = (tile_m + tile_n) * tile_k * shape.element
    copies = together * (loads / (L2_FACTOR * target.bandwidth / target.sms))
    limits = {
        "tensor cores" if template.tensor_cores else "multiply-add units": products,
        "copies from the cache": copies,
    }
    if "stages" in config:
        limits["latency of copies"] = STEP_LATENCY / (_number(config, "stages") - 1)
    step, limit = _slowest(limits)
    step = step + STEP_OVERHEAD
    if "stages" not in config:  # nothing runs ahead: only other blocks work while one waits
        step = step + STEP_LATENCY / together
    stored = rounds * together * (tile_m * tile_n * shape.element / (target.bandwidth / target.sms))
    total = rounds * ceil_div(shape.depth, tile_k) * step + stored
    return _launched(LAUNCH, total, limit, shape, target)


def _persistent_time(config: Config, shape: ProductShape, target: Target) -> Estimate:
    """Of blocks that stay, one on each multiprocessor, whose ring stays full from tile to tile."""
    tile_m, tile_n, tile_k = (_number(config, knob) for knob in ("tile_m", "tile_n", "tile_k"))
    consumers, cluster, parts = (_number(config, knob) for knob in ("consumers", "cluster", "split_k"))
    in_turns = config["mode"] == "pingpong"
    owners = 1 if in_turns else consumers
    tiles = shape.batch * ceil_div(shape.rows, tile_m * cluster) * ceil_div(shape.columns, tile_n)
    rounds = ceil_div(tiles, _places(shape.multiprocessors(target), cluster * parts))
    steps = ceil_div(ceil_div(shape.depth, tile_k), parts)

    slow = ACROSS[max(32, _slab_span(tile_n * shape.element))]
    products = 2.0 * tile_m * (tile_n + NARROW) * tile_k / target.tensor_flops * (1 + slow * shape.across)
    ahead = _number(config, "stages") - 1
    alone = in_turns or consumers == 1
    left = 1 + RAGGED * shape.ragged[0]
    right = 1 + (RAGGED if cluster == 1 else CLUSTER_RAGGED) * shape.ragged[1]
    loads = (tile_m * left + tile_n / cluster * right) * tile_k * shape.element
    step, limit = _slowest(
        {
            "tensor cores": products * target.sms * (1 + SHALLOW / ahead) + WGMMA_STEP / (1 if alone else 2),
            "copies from the cache": loads / (TMA_FACTOR * target.bandwidth / target.sms),
            "latency of copies": TMA_LATENCY / ahead,
        }
    )
    main = steps * step
    share = tile_n // parts
    slabs = tile_m // (64 * owners) * math.ceil(share * shape.element / _slab_span(share * shape.element))
    stored = STORED_ACCUMULATOR * tile_m * share / (128 * owners) + STORED_SLAB * slabs
    if parts > 1:
        stored += EXCHANGE + tile_m * tile_n * 4 * (parts - 1) / parts / CLUSTER_BANDWIDTH
    if in_turns:  # one stores while the other multiplies
        path = greatest((rounds * main + stored, ceil_div(rounds, 2) * (main + stored))) + TILE
    else:
        path = rounds * (main + stored + TILE)
    everything = tiles * (cluster * parts) * steps * products
    total = PATH * path + ALL * everything
    seconds = total * CLUSTER_COST if cluster > 1 else total
    begin = PERSISTENT_LAUNCH + (CLUSTER_START if cluster * parts > 1 else 0.0)
    return _launched(begin, seconds, limit, shape, target, MEMORY_SHARE)


def parts_of(config: Config, shape: ProductShape, target: Target) -> Amount:
    """How many parts the sums of a product have, as `in_parts` of the plan says."""
    tile_m, tile_n, tile_k, cluster = (
        _number(config, knob) for knob in ("tile_m", "tile_n", "tile_k", "cluster")
    )
    tiles = greatest((ceil_div(shape.rows, tile_m * cluster) * ceil_div(shape.columns, tile_n), 1))
    places = floor_div(shape.multiprocessors(target), cluster)
    most = least((floor_div(places, tiles), floor_div(ceil_div(shape.depth, tile_k), SHORTEST), MOST))
    return greatest((most, 1))


def _time_in_parts(config: Config, shape: ProductShape, target: Target) -> Estimate:
    """Of both launches. What the first one leaves for the second is in the cache if it is little."""
    parts = parts_of(config, shape, target)
    part = replace(shape, depth=ceil_div(shape.depth, parts), batch=parts)
    found = _persistent_time(config, part, target)
    left = parts * (shape.rows * shape.columns) * 4
    return replace(found, seconds=found.seconds + ADDED + left / target.bandwidth * 2)


def _places(sms: Amount, blocks: int) -> Amount:
    """How many clusters of so many blocks run at once (see `places` of the template)."""
    return sms / blocks if blocks <= 2 else ceil_div(sms + -19, blocks)


def _slab_span(row_bytes: int) -> int:
    return next(span for span in (128, 64, 32, 16) if row_bytes % span == 0)


def _launched(
    begin: float, total: Amount, limit: str, shape: ProductShape, target: Target, share: float = 1.0
) -> Estimate:
    seconds, slowest = _slowest({limit: total, "memory": shape.moved / (share * target.bandwidth)})
    return Estimate(begin + seconds, slowest)


def _naive_time(config: Config, shape: ProductShape, target: Target) -> Estimate:
    """Every operand comes from the first-level cache for every product: a few percent of the units' rate, and
    fewer where a warp reads several short pieces of rows instead of one long one."""
    flops = 2.0 * shape.batch * shape.rows * shape.columns * shape.depth
    block = _number(config, "block")
    share = 0.05 * min(1.0, block / 32 + 0.4)
    blocks = shape.batch * ceil_div(shape.rows, block) * ceil_div(shape.columns, block)
    filled = least((1.0, blocks / shape.multiprocessors(target)))
    return Estimate(LAUNCH + flops / (share * target.fma_flops * filled), "loads")


def _slowest(limits: Mapping[str, Amount]) -> tuple[Amount, str]:
    """The greatest of some times, and its name if that is known now."""
    seconds = greatest(tuple(limits.values()))
    if isinstance(seconds, Term) or is_array(seconds):
        return seconds, ""
    return seconds, max(limits, key=lambda name: limits[name])  # type: ignore[arg-type,return-value]


def _number(config: Mapping[str, object], knob: str) -> int:
    value = config[knob]
    assert isinstance(value, int)
    return value
