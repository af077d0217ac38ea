"""From texts to modules, in memory: what the tests of lowering and checking start from."""

from __future__ import annotations

import posixpath

from spakc.check.check import check
from spakc.diagnostics import Diagnostic, Sink
from spakc.ir.module import Kernel, Module
from spakc.ir.ops import Expr
from spakc.lower.lower import lower
from spakc.lower.program import Program
from spakc.source import SourceFile
from spakc.syntax import nodes
from spakc.syntax.build_ast import build_ast
from spakc.syntax.parse import parse

DEVICES = """spak 1
device gpu {
  arch = sm_90a  sms = 132  smem_per_block = 227 KiB  tma = true  wgmma = true  bandwidth = 3350 GB/s
}
device old like gpu { arch = sm_80  smem_per_block = 163 KiB  tma = false  wgmma = false }
"""


def program(text: str, **used: str) -> Program:
    """A root file that may use others by their names: `use "a.spak"` means the text `a`."""
    texts = {"root.spak": text, **{f"{name}.spak": other for name, other in used.items()}}
    files: dict[str, nodes.File] = {}
    uses: dict[str, tuple[tuple[nodes.Use, str], ...]] = {}
    for name, content in texts.items():
        sink = Sink()
        source = SourceFile(name, content)
        tree = parse(source, sink)
        assert tree is not None, [d.message for d in sink.diagnostics]
        files[name] = build_ast(tree, source, sink)
        assert not sink.diagnostics, [d.message for d in sink.diagnostics]
        uses[name] = tuple((use, posixpath.normpath(use.file or "")) for use in files[name].uses)
    return Program("root.spak", files, uses)


def lowered(text: str, **used: str) -> Module:
    """The module of a text without mistakes."""
    sink = Sink()
    module = lower(program(text, **used), sink)
    assert not sink.diagnostics, [(d.code, d.message) for d in sink.diagnostics]
    return module


def diagnostics(text: str, *, checked: bool = False, **used: str) -> list[Diagnostic]:
    """What lowering reports, and with `checked` the passes behind it."""
    sink = Sink()
    module = lower(program(text, **used), sink)
    if checked and not sink.has_errors:
        check(module, sink)
    return sink.diagnostics


def only(text: str, *, checked: bool = False, **used: str) -> Diagnostic:
    """The one thing that is reported."""
    found = diagnostics(text, checked=checked, **used)
    assert len(found) == 1, [(d.code, d.message) for d in found]
    return found[0]


def marked(diagnostic: Diagnostic) -> list[str]:
    """The source texts under the labels, the primary one first."""
    return [label.span.text for label in diagnostic.labels]


def kernel_text(body: str) -> str:
    """A kernel `k` over M, N and the compiled D, with x, idx and y."""
    return (
        "spak 1\nkernel k: elementwise {\n  dim M, N, D in {64, 128}\n"
        f"  input x: bf16 | f32 [M, N]\n  input idx: int32 [M]\n  output y: f32 [M, N]\n  {body}\n}}\n"
    )


COPY = "math { y[m, n] = x[m, n] }"


def kernel(body: str) -> Kernel:
    return lowered(kernel_text(body)).kernels["k"]


def value(text: str) -> Expr:
    """An expression over literals, facts and what compiled kernels know."""
    module = lowered(f"spak 1\nlaw l: {text}\n")
    return module.laws[0].proposition
