"""Element types: the words of a manifest and torch's dtypes."""

from __future__ import annotations

import torch

TORCH: dict[str, torch.dtype] = {
    "bf16": torch.bfloat16,
    "f16": torch.float16,
    "f32": torch.float32,
    "f64": torch.float64,
    "int32": torch.int32,
    "int64": torch.int64,
    "bool": torch.bool,
}
WORDS: dict[torch.dtype, str] = {dtype: word for word, dtype in TORCH.items()}
SIZES: dict[str, int] = {word: dtype.itemsize for word, dtype in TORCH.items()}


def word_of(dtype: torch.dtype) -> str:
    """`bf16` for torch.bfloat16; the torch name for what no manifest can name."""
    return WORDS.get(dtype, str(dtype).removeprefix("torch."))
