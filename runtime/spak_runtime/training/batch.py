"""What a training step and an evaluation eat, and the vocabulary both share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

END = "<end>"
PAD = "<pad>"


@dataclass(frozen=True, slots=True)
class Batch:
    """`inputs`, `targets` [B, T] int64: targets[b, t] is the token that follows inputs[b, t]. `mask` [B, T]
    float32 is 1 where the target counts towards the loss."""

    inputs: Tensor
    targets: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> Batch:
        move = device.type != "cpu"
        return (
            Batch(*(part.to(device, non_blocking=True) for part in (self.inputs, self.targets, self.mask)))
            if move
            else self
        )


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens by number: single characters, then `<end>` and `<pad>` where documents end."""

    tokens: tuple[str, ...]

    def encode(self, text: str) -> list[int]:
        """Raises KeyError with a character that is no token."""
        number = {token: index for index, token in enumerate(self.tokens)}
        return [number[char] for char in text]

    def decode(self, ids: Iterable[int]) -> str:
        """The text with its end token, if any; padding is left out."""
        return "".join(self.tokens[i] for i in ids if self.tokens[i] != PAD)

    def number(self, token: str) -> int:
        return self.tokens.index(token)

    def __len__(self) -> int:
        return len(self.tokens)
