"""Random numbers as a pure function of (seed, purpose, position): nothing to save, nothing global to
disturb."""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Iterator

import torch
from torch import Tensor

_MASK = (1 << 64) - 1


def mix(*parts: int | str) -> int:
    """A 63-bit seed from integers and words; nearby inputs give unrelated seeds (splitmix64 finaliser)."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        value = zlib.crc32(part.encode()) if isinstance(part, str) else part
        state = (state + value * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


class Stream:
    """Random numbers by counter: number n of a stream is a hash (SplitMix64) of the stream's key, `mix` of its
    parts, and n. Integer arithmetic alone, so that a stream holds the same numbers on every device; nothing of it
    waits for one."""

    def __init__(self, device: torch.device, *parts: int | str) -> None:
        self.device = device
        self._key = mix(*parts)
        self._drawn = 0

    def bits(self, *shape: int) -> Tensor:
        """The next numbers, uniform over 0 .. 2^63 - 1, int64."""
        count = math.prod(shape)
        state = torch.arange(self._drawn, self._drawn + count, device=self.device)
        self._drawn += count
        state = state * _signed(0x9E3779B97F4A7C15) + self._key
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            state = (state ^ _shifted(state, shift)) * _signed(factor)
        return _shifted(state ^ _shifted(state, 31), 1).view(shape)

    def integers(self, stop: int, *shape: int) -> Tensor:
        """Uniform over 0 .. stop - 1, int64; `stop` far below 2^63."""
        return self.bits(*shape) % stop

    def uniform(self, *shape: int) -> Tensor:
        """Uniform over [0, 1), float64."""
        return _shifted(self.bits(*shape), 10).double() * 2.0**-53


def _signed(value: int) -> int:
    """The 64 bits of a number as int64 holds them."""
    return value - (1 << 64) if value >> 63 else value


def _shifted(bits: Tensor, places: int) -> Tensor:
    """To the right, with zeros from the left: int64 itself would repeat its sign."""
    return (bits >> places) & (_MASK >> places)


@contextlib.contextmanager
def seeded(*parts: int | str) -> Iterator[None]:
    """Inside, torch's own CPU generator is seeded (for the initialisation of weights); after it, as
    before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(mix(*parts))
        yield
