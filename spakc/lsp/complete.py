"""What may be written at a place: one of a closed list of words (`contexts.py`), else statements of the block around it
where one may begin, names that are known there, members behind a dot."""

from __future__ import annotations

from spakc.ir.facts import FACTS
from spakc.ir.queries import BASELINES, NAMESPACES, QUERIES
from spakc.lsp.contexts import OPERAND_FOLLOWS, choices_at, settings_of_device
from spakc.lsp.project import State
from spakc.lsp.symbols import Region
from spakc.record import record
from spakc.syntax.parse import lark_parser
from spakc.syntax.scan import CLOSING, OPENING, Lexeme, lexemes
from spakc.syntax.surface import TOP_LEVEL, Surface, surface_of


@record
class Proposal:
    """`kind` is keyword, name, member or function."""

    label: str
    kind: str
    detail: str = ""


def complete(state: State, file: str, offset: int) -> list[Proposal]:
    """Proposals for a place, in alphabetical order; the editor filters by what is typed already."""
    before = list(lexemes(state.text[:offset]))
    if before and before[-1].kind == "word" and before[-1].end == offset:
        before.pop()  # the word that is being typed
    block = block_of(before)
    region = _region(state, file, offset)
    choices = choices_at(block, before, region)
    if choices is None and block == "device" and not _expects_operand(before):
        choices = settings_of_device()
    if choices is not None:
        return [Proposal(word, "name", what) for word, what in sorted(choices.items())]
    if before and before[-1].text == ".":
        return _members(state, file, offset, before[:-1])
    found: set[Proposal] = set()
    if not _expects_operand(before):
        what = f"a statement of `{block}`" if block else "a statement"
        found = {Proposal(word, "keyword", what) for word in _statements(block)}
        if not block:
            return sorted(found, key=lambda proposal: proposal.label)
    visible = region.visible() if region is not None else {}
    found |= {Proposal(name, "name", symbol.what) for name, symbol in visible.items()}
    found |= {
        Proposal(spec.name, "function", spec.signature) for spec in QUERIES.values() if "." not in spec.name
    }
    found |= {Proposal(word, "name", "a name with members") for word in NAMESPACES}
    return sorted(found, key=lambda proposal: (proposal.label, proposal.kind))


def _expects_operand(before: list[Lexeme]) -> bool:
    """Whether an expression or name goes on at the place, so that no statement can begin."""
    return bool(before) and (
        before[-1].text in OPERAND_FOLLOWS or before[-1].text in (":", "for", "on", "like")
    )


def block_of(before: list[Lexeme]) -> str:
    """The word that heads the innermost open block, or the file itself. Sets and calls are no blocks."""
    heads: list[str] = []
    last_statement = TOP_LEVEL
    words = _surface().statements
    for i, lexeme in enumerate(before):
        if lexeme.kind == "word" and lexeme.text in words and _begins(before, i):
            last_statement = lexeme.text
        if lexeme.text in OPENING and lexeme.kind == "sign":
            is_block = lexeme.text == "{" and (i == 0 or before[i - 1].text not in ("=", "in", ",", "(", "{"))
            heads.append(last_statement if is_block else "")
        elif lexeme.text in CLOSING and lexeme.kind == "sign" and heads:
            heads.pop()
    return next((head for head in reversed(heads) if head), TOP_LEVEL)


def _begins(before: list[Lexeme], i: int) -> bool:
    """Whether a word begins a statement: it follows nothing that waits for an operand or a name."""
    return i == 0 or before[i - 1].text not in (
        ".",
        "=",
        "(",
        ",",
        "+",
        "-",
        "*",
        "/",
        "<",
        ">",
        ":",
        "for",
        "on",
        "like",
    )


def _statements(block: str) -> frozenset[str]:
    return _surface().statements.get(block, frozenset())


def _surface() -> Surface:
    return surface_of(lark_parser())


def _region(state: State, file: str, offset: int) -> Region | None:
    if state.names is None or file not in state.names.files:
        return None
    return state.names.region(file, _there(state, offset))


def _there(state: State, offset: int) -> int:
    """A place of the text as a place of the text that parsed last: counted from whichever end both share."""
    if state.names is None or state.current:
        return offset
    old = state.names.program.files[state.names.program.root].span.source.text
    new = state.text
    same = next(
        (i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
    )
    return offset if offset <= same else max(same, offset - (len(new) - len(old)))


def _members(state: State, file: str, offset: int, before: list[Lexeme]) -> list[Proposal]:
    base = before[-1].text if before and before[-1].kind == "word" else ""
    if base == "device":
        return [Proposal(name, "member", fact.meaning) for name, fact in sorted(FACTS.items())]
    known = [name for name in (*QUERIES, *BASELINES) if name.startswith(f"{base}.")]
    if known:
        return [
            Proposal(n.partition(".")[2], "member", QUERIES[n].signature if n in QUERIES else "")
            for n in sorted(known)
        ]
    if state.names is None or file not in state.names.files:
        return []
    symbol = state.names.region(file, _there(state, offset)).find(base)
    members = symbol.members if symbol is not None else {}
    return [Proposal(name, "member", member.what) for name, member in sorted(members.items())]
