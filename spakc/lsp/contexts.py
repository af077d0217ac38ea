"""Places that take one of a closed list of words: what those are, by the words before the place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from spakc.ir.facts import FACTS
from spakc.ir.ops import ACTIVATIONS
from spakc.ir.types import TYPE_NAMES
from spakc.lower.lower_kernel import FAMILIES, VALUES
from spakc.lower.lower_model import OPERATIONS
from spakc.lower.lower_roles import STATEMENTS
from spakc.lower.lower_tensor import LAYOUTS
from spakc.lsp.symbols import Region, Symbol
from spakc.resources import resource
from spakc.syntax.scan import Lexeme

Choices = dict[str, str]
"""What may stand there, with what each is."""

OPERAND_FOLLOWS = frozenset(
    ("=", "(", ",", "[", "+", "-", "*", "/", "//", "%", "<", ">", "<=", ">=", "==", "!=", "..", "and", "or", "not",
     "in", "when", "step", "require", "tolerance")
)  # fmt: skip
"""Behind these an expression goes on: no statement begins there."""


def choices_at(block: str, before: Sequence[Lexeme], region: Region | None) -> Choices | None:
    """The words that may stand behind `before` in a block, if they are a closed list; else None. `region` has the names
    that are known there."""
    head, listed = _head_of_list(before)
    words = [lexeme.text for lexeme in before]
    if words[-2:] == ["std", "."] and words[-3:-2] == ["use"]:
        return dict.fromkeys(modules(), "a module of the compiler")
    if words[-1:] == ["use"]:
        return {"std": "modules of the compiler"}
    if words[-1:] == [":"]:
        return _behind_colon(words, listed=False)
    if listed and head is not None and words[head : head + 1] == [":"]:
        return _behind_colon(words[: head + 1], listed=True)
    if head is None:
        return None
    of = _LISTS.get((words[head], listed)) or _LISTS.get((words[head], None))
    if of is None:
        return None
    before_head = words[head - 1] if head else ""
    return of(block, before_head, [*_visible(region), *_schedules(words, region)])


def modules() -> list[str]:
    return sorted(path.stem for path in (resource("examples") / "std").glob("*.spak"))


def _head_of_list(before: Sequence[Lexeme]) -> tuple[int | None, bool]:
    """Where the word or sign stands behind which the place comes, past members of a list; whether there are such."""
    i = len(before) - 1
    while i >= 2 and before[i].text in (",", "|") and before[i - 1].kind == "word":
        i -= 2
    return (i if i >= 0 else None), i < len(before) - 1


def _behind_colon(words: list[str], *, listed: bool) -> Choices | None:
    """`kernel x: FAMILY`, `input A: DTYPE | DTYPE`, `option a: CHOICE | CHOICE`."""
    head = words[-3] if len(words) >= 3 else ""
    if head == "kernel" and not listed:
        return dict.fromkeys(FAMILIES, "a family of kernels")
    if head in ("input", "output", "inout"):
        return dict.fromkeys(TYPE_NAMES, "a type") | (
            {} if listed else {"same": "the type of another tensor"}
        )
    if head == "option":
        return dict.fromkeys(ACTIVATIONS, "an activation") | (
            {} if listed else dict.fromkeys(TYPE_NAMES, "a type")
        )
    return None


def _visible(region: Region | None) -> list[Symbol]:
    return list(region.visible().values()) if region is not None else []


def _schedules(words: Sequence[str], region: Region | None) -> list[Symbol]:
    """Of the kernel around the place."""
    at = next(
        (i for i in range(len(words) - 3, -1, -1) if words[i] == "kernel" and words[i + 2] == ":"), None
    )
    kernel = region.find(words[at + 1]) if at is not None and region is not None else None
    return [] if kernel is None else [each for each in kernel.members.values() if each.what == "a schedule"]


Known = list[Symbol]
_Of = Callable[[str, str, Known], Choices | None]


def _fixed(words: Iterable[str], what: str, *blocks: str) -> _Of:
    choices = dict.fromkeys(words, what)
    return lambda block, _before, _known: choices if not blocks or block in blocks else None


def _named(*what: str, blocks: tuple[str, ...] = ()) -> _Of:
    """Names of some kinds."""

    def choices(block: str, _before: str, known: Known) -> Choices | None:
        if blocks and block not in blocks:
            return None
        return {each.name: each.what for each in known if each.what in what}

    return choices


def _like(block: str, before: str, known: Known) -> Choices | None:
    """Of the kind that is being declared: the block around tells it, or nothing does."""
    what = {"kernel": "a schedule", "": ""}.get(block, "")
    kinds = (what,) if what else ("a device", "an experiment")
    return {each.name: each.what for each in known if each.what in kinds and each.name != before}


_LISTS: dict[tuple[str, bool | None], _Of] = {
    ("owns", None): _fixed(STATEMENTS, "a statement"),
    ("values", None): _fixed(VALUES, "a kind of values", "verify"),
    ("layout", None): _fixed(LAYOUTS, "a layout"),
    ("accumulate", False): _fixed(("f32", "f64"), "a type", "kernel"),
    ("targets", None): _named("a device"),
    ("on", None): _named("a device"),
    ("like", False): _like,
    ("implement", False): _named("a kernel", blocks=("",)),
    ("model", False): _named("a model", blocks=("experiment",)),
    ("data", None): _named("a dataset", blocks=("experiment",)),
    ("protocol", False): _named("a protocol", blocks=("experiment",)),
    ("uses", False): _named("a kernel", blocks=("model",)),
    ("for", None): _fixed(OPERATIONS, "an operation of models", "model"),
    ("wrt", None): _named("an input", "an inout tensor"),
    ("gradient", None): _named("an output", "an inout tensor"),
}


def settings_of_device() -> Choices:
    """What a `device` says of itself."""
    return {name: fact.meaning for name, fact in FACTS.items()}
