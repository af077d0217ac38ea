"""Walking and rewriting."""

from __future__ import annotations

from spakc.ir.ops import Apply, Const, Expr, Interval, Load, Members, Query, Reduce, Ref, RefKind, Tuple
from spakc.ir.visit import children, loads, references, substitute, transform, walk, with_children

i, j = Ref("i", RefKind.index), Ref("j", RefKind.index)
EVERY: tuple[Expr, ...] = (
    Const(1),
    i,
    Load("x", (i, j)),
    Apply("add", (i, j)),
    Reduce("sum", ("j",), Load("x", (j,))),
    Query("f", (i,), (("g", j),)),
    Members((i, j)),
    Tuple((i, j)),
    Interval(i, j),
    Interval(i, j, Const(2)),
)


def test_every_node_is_rebuilt_from_its_children() -> None:
    for expr in EVERY:
        assert with_children(expr, children(expr)) == expr
        assert transform(expr, lambda node: node) is expr
        assert next(walk(expr)) is expr


def test_transform_goes_from_the_leaves_up() -> None:
    seen: list[Expr] = []
    transform(Apply("add", (i, Apply("neg", (j,)))), lambda node: seen.append(node) or node)  # type: ignore[func-returns-value]
    assert seen == [i, j, Apply("neg", (j,)), Apply("add", (i, Apply("neg", (j,))))]


def test_substitute_respects_the_axes_of_a_reduction() -> None:
    expr = Apply("add", (Load("x", (i, j)), Reduce("sum", ("j",), Load("x", (i, j)))))
    found = substitute(expr, {(RefKind.index, "j"): Const(0), (RefKind.index, "i"): Const(1)})
    inner = Reduce("sum", ("j",), Load("x", (Const(1), j)))
    assert found == Apply("add", (Load("x", (Const(1), Const(0))), inner))


def test_references_and_loads() -> None:
    expr = Apply("add", (Load("x", (Load("y", (i,)),)), Ref("M", RefKind.dim)))
    assert references(expr, RefKind.index) == {"i"} and references(expr, RefKind.dim) == {"M"}
    assert [load.tensor for load in loads(expr)] == ["x", "y"]
