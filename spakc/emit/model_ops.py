"""The forms of a model's operations as Python: what the template's classes for them hold."""

from __future__ import annotations

from spakc.record import record

CALLS = {
    "identity": "{}",
    "relu": "F.relu({})",
    "relu_squared": "F.relu({}).square()",
    "gelu": "F.gelu({})",
    "gelu_tanh": 'F.gelu({}, approximate="tanh")',
    "silu": "F.silu({})",
    "sigmoid": "torch.sigmoid({})",
    "tanh": "torch.tanh({})",
} | {
    name: f"torch.{name}({{}})"
    for name in ("exp", "log", "exp2", "log2", "sqrt", "rsqrt", "sin", "cos", "erf")
}
"""Element-wise functions of one tensor."""


@record
class NormClass:
    """`kind`: layer | rms. `weight` and `bias` are learned. `narrow`: only products read the result."""

    name: str
    kind: str
    weight: bool
    bias: bool
    narrow: bool


@record
class MlpClass:
    name: str
    act: str
    bias: bool
    by_kernel: bool
    linear_by_kernel: bool
    together: bool  # the activation with the products around it

    @property
    def needs_ops(self) -> bool:
        return self.by_kernel or self.linear_by_kernel

    @property
    def result(self) -> str:
        if self.together:
            up, out = (f"(self.{name}.weight, {self._bias(name)})" for name in ("up", "out"))
            return f'self.ops.mlp(x, {up}, {out}, "{self.act}")'
        up = "self.up(x)"
        bent = f'self.ops.activation({up}, "{self.act}")' if self.by_kernel else CALLS[self.act].format(up)
        return f"self.out({bent})"

    def _bias(self, name: str) -> str:
        return f"self.{name}.bias" if self.bias else "None"


def place_type(positions: str) -> str:
    """What holds the positions of one forward pass, as an annotation."""
    if positions == "window":
        return "tuple[Tensor, Tensor, Tensor | None]"
    return "tuple[Tensor, Tensor]" if positions in ("rope", "relative") else "Tensor"


@record
class AttentionClass:
    """One form of attention. `positions`: none | rope | relative | window | places (vectors added to
    the input)."""

    name: str
    positions: str
    causal: bool
    groups: bool
    window: bool
    softcap: bool
    bias: bool
    by_kernel: bool
    linear_by_kernel: bool

    @property
    def title(self) -> str:
        kinds = {"rope": "rotary positions", "relative": "a learned bias by relative place"}
        kinds |= {"places": "a learned vector for every place"}
        kinds |= {"window": "a learned bias by relative place, digits further away hidden"}
        extras = [kinds[self.positions]] if self.positions in kinds else []
        extras += ["shared keys and values"] * self.groups + ["a window"] * self.window
        extras += ["a soft cap on the scores"] * self.softcap
        start = "Causal self-attention" if self.causal else "Self-attention"
        return f"{start} with {', '.join(extras)}." if extras else f"{start}."

    @property
    def parameters(self) -> list[str]:
        """Of the constructor, with types."""
        names = ["width: int", "heads: int"] + ["groups: int"] * self.groups
        names += ["clip: int", "scale: float", "others: int"] * self.biased
        names += ["places: int"] * (self.positions == "places") + ["window: int"] * self.window
        names += ["softcap: float"] * self.softcap
        names += ["base: float"] * (self.by_kernel and self.positions == "rope")
        names += ["ops: Any"] * (self.by_kernel or self.linear_by_kernel)
        return names

    @property
    def place_parameter(self) -> str:
        return "" if self.positions == "none" else f", place: {place_type(self.positions)}"

    @property
    def biased(self) -> bool:
        return self.positions in ("relative", "window")

    @property
    def masked(self) -> bool:
        """Scores get a bias (minus infinity where a key is hidden) instead of a plain causal mask."""
        return self.biased or self.window or (self.softcap and self.causal)

    @property
    def needs_length(self) -> bool:
        """Whether the mask is made from the number of tokens."""
        return self.window or (self.masked and not self.biased)

    @property
    def compute(self) -> list[str]:
        """Statements from q, k, v [B, heads, T, D] to y of the same shape; by a kernel, which reads heads where they
        lie, from x [B, T, C] to y of the same shape."""
        if self.positions != "window" or self.by_kernel:
            return [*self._mask(), *self._product()]
        return [
            *self._mask(),
            "if keys is not None:",
            "    q, k, v, bias = of_queries(q), of_keys(k, keys), of_keys(v, keys), of_queries(bias)",
            *self._product(),
            "if keys is not None:",
            "    y = y.reshape(B, T, self.heads, C // self.heads).transpose(1, 2)",
        ]

    def _mask(self) -> list[str]:
        lines = []
        if self.biased:
            lines.append("row, hidden, keys = place" if self.positions == "window" else "row, hidden = place")
        if self.window:
            lines.append("place_of = torch.arange(T, device=x.device)")
            seen = "(place_of if keys is None else keys)" if self.positions == "window" else "place_of"
            lines.append(f"behind = place_of[:, None] - {seen}")
        if self.biased:
            if self.window:
                lines.append("hidden = hidden | (behind >= self.window)")
            made = "self.bias(row, hidden)"
            once = f"self.ops.once((self.table, row), lambda: {made})"
            lines.append(f"bias = {once if self.by_kernel else made}")
        elif self.window:
            future = "(behind < 0) | " if self.causal else ""
            lines.append(f"hidden = {future}(behind >= self.window)")
            lines.append("bias = torch.zeros(T, T, device=x.device).masked_fill(hidden, -torch.inf)")
        elif self.masked:
            lines.append("bias = torch.full((T, T), -torch.inf, device=x.device).triu(1)")
        return lines

    def _product(self) -> list[str]:
        plain_causal = self.causal and not self.masked
        if self.by_kernel:
            read = (
                "q, kv = self.query(x), self.key_value(x)" if self.groups else "qkv = self.query_key_value(x)"
            )
            arguments = [
                "q, kv" if self.groups else "qkv",
                "heads=self.heads",
                *["groups=self.groups"] * self.groups,
            ]
            arguments += ["place=place", "base=self.base"] * (self.positions == "rope")
            arguments += ["bias=bias"] * self.masked + ["keys=keys"] * (self.positions == "window")
            arguments.append(f"causal={plain_causal}")
            arguments += ["softcap=self.softcap"] * self.softcap
            return [read, f"y = self.ops.attention({', '.join(arguments)})"]
        if not self.softcap:
            arguments = ["attn_mask=bias"] * self.masked + ["is_causal=True"] * plain_causal
            arguments += ["enable_gqa=True"] * self.groups
            return [f"y = F.scaled_dot_product_attention({', '.join(['q, k, v', *arguments])})"]
        lines = []
        if self.groups:
            lines.append("share = self.heads // self.groups")
            lines.append("k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)")
        lines.append("scores = (q @ k.transpose(-1, -2)) * (C // self.heads) ** -0.5")
        lines.append("scores = self.softcap * torch.tanh(scores / self.softcap)" + " + bias" * self.masked)
        lines.append("y = torch.softmax(scores.float(), -1).to(v.dtype) @ v")
        return lines
