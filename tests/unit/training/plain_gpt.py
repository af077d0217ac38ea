"""A character GPT as one writes it by hand in PyTorch, and its training: what the product's is held against. Nothing of
the compiler or of its runtime is used; weights come from outside, so that both begin alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.projection = nn.Linear(width, width, bias=False)
        self.before_mlp = nn.LayerNorm(width, bias=False)
        self.widen = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.before_attention(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = turned(qkv[0], turns), turned(qkv[1], turns), qkv[2]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.projection(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.narrow(F.gelu(self.widen(self.before_mlp(x))))


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Rotary positions: the pairs (i, i + D/2) as complex numbers, times those of their places."""
    first, second = x.float().chunk(2, -1)
    pairs = torch.view_as_real(torch.complex(first.contiguous(), second.contiguous()) * turns)
    return torch.cat((pairs[..., 0], pairs[..., 1]), -1).to(x.dtype)


class PlainGPT(nn.Module):
    def __init__(self, vocab: int, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.half = width // heads // 2
        self.embedding = nn.Embedding(vocab, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.last = nn.LayerNorm(width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        device = tokens.device
        frequencies = 10_000.0 ** (-torch.arange(self.half, device=device) / self.half)
        angles = torch.outer(torch.arange(tokens.shape[1], device=device).float(), frequencies)
        turns = torch.polar(torch.ones_like(angles), angles)
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, turns)
        return F.linear(self.last(x), self.embedding.weight)

    def take(self, state: Mapping[str, Tensor]) -> None:
        """The weights of a generated model of the same shape."""
        names = {"embedding.weight": "embed.weight", "last.weight": "norm.weight"}
        parts = {
            "before_attention": "norm_1",
            "qkv": "attention.query_key_value",
            "projection": "attention.out",
            "before_mlp": "norm_2",
            "widen": "mlp.up",
            "narrow": "mlp.out",
        }
        for i in range(len(self.blocks)):
            names |= {f"blocks.{i}.{mine}.weight": f"block.{i}.{its}.weight" for mine, its in parts.items()}
        self.load_state_dict({mine: state[its] for mine, its in names.items()})


def train(
    model: PlainGPT,
    batches: Iterable[tuple[Tensor, Tensor]],
    steps: int,
    peak: float,
    floor: float,
    warmup: int,
    betas: tuple[float, float],
    decay: float,
    clip: float,
) -> list[float]:
    """The loss of every step: AdamW, its rate up in a line and down in half a cosine, gradients clipped; products in
    bfloat16 on a device."""
    wide = [p for p in model.parameters() if p.dim() > 1]
    flat = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": wide, "weight_decay": decay}, {"params": flat, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=betas, eps=1e-8)
    losses = []
    for step, (inputs, targets) in zip(range(steps), batches, strict=False):
        share = (step - warmup) / max(1, steps - warmup)
        down = floor + (peak - floor) * (1 + math.cos(math.pi * share)) / 2
        for group in optimizer.param_groups:
            group["lr"] = peak * (step + 1) / warmup if step < warmup else down
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=inputs.is_cuda):
            logits = model(inputs)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).tolist()
