"""`#line` directives: every emitted line that comes from the mathematics says which line of the `.spak`
file."""

from __future__ import annotations

from spakc.source import Span

_RETURN = "#line @generated"


def from_math(code: str, span: Span | None, indent: int) -> str:
    """The code, indented, between a directive to its place in the `.spak` file and one back."""
    body = "\n".join(" " * indent + line if line else line for line in code.split("\n"))
    if span is None:
        return body
    name = span.source.name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'#line {span.line} "{name}"\n{body}\n{_RETURN}'


def resolve_returns(text: str, path: str) -> str:
    """Writes the line numbers of the generated file itself into the directives that return to it. All directives begin
    their line, also where a template has indented what is around them."""
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        directive = line.strip()
        if directive == _RETURN:
            lines[number - 1] = f'#line {number + 1} "{path}"'
        elif directive.startswith("#line "):
            lines[number - 1] = directive
    return "\n".join(lines)
