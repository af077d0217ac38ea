"""`like`: from what a declaration is built, all the way up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from spakc.diagnostics import Sink
from spakc.lower.resolve import Scope, nearest
from spakc.syntax import nodes

_LONGEST = 32


class Inheriting(Protocol):
    """A declaration that may be `like` another of its sort."""

    @property
    def name(self) -> nodes.Name: ...
    @property
    def like(self) -> nodes.Name | None: ...


def ancestors(
    name: str, declared: Mapping[str, tuple[Inheriting, Scope | None]], what: str, sink: Sink
) -> tuple[tuple[str, ...], bool]:
    """The names that `name` is built from, farthest first, itself last; and whether the chain is complete.

    `declared` has every declaration of the sort by its name in the module, with the scope of its file in
    which the name behind `like` is looked up (None: by its plain name in `declared`). Reports SPAK132 for a
    name that is not declared or is of another sort, and for a cycle, once per place; the chain then ends
    there."""
    chain = [name]
    while True:
        node, scope = declared[chain[0]]
        if node.like is None:
            return tuple(chain), True
        parent = _parent(node.like, scope, declared, what, sink)
        if parent is None:
            return tuple(chain), False
        if parent in chain:
            if parent == name:
                _report_cycle(chain, declared, sink)
            return tuple(chain), False
        if len(chain) == _LONGEST:
            message = f"more than {_LONGEST} steps of `like`"
            if all(known.message != message for known in sink.diagnostics):  # not from every link beyond
                sink.report("SPAK132", message, node.like.span, "too long a chain")
            return tuple(chain), False
        chain.insert(0, parent)


def _parent(
    like: nodes.Name,
    scope: Scope | None,
    declared: Mapping[str, tuple[Inheriting, Scope | None]],
    what: str,
    sink: Sink,
) -> str | None:
    also = []
    if scope is None:
        if like.text in declared:
            return like.text
        close = nearest(like.text, declared, sink)
    else:
        entry = scope.find(like.text)
        if entry is not None and entry.what == what and entry.ref in declared:
            return entry.ref
        if entry is not None and entry.span is not None:
            also.append((entry.span, f"`{like.text}` is {entry.what} declared here"))
        visible = scope.visible() if sink.suggests else {}
        same = [key for key, other in visible.items() if other.what == what]
        close = nearest(like.text, same, sink)
    sink.report(
        "SPAK132",
        f"there is no {what.partition(' ')[2]} `{like.text}` to be like",
        like.span,
        "unknown",
        also=also,
        help=[f"did you mean `{close}`?"] if close and close != like.text else (),
    )
    return None


def _report_cycle(
    chain: list[str], declared: Mapping[str, tuple[Inheriting, Scope | None]], sink: Sink
) -> None:
    """Reported from its member that stands first in the text only, so that a cycle is one diagnostic."""
    members = [declared[name][0] for name in reversed(chain)]
    first = min(members, key=lambda node: (node.name.span.source.name, node.name.span.start))
    start = members.index(first)
    order = members[start:] + members[:start]
    path = " like ".join(f"`{node.name.text}`" for node in (*order, first))
    likes = [node.like for node in order if node.like is not None]
    sink.report(
        "SPAK132",
        f"these are built from each other: {path}",
        likes[0].span,
        "the circle closes here" if len(likes) == 1 else "from here",
        also=[(like.span, "and from here") for like in likes[1:]],
    )
