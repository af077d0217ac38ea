"""The machine builds the trees that Lark builds, and takes what Lark takes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lark
import pytest
from lark.exceptions import UnexpectedInput

from spakc.syntax import machine, tables
from spakc.syntax.parse import lark_parser
from spakc.syntax.parse import machine as the_machine
from spakc.syntax.scan import without_mark
from tests.property.grammar_fuzz import derivation, mutant

ROOT = Path(__file__).parents[3]
FILES = sorted([*ROOT.glob("examples/**/*.spak"), *ROOT.glob("tests/spec/*.spak")])


def theirs(node: Any) -> Any:
    """Lark's tree as nested tuples: data, place, children."""
    if isinstance(node, lark.Tree):
        place = (-1, -1) if node.meta.empty else (node.meta.start_pos, node.meta.end_pos)
        return str(node.data), *place, [theirs(child) for child in node.children]
    return node if node is None else (str(node), node.type, node.start_pos, node.end_pos)


def ours(node: Any) -> Any:
    if isinstance(node, machine.Tree):
        return node.data, node.start_pos, node.end_pos, [ours(child) for child in node.children]
    return node if node is None else (str(node), node.type, node.start_pos, node.end_pos)


def assert_same(text: str) -> bool:
    """Whether the text is of the language; both parsers say so, with the same tree."""
    found = the_machine().parse(text)
    try:
        wanted = lark_parser().parse(text)
    except UnexpectedInput:
        assert found is None, text
        return False
    assert found is not None and ours(found) == theirs(wanted), text
    return True


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files(path: Path) -> None:
    assert assert_same(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("make", "least"), [(derivation, 190), (mutant, 30)])
def test_random_texts(make: Callable[[int], str], least: int) -> None:
    taken = sum(assert_same(without_mark(make(seed))) for seed in range(5_000, 5_200))
    assert least < taken and (make is derivation or taken < 150)


def test_a_word_of_another_block_is_a_name() -> None:
    """Behind an expression, `loss` ends it either way; what it is then depends on the block."""
    kernel = "spak 1 kernel k: rows { math { y[r] = sum[c](x[r, c]) loss[r] = y[r] } }"
    dataset = 'spak 1 dataset d { text a, "=", b loss after "=" }'
    assert assert_same(kernel) and assert_same(dataset)


def test_a_damaged_table_and_another_key_are_refused() -> None:
    grammar = 'start: "a" NAME ["b" NAME]\nNAME: /[a-z]+/\n%ignore " "\n'
    key = machine.key_of(grammar)
    text = machine.seal(tables.machine_table(grammar), key)
    tree = machine.read(text, key).parse("a x")
    assert tree is not None and tree.children == ["x", None]
    assert machine.key_of(grammar + " ") != key
    for damaged in ("", "{}", "null", text[:-5], text[1:], text.replace("NAME", "NAMF", 1)):
        with pytest.raises(ValueError, match="damaged"):
            machine.read(damaged, key)
    with pytest.raises(ValueError, match="another grammar"):
        machine.read(text, "another key")


def test_a_table_is_the_same_whatever_the_hash_seed() -> None:
    program = (
        "import hashlib, json; from spakc.resources import grammar_text; from spakc.syntax import tables; "
        "table = json.dumps(tables.machine_table(grammar_text())); "
        "print(hashlib.sha256(table.encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_a_sound_file_needs_no_lark() -> None:
    program = (
        "import sys; from spakc.driver import load; from spakc.diagnostics import Sink; from pathlib import Path; "
        "load(Path('examples/looplm/addition.spak'), Sink()); "
        "print('lark' in sys.modules)"
    )
    the_machine()  # its table is kept from now on
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    assert found == "False\n"
