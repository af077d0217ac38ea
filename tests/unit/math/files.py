"""Kernels for tests, from `.spak` text or from the examples, lowered but not checked further."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from spakc.diagnostics import Sink
from spakc.driver import load
from spakc.ir.module import Kernel, Module
from spakc.lower.lower import lower
from spakc.lower.program import Program
from spakc.source import SourceFile
from spakc.syntax.build_ast import build_ast
from spakc.syntax.parse import parse

EXAMPLES = Path(__file__).parents[3] / "examples" / "kernels"
FILES = {"matmul": "matmul", "fmha": "fmha"} | dict.fromkeys(
    ("rms_norm", "cross_entropy", "rope", "adamw"), "train"
)


def module(text: str) -> Module:
    """Lowers one file that uses no other. Any diagnostic fails the test."""
    sink = Sink()
    source = SourceFile("test.spak", text)
    tree = parse(source, sink)
    sink.stop_if_errors()
    assert tree is not None
    program = Program("test.spak", {"test.spak": build_ast(tree, source, sink)}, {"test.spak": ()})
    lowered = lower(program, sink)
    sink.stop_if_errors()
    return lowered


def kernel(text: str) -> Kernel:
    """The only kernel of a text; `spak 1` in front is optional."""
    (only,) = module(text if text.startswith("spak") else f"spak 1\n{text}").kernels.values()
    return only


@cache
def example(name: str) -> Kernel:
    """A kernel of `examples/kernels`."""
    sink = Sink()
    lowered = lower(load(EXAMPLES / f"{FILES[name]}.spak", sink), sink)
    sink.stop_if_errors()
    return lowered.kernels[name]
