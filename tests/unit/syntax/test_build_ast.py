"""The syntax tree says what was written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spakc.diagnostics import Sink
from spakc.source import SourceFile, Span
from spakc.syntax import nodes
from spakc.syntax.build_ast import build_ast
from spakc.syntax.parse import parse
from spakc.syntax.surface import UNUSABLE_NAMES

NOWHERE = Span(SourceFile("", ""), 0, 0)


def build(text: str) -> nodes.File:
    source, sink = SourceFile("test.spak", "spak 1\n" + text), Sink()
    tree = parse(source, sink)
    assert tree is not None, sink.diagnostics
    file = build_ast(tree, source, sink)
    assert sink.diagnostics == []
    return file


def expr(text: str) -> nodes.Expr:
    item = build(f"let it = {text}").items[0]
    assert isinstance(item, nodes.Let)
    return item.value


def items(text: str) -> tuple[nodes.Node, ...]:
    """The statements of the one block of a text."""
    return build(text).items[0].items  # type: ignore[attr-defined, no-any-return]


def said(value: object) -> object:
    """An expression in the notation of Lisp, so that a test can say what it expects."""
    match value:
        case nodes.NameExpr(name=name):
            return name
        case nodes.Number(value=number, unit=unit):
            return (number, unit) if unit else number
        case nodes.String(value=text):
            return repr(text)
        case nodes.Unary(op=op, operand=operand):
            return [op, said(operand)]
        case nodes.Binary(op=op, left=left, right=right):
            return [op, said(left), said(right)]
        case nodes.Compare(operands=operands, ops=ops):
            return ["compare", *(said(o) for o in operands), *ops]
        case nodes.Member(item=item, domain=domain):
            return ["in", said(item), said(domain)]
        case nodes.Attribute(base=base, name=name):
            return [".", said(base), name.text]
        case nodes.Index(base=base, indices=indices):
            return ["index", said(base), *map(said, indices)]
        case nodes.Call(function=function, arguments=arguments):
            return ["call", said(function), *(said(a) for a in arguments)]
        case nodes.Argument(name=name, value=inner):
            return said(inner) if name is None else {name.text: said(inner)}
        case nodes.TupleExpr(items=inner_items):
            return tuple(map(said, inner_items))
        case nodes.SetExpr(items=inner_items):
            return ["set", *map(said, inner_items)]
        case nodes.Range(first=first, last=last, by=by):
            return ["..", said(first), said(last), *([said(by)] if by else [])]
        case nodes.Phased(first=first, second=second, start=start):
            return ["then", said(first), said(second), said(start)]
        case nodes.Bool(value=truth):
            return truth
        case nodes.Infinity():
            return "∞"
    raise AssertionError(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a - b - c", ["-", ["-", "a", "b"], "c"]),
        ("a - (b - c)", ["-", "a", ["-", "b", "c"]]),
        ("a + b * c // d % e", ["+", "a", ["%", ["//", ["*", "b", "c"], "d"], "e"]]),
        ("-a * b", ["*", ["-", "a"], "b"]),
        ("- - a", ["-", ["-", "a"]]),
        ("a - -b", ["-", "a", ["-", "b"]]),
        ("not a == b and c or d", ["or", ["and", ["not", ["compare", "a", "b", "=="]], "c"], "d"]),
        ("a or b or c", ["or", ["or", "a", "b"], "c"]),
        ("a < b <= c", ["compare", "a", "b", "c", "<", "<="]),
        ("(a < b) <= c", ["compare", ["compare", "a", "b", "<"], "c", "<="]),
        ("a < (b <= c)", ["compare", "a", ["compare", "b", "c", "<="], "<"]),
        ("a in 1..4 step 2 and b", ["and", ["in", "a", ["..", 1, 4, 2]], "b"]),
        ("a in {1, 2}", ["in", "a", ["set", 1, 2]]),
        ("sum[k](A[m, k] * B[])", ["call", ["index", "sum", "k"],
                                   ["*", ["index", "A", "m", "k"], ["index", "B"]]]),
        ("a.b.c(1)(x = 1..3)[2]", ["index", ["call", ["call", [".", [".", "a", "b"], "c"], 1],
                                             {"x": ["..", 1, 3]}], 2]),
        ("f()", ["call", "f"]),
        ("f(decay = 1e-4 then 0.1 from 50%)", ["call", "f", {"decay": ["then", 1e-4, 0.1, (50, "%")]}]),
        ("(a, b)", ("a", "b")),
        ("((a))", "a"),
        ("{}", ["set"]),
        ("where(true, inf, false)", ["call", "where", True, "∞", False]),
        ("227 KiB", (227, "KiB")),
        ("3_350.5 GB/s", (3350.5, "GB/s")),
        ("8tokens/s", (8, "tokens/s")),
        ("0.5%", (0.5, "%")),
        ("1_000", 1000),
        ("2e3", 2000.0),
        ("1.5e-2", 0.015),
        (r'"a\"b\\n\n\t#"', repr('a"b\\n\n\t#')),
    ],
)  # fmt: skip
def test_expression(text: str, expected: object) -> None:
    assert said(expr(text)) == expected


def test_whole_numbers_stay_whole() -> None:
    assert isinstance(said(expr("4")), int) and isinstance(said(expr("4.0")), float)


def test_span_of_a_part_leaves_out_its_parentheses() -> None:
    value = expr("(a + b) * (c)")
    assert isinstance(value, nodes.Binary)
    assert value.span.text == "(a + b) * (c)"
    assert (value.left.span.text, value.right.span.text) == ("a + b", "c")
    chain = expr("(a) - b - c")
    assert isinstance(chain, nodes.Binary)
    assert chain.left.span.text == "(a) - b"


def test_head_of_a_file() -> None:
    file = build('use std.devices use "../a\\\\b.spak" as b use "c.spak" targets h100, cpu intent "x"')
    assert [(u.path, u.file, u.alias and u.alias.text) for u in file.uses] == [
        ("std.devices", None, None),
        (None, "../a\\b.spak", "b"),
        (None, "c.spak", None),
    ]
    assert [t.text for t in file.targets] == ["h100", "cpu"]
    assert file.version == 1 and file.items == (nodes.Intent("x", span=NOWHERE),)


def test_one_node_a_declared_name() -> None:
    kernel = items(
        "kernel k: rows { dim A, B in {1, 2} inout p, q: f32 | same(x) [A, 2 * B] layout row | column }"
    )
    dim_a, dim_b, p, q = kernel
    assert isinstance(dim_a, nodes.Dim) and isinstance(dim_b, nodes.Dim)
    assert (dim_a.domain, said(dim_b.domain)) == (None, ["set", 1, 2])
    assert isinstance(p, nodes.TensorDecl) and isinstance(q, nodes.TensorDecl)
    assert [v for v in q.said() if v != q.name] == [v for v in p.said() if v != p.name]
    assert (p.role, p.name.text, q.name.text) == ("inout", "p", "q")
    assert [(t.name, t.argument and t.argument.text) for t in p.types] == [("f32", None), ("same", "x")]
    assert [said(e) for e in p.shape] == ["A", ["*", 2, "B"]]
    assert [name.text for name in p.layouts] == ["row", "column"] and p.optional is None
    hyper = items("model m { hyper a = 1, b = 2 + 3 }")
    assert [(h.name.text, said(h.value), h.span.text) for h in hyper if isinstance(h, nodes.Hyper)] == [
        ("a", 1, "a = 1"),
        ("b", ["+", 2, 3], "b = 2 + 3"),
    ]


def test_clauses_that_were_left_out() -> None:
    first, second = build(
        'law a: x when y because "z" '
        'claim c on h, g: x with confidence 95% for every i in 1..2, (j, k) in s because "w"'
    ).items
    assert isinstance(first, nodes.Law) and isinstance(second, nodes.Claim)
    assert (said(first.when), first.because) == ("y", "z")
    assert [n.text for n in second.on] == ["h", "g"]
    assert (said(second.confidence), second.because) == ((95, "%"), "w")
    assert [[n.text for n in b.names] for b in second.quantifier] == [["i"], ["j", "k"]]
    bare_law, bare_claim = build("law a: x claim c: x").items
    assert isinstance(bare_law, nodes.Law) and isinstance(bare_claim, nodes.Claim)
    assert (bare_law.when, bare_law.because) == (None, None)
    assert (bare_claim.on, bare_claim.confidence, bare_claim.quantifier, bare_claim.because) == (
        (),
        None,
        (),
        None,
    )


def test_schedule() -> None:
    (schedule,) = items(
        "kernel k: rows { schedule s like t needs device.a, b { knob x in {1} at launch knob y in 1..2 "
        "config c on h { x = 1 m.n = 2 } prefer x == 1 when y } }"
    )
    assert isinstance(schedule, nodes.Schedule) and schedule.like is not None
    assert [said(e) for e in schedule.needs] == [[".", "device", "a"], "b"]
    x, y, config, prefer = schedule.items
    assert isinstance(x, nodes.Knob) and isinstance(y, nodes.Knob)
    assert (x.at_launch, y.at_launch) == (True, False)
    assert isinstance(config, nodes.Config) and [s.key for s in config.settings] == ["x", "m.n"]
    assert isinstance(prefer, nodes.Prefer) and said(prefer.when) == "y"


def test_model_body() -> None:
    part, forward, supervise = items(
        "model m { part b(x: [B], y: int [T]) -> z: [] { z = x }"
        " forward(t: int [B]) -> z: [B] { repeat 2 { x = t loop l in 1..n carry h = x { h = h } } }"
        " supervise b at l in 1..4 }"
    )
    assert isinstance(part, nodes.Part) and isinstance(forward, nodes.Forward)
    assert [(p.name.text, [t.name for t in p.types]) for p in part.params] == [("x", []), ("y", ["int"])]
    assert part.result.shape == ()
    repeat = forward.body[0]
    assert isinstance(repeat, nodes.Repeat) and len(repeat.body) == 2
    loop = repeat.body[1]
    assert isinstance(loop, nodes.Loop)
    assert (loop.index.text, loop.carry.text, said(loop.initial)) == ("l", "h", "x")
    assert isinstance(supervise, nodes.Supervise) and supervise.part.text == "b"


def test_data_and_experiments() -> None:
    text, loss, answer, plain, sized, fraction = items(
        'dataset d { text a, "b", end loss after "=" answer parallel'
        " split s n in 1..4, m in {2} split t n in {8} size 1_000 weight 30% split u fraction 90% }"
    )
    assert isinstance(text, nodes.Text) and len(text.pieces) == 3
    assert loss == nodes.LossAfter("=", span=NOWHERE)
    assert isinstance(answer, nodes.Answer) and answer.mode.text == "parallel"
    assert isinstance(plain, nodes.Split) and (len(plain.binders), plain.size, plain.weight) == (
        2,
        None,
        None,
    )
    assert isinstance(sized, nodes.Split) and (sized.size, said(sized.weight)) == (1000, (30, "%"))
    assert isinstance(fraction, nodes.Split) and said(fraction.fraction) == (90, "%")
    train, require, show = items("protocol p { gate g { train() require a else hide b, c show d, e } }")[
        0
    ].items  # type: ignore[attr-defined]
    assert train == nodes.Train((), span=NOWHERE)
    assert [n.text for n in require.hide] == ["b", "c"] and len(show.values) == 2
    model, data, protocol, fit, optimizer, lr, vary, profile = items(
        "experiment e like f { model M(n = 1) data a, b protocol p train(steps = 1) optimizer o lr l "
        "vary x in {1}, y in {2} profile cpu { model.n = 2 train.seeds = {0} lr = 1 } }"
    )
    kinds = [model, data, protocol, fit, optimizer, lr, vary, profile]
    assert [type(k).__name__ for k in kinds] == [
        "OfModel", "OfData", "OfProtocol", "Train", "Optimizer", "LearningRate", "Vary", "Profile"
    ]  # fmt: skip
    assert isinstance(profile, nodes.Profile)
    assert [s.key for s in profile.settings] == ["model.n", "train.seeds", "lr"]


def walk(node: object) -> Iterator[nodes.Node]:
    if isinstance(node, tuple):
        for child in node:
            yield from walk(child)
    elif isinstance(node, nodes.Node):
        yield node
        for value in node.said():
            yield from walk(value)


def test_every_node_lies_within_its_parent() -> None:
    from tests.unit.syntax.test_examples import FILES

    for path in FILES:
        source, sink = SourceFile(path.name, path.read_text()), Sink()
        tree = parse(source, sink)
        assert tree is not None
        for parent in walk(build_ast(tree, source, sink)):
            for value in parent.said():
                for child in value if isinstance(value, tuple) else (value,):
                    if isinstance(child, nodes.Node):
                        assert parent.span.start <= child.span.start < child.span.end <= parent.span.end, (
                            child
                        )


@pytest.mark.parametrize(
    "text",
    [
        "let step = 1",
        "kernel k: rows { dim in }",
        "kernel k: rows { input then: f32 [] }",
        "kernel k: rows { schedule s { knob or in {1} } }",
        "kernel k: rows { option inf: f32 = 1 }",
        "model m { hyper repeat = 1 }",
        "model m { part p(loop: []) -> y: [] { y = x } }",
        "dataset d { sample true: f(n) }",
    ],
)
def test_a_value_cannot_be_named_by_a_word_that_continues(text: str) -> None:
    source, sink = SourceFile("test.spak", "spak 1\n" + text), Sink()
    tree = parse(source, sink)
    assert tree is not None
    build_ast(tree, source, sink)
    assert [d.code for d in sink.diagnostics] == ["SPAK115"]
    assert sink.diagnostics[0].labels[0].span.text in UNUSABLE_NAMES
