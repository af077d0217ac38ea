"""Names, scalars and tensor expressions of a model as Python text."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Callable, Sequence

from spakc.emit.model_ops import CALLS
from spakc.ir.ops import Apply, Const, Expr, Query, Ref, RefKind
from spakc.source import Span

_WIDTH = 102  # of a statement in a method: 110 less two indentations

# fmt: off
_RESERVED = frozenset((
    *keyword.kwlist, *dir(builtins), *"ijkmn", "F", "Any", "Collection", "Tensor", "config",
    "count", "dataclass", "freeze", "halted", "loop", "loops", "math", "nn", "ops", "previous", "read_at",
    "readings", "self", "sure", "table", "torch",
))
"""Names that a method of the generated file uses for something else."""
_CLASSES = frozenset((
    "Attention", "Config", "Coupled", "Embedding", "LayerNorm", "Linear", "LongestRun", "MLP", "Places", "RMSNorm",
    "Relative", "Rope", "Steps", "Window",
))
_ATTRIBUTES = frozenset((
    "add_module", "apply", "bfloat16", "buffers", "children", "compile", "config", "cpu", "cuda",
    "decayed", "double", "dump_patches", "eval", "extra_repr", "float", "forward", "get_buffer",
    "get_extra_state", "get_parameter", "get_submodule", "half", "halt", "ipu", "load_state_dict",
    "modules", "mtia", "named_buffers", "named_children", "named_modules", "named_parameters", "ops",
    "parameters", "places", "register_buffer", "register_module", "register_parameter",
    "requires_grad_", "set_extra_state", "set_submodule", "share_memory", "state_dict", "supervised",
    "threshold", "to", "to_empty", "train", "training", "type", "xpu", "zero_grad",
))
"""What an nn.Module, or the generated root, has already."""
# fmt: on
_FACTS = ("vocab", "kinds", "markers", "max_length", "max_digits", "blank", "trained_run")
_PLACES = re.compile(r"(rope|relative|window|position|coupled|longest)(_\d+)?\Z")
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "mod": "%", "pow": "**"}
_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
STRENGTH = {"or": 1, "and": 2, "not": 3} | dict.fromkeys(_COMPARE, 4) | {"add": 5, "sub": 5}
STRENGTH |= {"mul": 6, "div": 6, "floordiv": 6, "mod": 6, "neg": 7, "pow": 8}


def safe(name: str) -> str:
    """The name as a variable of the generated file. `l`, `I`, `O` look like digits."""
    if name in ("l", "I", "O"):
        return {"l": "loop", "I": "index_i", "O": "index_o"}[name]
    return name + "_" if name in _RESERVED or name.startswith("_") or _PLACES.match(name) else name


def hyper_name(name: str) -> str:
    """The name as a field of the generated Config, beside those that a dataset fills."""
    return name + "_" if name in _FACTS else safe(name)


def attribute(name: str) -> str:
    """The name as an attribute of a module."""
    return name + "_" if name in _ATTRIBUTES or name.startswith("_") or _PLACES.match(name) else name


def class_name(name: str) -> str:
    """`readout` is the class Readout; a name that a helper has gets a suffix."""
    plain = "".join(part[:1].upper() + part[1:] for part in name.split("_")) or "Part"
    return plain + "_" if plain in _CLASSES or keyword.iskeyword(plain) or plain in _RESERVED else plain


def located(span: Span) -> str:
    """`addition.spak:35`."""
    return f"{span.source.name.rpartition('/')[2]}:{span.line}"


def word(node: Expr | None, default: str) -> str:
    return node.name if isinstance(node, Ref) else default


def flag(node: Expr | None, default: bool) -> bool:
    return bool(node.value) if isinstance(node, Const) else default


def scalar(node: Expr, prefix: str) -> str:
    """A value known before training, over hypers behind `prefix`; of loops whose number is the input's, those that
    the longest document trained on needs."""
    return tensor_text(node, prefix, (), lambda _: f"{prefix}trained_run")


def tensor_text(
    node: Expr,
    prefix: str,
    markers: Sequence[str],
    query: Callable[[Query], str] | None = None,
    strength: int = 0,
) -> str:
    """An expression with as few parentheses as it needs, as an operand of an operation of some `strength`. `query`
    writes operations; a condition over tokens (`after`) selects element by element, one over hypers chooses in
    Python."""

    def write(node: Expr, strength: int) -> str:
        match node:
            case Const():
                return repr(node.value)
            case Ref(kind=RefKind.hyper):
                return prefix + hyper_name(node.name)
            case Ref():
                return safe(node.name)
            case Query(name="after"):
                return f"seen_{markers.index(str(_value(node.args[0])))}"
            case Query():
                assert query is not None, f"{node.name} is no scalar"
                return query(node)
            case Apply():
                text = apply(node)
                return f"({text})" if STRENGTH.get(node.op, 9) < strength else text
        raise AssertionError(f"check lets no {type(node).__name__} through")

    def apply(node: Apply) -> str:
        mine = STRENGTH.get(node.op, 9)
        match node:
            case Apply("add", (some, Apply("where", (wanted, more, Const(value=0))))) if query is not None:
                tight = STRENGTH["and"]
                if "seen_" not in write(wanted, 0):
                    return f"_plus({write(some, 0)}, {write(wanted, tight)} and {write(more, tight + 1)})"
        if node.op in _INFIX or node.op in _COMPARE or node.op in ("and", "or"):
            sign = _INFIX.get(node.op) or _COMPARE.get(node.op) or node.op
            left, right = node.args
            return f"{write(left, mine)} {sign} {write(right, mine + 1)}"
        if node.op == "neg":
            return f"-{write(node.args[0], mine)}"
        if node.op == "not":
            return f"not {write(node.args[0], mine)}"
        if node.op == "where":
            condition, yes, no = (write(argument, 0) for argument in node.args)
            if "seen_" in condition:
                return f"torch.where({condition}, {yes}, {no})"
            return f"({yes} if {condition} else {no})"
        if node.op in ("min", "max", "abs"):
            return f"{node.op}({', '.join(write(argument, 0) for argument in node.args)})"
        if node.op == "ceil_div":
            return f"-(-{write(node.args[0], 7)} // {write(node.args[1], 7)})"
        return CALLS[node.op].format(write(node.args[0], 0))

    return write(node, strength)


def _value(node: Expr) -> object:
    assert isinstance(node, Const)
    return node.value


def signature(start: str, parameters: Sequence[str], result: str) -> list[str]:
    """The first lines of a function."""
    line = f"{start}({', '.join(parameters)}) -> {result}:"
    if len(line) <= _WIDTH + 4:
        return [line]
    if len(", ".join(parameters)) <= _WIDTH - 4:
        return [f"{start}(", f"    {', '.join(parameters)}", f") -> {result}:"]
    return [f"{start}(", *(f"    {parameter}," for parameter in parameters), f") -> {result}:"]


def wrapped(statement: str) -> list[str]:
    """A statement in lines that are not too long: the right-hand side moves to a line of its own."""
    if len(statement) <= _WIDTH or not statement.strip():
        return [statement]
    code, comment_sign, comment = statement.partition("  # ")
    indent = code[: len(code) - len(code.lstrip())]
    end = comment_sign + comment
    if len(code) <= _WIDTH and not code.rstrip().endswith(":"):
        return [f"{indent}# {comment}", code]
    target, sign, value = code.partition(" = ")
    if not sign and code.lstrip().startswith("return "):
        target, sign, value = f"{indent}return", " ", code.lstrip().removeprefix("return ")
    if not sign:
        return [statement + "  # noqa: E501"]
    inner = f"{indent}    {value}"
    tail = "  # noqa: E501" if len(inner) > _WIDTH else ""
    return [f"{target}{sign}({end}", inner + tail, f"{indent})"]


def times(count: int, factors: tuple[str, ...]) -> str:
    return " * ".join([str(count)] * (count != 1 or not factors) + [factor(each) for each in factors])


def bare(text: str) -> str:
    """An expression that stands for itself, without a pair of parentheses around all of it."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return text[1:-1] if character == ")" and place == len(text) - 1 and text[0] == "(" else text
    return text


def factor(text: str) -> str:
    return f"({text})" if " " in text else text


def indented(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]
