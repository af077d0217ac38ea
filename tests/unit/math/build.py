"""Kernels for tests, from a compact text, without the parser of `.spak` files (Python's own reads expressions)."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence

from spakc.ir.module import Dim, Equation, Gradient, Kernel, Option, Tensor
from spakc.ir.ops import ACTIVATIONS, OPS, REDUCTIONS, Apply, Const, Expr, Load, Members, Reduce, Ref, RefKind
from spakc.ir.types import DType
from spakc.source import SourceFile, Span

_BINARY = {"Add": "add", "Sub": "sub", "Mult": "mul", "Div": "div", "FloorDiv": "floordiv", "Mod": "mod"}
_COMPARE = {"Eq": "eq", "NotEq": "ne", "Lt": "lt", "LtE": "le", "Gt": "gt", "GtE": "ge"}


def _comma(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


class Builder:
    def __init__(self, text: str) -> None:
        self.source = SourceFile("test.spak", text)
        self.dims: dict[str, Dim] = {}
        self.tensors: dict[str, Tensor] = {}
        self.options: dict[str, Option] = {}

    def span(self, line: int) -> Span:
        start = sum(len(row) + 1 for row in self.source.text.split("\n")[:line])
        return Span(self.source, start, start + len(self.source.line_text(line + 1)))

    def expr(self, text: str, span: Span, indices: bool = True) -> Expr:
        node = ast.parse(text.strip().replace("true", "True").replace("false", "False"), mode="eval").body
        return self.convert(node, span, indices)

    def convert(self, node: ast.expr, span: Span, indices: bool) -> Expr:
        def go(child: ast.expr) -> Expr:
            return self.convert(child, span, indices)

        match node:
            case ast.Constant(value=value):
                return Const(value, span=span)
            case ast.Name(id=name):
                return self.name(name, span)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return Apply("neg", (go(operand),), span=span)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return Apply("not", (go(operand),), span=span)
            case ast.BinOp(left=left, op=op, right=right):
                return Apply(_BINARY[type(op).__name__], (go(left), go(right)), span=span)
            case ast.BoolOp(op=op, values=values):
                result = go(values[0])
                for value in values[1:]:
                    result = Apply("and" if isinstance(op, ast.And) else "or", (result, go(value)), span=span)
                return result
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return Apply(_COMPARE[type(op).__name__], (go(left), go(right)), span=span)
            case ast.Subscript(
                value=ast.Call(func=ast.Name(id="new"), args=[ast.Name(id=name)]), slice=where
            ):
                return Load(name, self.subscripts(where, span), new=True, span=span)
            case ast.Subscript(value=ast.Name(id=name), slice=where):
                return Load(name, self.subscripts(where, span), span=span)
            case ast.Call(func=ast.Subscript(value=ast.Name(id=op), slice=where), args=[body]):
                assert op in REDUCTIONS, op
                axes = tuple(getattr(axis, "name") for axis in self.subscripts(where, span))
                return Reduce(op, axes, go(body), span=span)
            case ast.Call(func=ast.Name(id=name), args=args):
                if name in self.options:
                    return Apply("call", (Ref(name, RefKind.option, span=span), go(args[0])), span=span)
                op = f"cast_{name}" if f"cast_{name}" in OPS else name
                assert op in OPS, op
                return Apply(op, tuple(go(arg) for arg in args), span=span)
        raise AssertionError(ast.dump(node))

    def subscripts(self, node: ast.expr, span: Span) -> tuple[Expr, ...]:
        items = node.elts if isinstance(node, ast.Tuple) else [node]
        return tuple(self.convert(item, span, True) for item in items)

    def name(self, name: str, span: Span) -> Expr:
        if name == "inf":
            return Const(math.inf, span=span)
        if name in self.dims:
            return Ref(name, RefKind.dim, span=span)
        if name in self.options:
            return Ref(name, RefKind.option, span=span)
        if name in ACTIVATIONS or name.startswith("word_"):
            return Ref(name, RefKind.symbol, span=span)
        return Ref(name, RefKind.index, span=span)


def kernel(text: str, name: str = "k") -> Kernel:
    """One item a line: `family F` · `dim M, D in 64 128` · `input A: bf16 [M, K]` (also output, inout; types may be
    `same(A)`, alternatives with |, `= 0` makes it optional) · `option x: a | b = a` · `gradient O wrt A, B` ·
    `accumulate f32` · anything else is an equation."""
    builder = Builder(text)
    family, math_, gradients = "elementwise", [], []
    for number, line in enumerate(text.split("\n")):
        span, words = builder.span(number), line.strip()
        head, _, rest = words.partition(" ")
        if not words or words.startswith("#"):
            continue
        if head == "family":
            family = rest.strip()
        elif head == "dim":
            for item in _comma(rest):
                dim, _, values = item.partition(" in ")
                members = Members(tuple(Const(int(v)) for v in values.split())) if values else None
                builder.dims[dim.strip()] = Dim(dim.strip(), members, span=span)
        elif head in ("input", "output", "inout"):
            _tensor(builder, head, rest, span)
        elif head == "option":
            _option(builder, rest, span)
        elif head == "gradient":
            outputs, _, inputs = rest.partition(" wrt ")
            gradients.append(Gradient(tuple(_comma(outputs)), tuple(_comma(inputs)), span=span))
        else:
            left, _, right = words.partition(" = ")
            target = builder.expr(left, span)
            assert isinstance(target, Load)
            math_.append(Equation(target.tensor, target.indices, builder.expr(right, span), span=span))
    return Kernel(
        name, family, builder.dims, builder.tensors, builder.options, tuple(math_), DType.f32,
        tuple(gradients), {}, (), (), None, None, span=builder.span(0),
    )  # fmt: skip


def _tensor(builder: Builder, role: str, rest: str, span: Span) -> None:
    names, _, after = rest.partition(":")
    types, _, shape = after.partition("[")
    shape, _, default = shape.partition("]")
    dtypes = [t.strip() for t in types.split("|")]
    same = next((t[5:-1] for t in dtypes if t.startswith("same(")), None)
    for name in _comma(names):
        builder.tensors[name] = Tensor(
            name,
            role,
            tuple(DType(t) for t in dtypes if not t.startswith("same(")),
            same,
            tuple(builder.expr(size, span) for size in _comma(shape)),
            (),
            builder.expr(default.partition("=")[2], span) if "=" in default else None,
            span=span,
        )


def _option(builder: Builder, rest: str, span: Span) -> None:
    name, _, after = rest.partition(":")
    types, _, default = after.partition("=")
    words = tuple(t.strip() for t in types.split("|"))
    dtype = {"bool": DType.bool, "int": DType.int32, "f32": DType.f32}.get(words[0])
    choices: Sequence[str] = () if dtype else words
    value = Ref(default.strip(), RefKind.symbol) if choices else builder.expr(default, span)
    builder.options[name.strip()] = Option(name.strip(), tuple(choices), dtype, value, span=span)


MATMUL = """family product
dim M, N, K
input A: bf16 | f16 [M, K]
input B: same(A) [K, N]
input bias: same(A) [N] = 0
output C: same(A) | f32 [M, N]
option activation: identity | gelu | relu_squared | silu = identity
acc[m, n] = sum[k](A[m, k] * B[k, n])
C[m, n] = activation(acc[m, n] + bias[n])
gradient C wrt A, B, bias
"""

RMS_NORM = """family rows
dim R, N
input x: bf16 | f16 | f32 [R, N]
input weight: f32 [N]
output y: same(x) [R, N]
output rstd: f32 [R]
option eps: f32 = 1e-6
rstd[r] = rsqrt(sum[n](f32(x[r, n]) * x[r, n]) / N + eps)
y[r, n] = x[r, n] * rstd[r] * weight[n]
gradient y wrt x, weight
"""

CROSS_ENTROPY = """family rows
dim R, V
input logits: bf16 | f32 [R, V]
input target: int32 [R]
output loss: f32 [R]
loss[r] = logsumexp[v](logits[r, v]) - logits[r, target[r]]
gradient loss wrt logits
"""

ROPE = """family elementwise
dim B, T, H, D in 64 128
input x: bf16 | f32 [B, T, H, D]
output y: same(x) [B, T, H, D]
option base: f32 = 10000.0
angle[t, i] = t * pow(base, -2.0 * i / D)
y[b, t, h, i] = x[b, t, h, i] * cos(angle[t, i]) - x[b, t, h, i + D // 2] * sin(angle[t, i])
y[b, t, h, i + D // 2] = x[b, t, h, i] * sin(angle[t, i]) + x[b, t, h, i + D // 2] * cos(angle[t, i])
gradient y wrt x
"""

ADAMW = """family elementwise
dim N
inout p, m, v: f32 [N]
input g: bf16 | f32 [N]
input lr, decay, c1, c2: f32 []
option beta1: f32 = 0.9
option beta2: f32 = 0.95
option eps: f32 = 1e-8
m[i] = beta1 * m[i] + (1 - beta1) * g[i]
v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i]
p[i] = p[i] * (1 - lr[()] * decay[()]) - lr[()] * (new(m)[i] / c1[()]) / (sqrt(new(v)[i] / c2[()]) + eps)
"""

FMHA = """family attention
dim B, H, G, Sq, Sk, D in 64 128
input Q: bf16 | f16 [B, H, Sq, D]
input K, V: same(Q) [B, G, Sk, D]
output O: same(Q) [B, H, Sq, D]
output L: f32 [B, H, Sq]
option causal: bool = true
option scale: f32 = rsqrt(D)
option softcap: f32 = 0
option window: int = 0
S[b, h, q, k] = scale * sum[d](Q[b, h, q, d] * K[b, h // (H // G), k, d])
T[b, h, q, k] = where(softcap > 0, softcap * tanh(S[b, h, q, k] / softcap), S[b, h, q, k])
M[b, h, q, k] = where((not causal or k <= q + Sk - Sq) and (window == 0 or q + Sk - Sq - k < window), T[b, h, q, k], -inf)
L[b, h, q] = logsumexp[k](M[b, h, q, k])
P[b, h, q, k] = softmax[k](M[b, h, q, k])
O[b, h, q, d] = sum[k](P[b, h, q, k] * V[b, h // (H // G), k, d])
gradient O wrt Q, K, V
"""
