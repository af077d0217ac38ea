"""A looped model of additions as one writes it by hand in PyTorch, and its training: what the product's is held
against. One block is repeated, every loop of the second half is read out and learns; a score gets a learned bias by
how far apart two digits stand in their numbers. Nothing of the compiler or of its runtime is used; weights come from
outside, so that both begin alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PlainLoop(nn.Module):
    """`separators` are the tokens between numbers, `digits` the range of those that numbers consist of."""

    def __init__(
        self,
        vocab: int,
        digits: range,
        separators: tuple[int, ...],
        width: int,
        heads: int,
        loops: int,
        clip: int,
    ) -> None:
        super().__init__()
        self.digits, self.separators, self.heads, self.loops, self.clip = (
            digits,
            separators,
            heads,
            loops,
            clip,
        )
        self.embedding = nn.Embedding(vocab, width)
        self.steps = nn.Parameter(torch.zeros(loops, width))
        self.before_attention = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.near = nn.Parameter(torch.zeros(2 * clip + 1 + len(separators) + 1, heads))
        self.projection = nn.Linear(width, width, bias=False)
        self.before_mlp = nn.LayerNorm(width, bias=False)
        self.widen = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)
        self.last = nn.LayerNorm(width, bias=False)

    def places(self, tokens: Tensor) -> Tensor:
        """Of each query and key [B, T, T], the row of `near`: for a digit by the difference of the two places in their
        numbers, one for each separator, one for every other token."""
        place = torch.zeros_like(tokens)
        for t in range(tokens.shape[1]):
            is_digit = (tokens[:, t] >= self.digits.start) & (tokens[:, t] < self.digits.stop)
            before = place[:, t - 1] if t else torch.zeros_like(place[:, 0])
            place[:, t] = torch.where(is_digit, before + 1, 0)
        apart = (place[:, None, :] - place[:, :, None]).clamp(-self.clip, self.clip) + self.clip
        other = torch.full_like(tokens, 2 * self.clip + 1 + len(self.separators))
        for row, separator in enumerate(self.separators):
            other = torch.where(tokens == separator, 2 * self.clip + 1 + row, other)
        return torch.where((place > 0)[:, None, :], apart, other[:, None, :])

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """The logits after each loop of the second half."""
        batch, length = tokens.shape
        bias = (8 * self.near)[self.places(tokens)].permute(0, 3, 1, 2)
        later = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        bias = bias.masked_fill(later, -math.inf)
        x, readings = self.embedding(tokens), []
        for loop in range(self.loops):
            x = x + self.steps[loop]
            qkv = (
                self.qkv(self.before_attention(x))
                .view(batch, length, 3, self.heads, -1)
                .permute(2, 0, 3, 1, 4)
            )
            y = F.scaled_dot_product_attention(*qkv, attn_mask=bias.to(qkv.dtype))
            x = x + self.projection(y.transpose(1, 2).reshape(batch, length, -1))
            x = x + self.narrow(F.gelu(self.widen(self.before_mlp(x))))
            if loop >= self.loops // 2:
                readings.append(F.linear(self.last(x), self.embedding.weight))
        return readings

    def loss(self, tokens: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        """The mean over the loops that are read out and the tokens that count."""
        each = [
            F.cross_entropy(y.float().flatten(0, 1), targets.flatten(), reduction="none")
            for y in self(tokens)
        ]
        return torch.stack([(one * counts.flatten()).sum() / counts.sum() for one in each]).mean()

    def named_as(self) -> dict[str, str]:
        """Of each of its weights the name in a generated model of the same shape."""
        block = {
            "before_attention": "norm_1",
            "qkv": "attention.query_key_value",
            "projection": "attention.out",
            "before_mlp": "norm_2",
            "widen": "mlp.up",
            "narrow": "mlp.out",
        }
        names = {f"{mine}.weight": f"block.{its}.weight" for mine, its in block.items()}
        names |= {"embedding.weight": "embed.weight", "last.weight": "readout.norm.weight"}
        return names | {"steps": "step.table", "near": "block.attention.table"}

    def take(self, state: Mapping[str, Tensor]) -> None:
        """The weights of a generated model of the same shape."""
        self.load_state_dict({mine: state[its] for mine, its in self.named_as().items()})


def train(
    model: PlainLoop,
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    steps: int,
    peak: float,
    warmup: int,
    betas: tuple[float, float],
    decays: tuple[float, float],
    clip: float,
) -> list[float]:
    """The loss of every step: AdamW, its rate up in a line and down in half a cosine, its decay another from the middle
    on and on matrices alone, gradients clipped; products in bfloat16 on a device."""
    layers = [model.embedding, model.qkv, model.projection, model.widen, model.narrow]
    wide = [layer.weight for layer in layers]
    others = [p for p in model.parameters() if all(p is not each for each in wide)]
    optimizer = torch.optim.AdamW(
        [{"params": wide}, {"params": others, "weight_decay": 0.0}], betas=betas, eps=1e-8
    )
    losses = []
    for step, batch in zip(range(steps), batches, strict=False):
        share = (step - warmup) / max(1, steps - warmup)
        rate = peak * (step + 1) / warmup if step < warmup else peak * (1 + math.cos(math.pi * share)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.param_groups[0]["weight_decay"] = decays[step >= steps / 2]
        with torch.autocast(batch[0].device.type, torch.bfloat16, enabled=batch[0].is_cuda):
            loss = model.loss(*batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).tolist()
