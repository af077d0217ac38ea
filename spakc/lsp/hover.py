"""What an editor shows of the name under the cursor, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from spakc.check.model_shapes import show_shape, show_size
from spakc.contract.spaces import lawful_values
from spakc.ir.constraint import show
from spakc.ir.facts import FACTS
from spakc.ir.queries import QUERIES
from spakc.lsp.project import State
from spakc.lsp.symbols import Symbol
from spakc.source import Span
from spakc.status import evidence_text
from spakc.syntax import nodes
from spakc.syntax.scan import Lexeme, lexemes


def hover(state: State, file: str, offset: int) -> tuple[str, Span | None] | None:
    """The text for a place, and the name that it is about."""
    found = state.names.at(file, offset) if state.names is not None and state.current else None
    if found is not None:
        symbol, span = found
        return "\n\n".join(_symbol(state, symbol)), span
    word = word_at(state.text, offset)
    known = _word(state, word) if word else ""
    return (known, None) if known else None


def _symbol(state: State, symbol: Symbol) -> Iterator[str]:
    span, node = symbol.declared[0] if symbol.declared else (symbol.places[0], None)
    head = _head(node) if node is not None else symbol.name
    yield f"```spak\n{head}\n```"
    yield f"{symbol.what}, declared in {span.source.name}:{span.line}"
    if symbol.what == "a knob":
        yield from _knob(state, symbol)
    elif symbol.what == "a law":
        yield from _law(state, symbol)
    elif symbol.what == "a schedule":
        yield from _schedule(state, symbol)
    elif symbol.what == "a claim" or symbol.what == "a kernel":
        yield from _status(state, symbol)
    else:
        yield from _shape(state, symbol, span)


def _head(node: nodes.Node) -> str:
    """A statement, without its block where it has a long one."""
    text = node.span.text
    if "\n" in text and "{" in text:
        text = text.partition("{")[0].rstrip() + " { … }"
    return " ".join(text.split())


def _knob(state: State, symbol: Symbol) -> Iterator[str]:
    """Its lawful values in every schedule and on every target."""
    places = {(s.source.name, s.start) for s, _ in symbol.declared}
    for (kernel, schedule, target), space in (state.checked.module.spaces if state.checked else {}).items():
        for knob in space.schedule.knobs.values():
            if (knob.span.source.name, knob.span.start) in places:
                values = ", ".join(map(show, lawful_values(space)[knob.name]))
                on = f" on {target}" if target else ""
                yield f"lawful in {kernel}.{schedule}{on}: {values or 'nothing'}"


def _law(state: State, symbol: Symbol) -> Iterator[str]:
    places = {(s.source.name, s.start) for s, _ in symbol.declared}
    for (kernel, schedule, target), space in (state.checked.module.spaces if state.checked else {}).items():
        for cut in space.cuts:
            if (cut.law.span.source.name, cut.law.span.start) in places:
                on = f" on {target}" if target else ""
                yield (
                    f"cuts {cut.alone + cut.among:,} of {space.points:,} points of {kernel}.{schedule}{on}, "
                    f"{cut.alone:,} of them alone"
                )
    yield from _status(state, symbol)


def _schedule(state: State, symbol: Symbol) -> Iterator[str]:
    places = {(s.source.name, s.start) for s, _ in symbol.declared}
    for (kernel, schedule, target), space in (state.checked.module.spaces if state.checked else {}).items():
        if (space.schedule.span.source.name, space.schedule.span.start) in places:
            on = f" on {target}" if target else ""
            yield f"{space.lawful_points:,} of {space.points:,} points of {kernel}.{schedule} are lawful{on}"


def _status(state: State, symbol: Symbol) -> Iterator[str]:
    """What is known of the statements that stand at the name."""
    places = {(s.source.name, s.start) for s, _ in symbol.declared}
    for entry in state.page():
        span = entry.statement.span
        at_kernel = symbol.what == "a kernel" and entry.statement.id == f"verify {symbol.name}"
        if (
            entry.status.applicable
            and span is not None
            and ((span.source.name, span.start) in places or at_kernel)
        ):
            on = f" on {entry.statement.target}" if entry.statement.target else ""
            note = f": {entry.status.note}" if entry.status.note else ""
            yield f"**{entry.status.verdict.value}** {evidence_text(entry)}{on}{note}"


def _shape(state: State, symbol: Symbol, span: Span) -> Iterator[str]:
    """The inferred shape of an intermediate, or of a model's value in the part around it."""
    if state.checked is None:
        return
    checked = state.checked.module
    for name, kernel in checked.module.kernels.items():
        if any(e.target == symbol.name and _inside(span, e.span) for e in kernel.math):
            shape = checked.kernels[name].extents.shapes.get(symbol.name)
            dtype = checked.kernels[name].dtypes.get(symbol.name)
            if shape is not None:
                kind = f"{dtype.value} " if dtype is not None else ""
                yield f"shape: {kind}[{', '.join(map(show_size, shape))}]"
    for name, part in _parts(state):
        model = next((m for n, m in checked.models.items() if n == name or n.endswith(f".{name}")), None)
        part_name = part.name.text if isinstance(part, nodes.Part) else "forward"
        found = model.values.get(part_name, {}).get(symbol.name) if model is not None else None
        if found is not None and _inside(span, part.span):
            yield f"shape: {show_shape(found)}"


def _parts(state: State) -> Iterator[tuple[str, nodes.Part | nodes.Forward]]:
    for file in state.names.program.files.values() if state.names is not None else ():
        for item in file.items:
            for part in item.items if isinstance(item, nodes.Model) else ():
                if isinstance(part, (nodes.Part, nodes.Forward)):
                    yield item.name.text, part  # type: ignore[attr-defined]


def _inside(inner: Span, outer: Span) -> bool:
    return inner.source.name == outer.source.name and outer.start <= inner.start <= inner.end <= outer.end


def _word(state: State, word: str) -> str:
    """A function of the language, or a fact of the device with its value on every target."""
    base, _, member = word.partition(".")
    if base == "device" and member in FACTS:
        values = []
        if state.checked is not None:
            module = state.checked.module.module
            for target in module.targets:
                value = module.devices[target].facts.get(member)
                values.append(f"{target}: {show(value) if value is not None else 'not stated'}")
        said = f"```spak\n{word}\n```\n\na fact of the device: {FACTS[member].meaning}"
        return said + (f"\n\n{', '.join(values)}" if values else "")
    spec = QUERIES.get(word)
    if spec is None:
        return ""
    means = f", established by {spec.means.value}" if spec.means is not None else ""
    return f"```spak\n{spec.signature}\n```\n\na function of the language{means}"


def word_at(text: str, offset: int) -> str:
    """The word at a place, with what stands before its dot."""
    around = [lexeme for lexeme in lexemes(text) if lexeme.start <= offset + 40 and lexeme.end >= offset - 40]
    for i, lexeme in enumerate(around):
        if lexeme.kind == "word" and lexeme.start <= offset <= lexeme.end:
            return _dotted(around, i)
    return ""


def _dotted(around: list[Lexeme], i: int) -> str:
    if i >= 2 and around[i - 1].text == "." and around[i - 2].kind == "word":
        return f"{around[i - 2].text}.{around[i].text}"
    return around[i].text
