"""The colours are those of the grammar, on every example."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pygments.token import Error, Keyword

from spakc import highlighting
from spakc.pygments_lexer import SpakLexer
from spakc.resources import resource
from spakc.syntax.parse import lark_parser
from spakc.syntax.surface import Surface

FILES = sorted(resource("examples").rglob("*.spak"))
VSCODE = highlighting.ROOT / "editors" / "vscode"


def test_the_files_are_generated_from_the_grammar() -> None:
    assert highlighting.TEXTMATE.read_text("utf-8") == highlighting.textmate(), "stale: run `make docs`"
    assert highlighting.LEXER.read_text("utf-8") == highlighting.pygments_lexer(), "stale: run `make docs`"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_keywords_are_told_from_names(path: Path) -> None:
    """Nothing is left without a colour; of all words at least four of five are what the parser says they are."""
    text = path.read_text("utf-8")
    coloured = list(SpakLexer().get_tokens_unprocessed(text))
    assert "".join(part for _, _, part in coloured) == text
    assert [part for _, token, part in coloured if token is Error] == []
    found = highlighting.words()
    words = {*found.declaring, *found.other}
    said = {
        t.start_pos: t.type == "NAME"
        for t in lark_parser().parse_interactive(text).iter_parse()
        if t in words
    }
    keywords = (Keyword, Keyword.Declaration)
    seen = {start: token not in keywords for start, token, part in coloured if part in words}
    right = [seen.get(start) == is_name for start, is_name in said.items() if start in seen]
    assert len(right) > 5 or path.stem == "devices"
    assert sum(right) >= 0.8 * len(right), [text[s : s + 20] for s, n in said.items() if seen.get(s, n) != n]


def test_the_textmate_grammar_has_the_words_of_the_language() -> None:
    grammar = json.loads(highlighting.TEXTMATE.read_text("utf-8"))
    patterns = [re.compile(pattern["match"]) for pattern in grammar["patterns"]]
    for word in Surface(lark_parser()).words:
        assert any(pattern.match(f"{word} x") for pattern in patterns), word
    names = [pattern.get("name") for pattern in grammar["patterns"] if re.match(pattern["match"], "# c")]
    assert names == ["comment.line.number-sign.spak"]


def test_the_extension_names_what_is_there() -> None:
    package = json.loads((VSCODE / "package.json").read_text("utf-8"))
    (grammar,) = package["contributes"]["grammars"]
    (language,) = package["contributes"]["languages"]
    scope = json.loads((VSCODE / grammar["path"]).read_text("utf-8"))["scopeName"]
    assert grammar["scopeName"] == scope and (VSCODE / package["main"]).is_file()
    assert json.loads((VSCODE / language["configuration"]).read_text("utf-8"))["comments"] == {
        "lineComment": "#"
    }
