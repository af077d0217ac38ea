"""Nothing hangs on a name or on an order: renamed and reordered files mean the same, names apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from spakc.check.check import check
from spakc.diagnostics import Sink
from spakc.driver import load
from spakc.ir.canonical import canonical
from spakc.ir.module import Module
from spakc.ir.ops import OPS
from spakc.lower.lower import lower
from spakc.source import SourceFile
from spakc.syntax import nodes
from spakc.syntax.build_ast import build_ast
from spakc.syntax.parse import parse

EXAMPLES = sorted((Path(__file__).parents[3] / "examples" / "kernels").glob("*.spak"))


def module_of(path: Path) -> Module:
    sink = Sink()
    module = lower(load(path, sink), sink)
    assert not sink.diagnostics, [(d.code, d.message) for d in sink.diagnostics]
    check(module, sink)
    assert not sink.has_errors, [(d.code, d.message) for d in sink.diagnostics]
    return module


def every_node(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for value in node.said():
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, nodes.Node):
                yield from every_node(child)


def declared_names(text: str) -> set[str]:
    """Names that a file gives: kernels and what they declare, index variables and intermediates."""
    source, sink = SourceFile("x.spak", text), Sink()
    tree = parse(source, sink)
    assert tree is not None
    kernels = [item for item in build_ast(tree, source, sink).items if isinstance(item, nodes.Kernel)]
    names: set[str] = set()
    for node in (found for kernel in kernels for found in every_node(kernel)):
        if isinstance(node, (nodes.Kernel, nodes.Dim, nodes.TensorDecl, nodes.OptionDecl, nodes.Let)):
            names.add(node.name.text)
        elif isinstance(node, nodes.Equation):
            names.add(node.target.text)
            names |= {index.name for index in node.indices if isinstance(index, nodes.NameExpr)}
        elif isinstance(node, nodes.Call) and isinstance(node.function, nodes.Index):
            names |= {axis.name for axis in node.function.indices if isinstance(axis, nodes.NameExpr)}
    return names - OPS.keys()  # a text cannot tell the kernel `gelu` from the function


def renamed(text: str, names: set[str]) -> str:
    """Every occurrence of the names, outside of comments and texts in quotes, with a tail."""
    pieces = re.split(r'(#[^\n]*|"[^"\n]*")', text)
    word = re.compile(r"(?<!torch\.)\b(" + "|".join(sorted(names)) + r")\b(?!\.spak)")
    return "".join(piece if i % 2 else word.sub(r"\1_zz", piece) for i, piece in enumerate(pieces))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_renaming_everything_changes_names_only(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    names = declared_names(text)
    assert len(names) > 8
    other = tmp_path / path.name
    other.write_text(renamed(text, names))
    assert "_zz" in other.read_text()
    plain, changed = canonical(module_of(path).kernels), canonical(module_of(other).kernels)
    assert changed != plain
    # The order of sorted mappings follows the names; what is in them must be the same.
    words = re.compile(r"\w+|[^\w\s]")
    assert sorted(words.findall(changed.replace("_zz", ""))) == sorted(words.findall(plain))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_reordering_equations_changes_nothing(path: Path, tmp_path: Path) -> None:
    def reordered(match: re.Match[str]) -> str:
        equations = [line for line in match[2].strip().splitlines() if line.strip()]
        return match[1] + "\n" + "\n".join(reversed(equations)) + "\n  }"

    text = path.read_text()
    other = tmp_path / path.name
    other.write_text(re.sub(r"(math \{ *(?:#[^\n]*)?)\n(.*?)\n  \}", reordered, text, flags=re.S))
    assert other.read_text() != text
    assert canonical(module_of(other).kernels) == canonical(module_of(path).kernels)
