"""Whatever parses can be formatted: nothing is lost, nothing changes its meaning, and once is enough."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spakc.diagnostics import Sink, SpakError
from spakc.ir.canonical import meaning
from spakc.lower.lower import lower
from spakc.lower.program import Program
from spakc.resources import resource
from spakc.source import SourceFile
from spakc.syntax.build_ast import build_ast
from spakc.syntax.format import LONGEST, format_text
from spakc.syntax.nodes import File
from spakc.syntax.parse import parse
from tests.property.grammar_fuzz import derivation, mutant

EXAMPLES = sorted(resource("examples").rglob("*.spak"))


def parsed(text: str) -> tuple[object, File] | None:
    source, sink = SourceFile("fuzz.spak", text), Sink()
    tree = parse(source, sink)
    return None if tree is None else (tree, build_ast(tree, source, sink))


def formatted(text: str) -> str | None:
    found = parsed(text)
    return None if found is None else format_text(found[0], text)


def comments(text: str) -> list[str]:
    return [m[1].rstrip() for m in re.finditer(r'"(?:\\.|[^"\\\n])*"|(#[^\n]*)', text) if m[1]]


def hold(text: str) -> bool:
    """Whether the text parses; if it does, everything the formatter promises."""
    before = parsed(text)
    if before is None:
        return False
    shaped = format_text(before[0], text)
    after = parsed(shaped)
    assert after is not None and after[1] == before[1], "another tree"
    assert comments(shaped) == comments(text)
    assert format_text(after[0], shaped) == shaped, "not a fixed point"
    assert shaped.endswith("\n") and not re.search(r"[ \t]\n|\n\n\n|^\n|\n\n$", shaped)
    return True


def scattered(text: str, seed: int) -> str:
    """The text with its blanks changed at random, and comments put in."""
    from random import Random

    random = Random(seed)
    parts = re.split(r'("(?:\\.|[^"\\\n])*"|#[^\n]*\n|[0-9][0-9_.]* ?[A-Za-z]\S*|\s+)', text)
    blanks = (" ", " ", "  ", "\n", "\n\n\n", "\t", " # note\n", "\n# note\n\n", "\r\n")
    return "".join(random.choice(blanks) if part.isspace() else part for part in parts)


@pytest.mark.parametrize("make", [derivation, mutant])
def test_random_files(make: object) -> None:
    seeds = range(300)
    done = 0
    for seed in seeds:
        text = make(seed)  # type: ignore[operator]
        try:
            done += hold(text)
        except BaseException as error:
            raise AssertionError(f"seed {seed}:\n{text}") from error
    assert done >= 0.15 * len(seeds)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_with_other_blanks(path: Path) -> None:
    text = path.read_text("utf-8")
    assert hold(text)
    for seed in range(10):
        assert hold(scattered(text, seed)), f"seed {seed}"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_what_an_example_means_stays(path: Path) -> None:
    def module(shape: bool) -> str:
        from spakc.driver import load

        program = load(path, Sink())
        if shape:
            files = {}
            for name, file in program.files.items():
                text = formatted(file.span.source.text)
                found = parsed(text or "")
                assert found is not None
                files[name] = found[1]
            program = Program(program.root, files, program.uses)
        sink = Sink()
        found_module = lower(program, sink)
        if sink.has_errors:
            raise SpakError(*sink.diagnostics)
        return meaning(found_module)

    assert module(True) == module(False)


def test_a_line_is_broken_before_it_leaves_the_limits() -> None:
    chain = " + ".join(["a" * 20] * 40)
    text = f"spak 1\nlaw long: all({', '.join([chain] * 10)}) > 0\n"
    text = text.replace(" ", "").replace("spak1", "spak 1").replace("lawlong", "law long")
    assert hold(text)
    assert max(map(len, (formatted(text) or "").splitlines())) <= LONGEST + 40
