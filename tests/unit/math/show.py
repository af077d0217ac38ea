"""Expressions as one line, for assertions on meaning that a reader can check."""

from __future__ import annotations

from spakc.ir.ops import Apply, Const, Expr, Load, Reduce, Ref

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "mod": "%", "eq": "==", "ne": "!=",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "and": "and", "or": "or",
}  # fmt: skip


def show(expr: Expr) -> str:
    match expr:
        case Const(value=value):
            return str(value)
        case Ref(name=name):
            return name
        case Load(tensor=tensor, indices=indices, new=new):
            name = f"new({tensor})" if new else tensor
            return f"{name}[{', '.join(map(show, indices))}]"
        case Reduce(op=op, axes=axes, body=body):
            return f"{op}[{', '.join(axes)}]({show(body)})"
        case Apply(op="neg", args=(inner,)):
            return f"-{show(inner)}"
        case Apply(op=op, args=args) if op in _INFIX:
            return "(" + f" {_INFIX[op]} ".join(map(show, args)) + ")"
        case Apply(op=op, args=args):
            return f"{op}({', '.join(map(show, args))})"
    return repr(expr)
