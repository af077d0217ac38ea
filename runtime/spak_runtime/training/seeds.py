"""Random numbers as a pure function of (seed, purpose, position): nothing to save, nothing global to
disturb."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator

import torch

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


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded by `mix`. The data are drawn on the host so that a seed means the same on every
    device."""
    return torch.Generator().manual_seed(mix(*parts))


@contextlib.contextmanager
def seeded(*parts: int | str) -> Iterator[None]:
    """Inside, torch's own CPU generator is seeded (for the initialisation of weights); after it, as
    before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(mix(*parts))
        yield
