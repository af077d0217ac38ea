"""What the CUDA templates see: a launch's parameters, types and mathematics as ready-made C++ text.

The templates speak in roles (rows, columns, left, kept, …); every name of the file is already mangled
here, and every line of mathematics carries its `#line`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from spak_runtime.manifest import Param
from spakc.emit.attention import attention_context
from spakc.emit.attention_gradient import attention_gradient_context, whole_gradient_context
from spakc.emit.expressions import (
    Scope,
    address,
    as_float,
    chosen,
    expression,
    function_name,
    identifier,
    tensor_kind,
    word,
)
from spakc.emit.groups import (
    REDUCERS,
    Group,
    index_group,
    map_name,
    mapped,
    origin_code,
    store_statement,
    with_indices,
)
from spakc.emit.held import HELD_TEMPLATE, held_rows
from spakc.emit.operations import Code
from spakc.emit.source_map import from_math
from spakc.ir.inline import index_name
from spakc.ir.module import Tensor
from spakc.ir.ops import Apply, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.types import DType
from spakc.ir.visit import loads, walk
from spakc.plan.launch import LaunchPlan, Signature, Uses, expressions_of, stores_of, uses_of
from spakc.plan.problem import (
    AttentionGradientProblem,
    AttentionProblem,
    ElementwiseProblem,
    IndexRange,
    Operand,
    PanelProblem,
    ProductProblem,
    RowsProblem,
    Store,
    WholeGradientProblem,
)
from spakc.plan.shared import shared_of
from spakc.plan.vectors import innermost_offset, loads_beside, row_levels, vector_loads

_CPP_TYPES = {
    DType.bf16: "bf16",
    DType.f16: "f16",
    DType.f32: "f32",
    DType.f64: "double",
    DType.int32: "i32",
    DType.int64: "i64",
    DType.bool: "bool",
}


def launch_context(launch: LaunchPlan, signature: Signature, title: str, source: str) -> dict[str, Any]:
    """The context of one launch's template: `k` and nothing else."""
    assert launch.problem is not None, "only generated sources have a context"
    scope = Scope(signature.tensors, signature.dims, signature.options)
    context = _common(launch, signature, title, source)
    problem = launch.problem
    if isinstance(problem, ProductProblem):
        context |= _product(problem, signature, scope)
    elif isinstance(problem, RowsProblem):
        held = launch.template == HELD_TEMPLATE
        context |= held_rows(problem, signature, scope) if held else _rows(problem, scope)
    elif isinstance(problem, AttentionProblem):
        context |= attention_context(problem, scope)
    elif isinstance(problem, PanelProblem):
        context |= _panel(problem, signature)
    elif isinstance(problem, AttentionGradientProblem):
        context |= attention_gradient_context(problem, scope)
    elif isinstance(problem, WholeGradientProblem):
        context |= whole_gradient_context(problem, scope)
    else:
        context |= _elementwise(problem, signature, scope)
    return {"k": context}


# ---- what every launch has ------------------------------------------------------------------------------


def _common(launch: LaunchPlan, signature: Signature, title: str, source: str) -> dict[str, Any]:
    assert launch.problem is not None
    uses = uses_of(launch.problem, signature)
    written = {store.tensor for store in stores_of(launch.problem)}
    return {
        "title": " ".join(title.split()),
        "source": " ".join(source.split()),
        "entry": launch.entry,
        "words": _words(uses, signature),
        "types": type_aliases(uses.tensors, signature, _CPP_TYPES),
        "fields": [_field(param, signature, written) for param in launch.params],
        "dispatchers": _dispatchers(launch, signature),
    }


def _words(uses: Uses, signature: Signature) -> list[str]:
    """Every word that a choice of this kernel may be, sorted."""
    words = {choice for name in uses.options for choice in signature.options[name].choices}
    words |= {layout for name in uses.tensors for layout in signature.tensors[name].layouts}
    return [identifier("w", name) for name in sorted(words)]


def type_aliases(
    names: Iterable[str], signature: Signature, fixed: Mapping[DType, str]
) -> list[dict[str, str]]:
    """One alias a tensor; tensors of equal dtype refer to the one that decides it. `fixed` names types."""
    wanted = dict.fromkeys(root for name in names for root in (signature.dtype_root(name), name))
    types = []
    for name in wanted:
        root = signature.dtype_root(name)
        if root != name:
            value = identifier("T", root)
        elif signature.is_free(name):
            value = identifier("DTYPE", name)
        else:
            value = fixed[signature.tensors[name].dtypes[0]]
        types.append({"name": identifier("T", name), "value": value})
    return types


def _field(param: Param, signature: Signature, written: set[str]) -> dict[str, str]:
    if param.kind == "pointer":
        tensor = signature.tensors[param.name]
        const = "" if param.name in written else "const "
        shape = ", ".join(_plain(size) for size in tensor.shape)
        declaration = f"{const}{identifier('T', param.name)}* {identifier('t', param.name)}"
        return {"declaration": declaration, "comment": f"[{shape}]"}
    if param.kind == "tensor_map":
        return {"declaration": f"TensorMap {map_name(param.name, param.axis)}", "comment": ""}
    if isinstance(param.value, list) and param.value[0] in ("knob", "fact"):
        prefix = {"knob": "k", "fact": "f"}[param.value[0]]
        return {"declaration": f"{param.type} {identifier(prefix, param.name)}", "comment": ""}
    if param.kind == "value" and param.name not in signature.tensors and param.name not in signature.carried:
        return {"declaration": f"{param.type} {identifier('v', param.name)}", "comment": ""}
    if param.kind in ("stride", "value"):
        return {"declaration": f"{param.type} {identifier('s', param.name)}_{param.axis}", "comment": ""}
    prefix = {"dim": "d", "option": "o"}[param.kind]
    return {"declaration": f"{param.type} {identifier(prefix, param.name)}", "comment": ""}


def _plain(size: Expr) -> str:
    """A shape expression for a comment."""
    infix = {"mul": "*", "add": "+", "sub": "-", "floordiv": "//", "mod": "%"}
    if isinstance(size, Ref):
        return identifier("", size.name)[1:]
    if isinstance(size, Apply) and size.op in infix and len(size.args) == 2:
        return f"({_plain(size.args[0])} {infix[size.op]} {_plain(size.args[1])})"
    if isinstance(size, Apply):
        return f"{size.op}({', '.join(map(_plain, size.args))})"
    return str(getattr(size, "value", "?"))


def _dispatchers(launch: LaunchPlan, signature: Signature) -> list[dict[str, Any]]:
    """Functions that an option chooses, one for each option that the mathematics calls."""
    return [
        {
            "name": identifier("call", name),
            "option": identifier("", name)[1:],
            "chosen": chosen("OPTION", name),
            "choices": [{"word": word(c), "function": function_name(c)} for c in choices],
        }
        for name, choices in called_options(launch, signature).items()
    ]


def called_options(launch: LaunchPlan, signature: Signature) -> dict[str, tuple[str, ...]]:
    """The options that the mathematics calls as functions, and what they may be."""
    assert launch.problem is not None
    called = {
        node.args[0].name
        for expr in expressions_of(launch.problem)
        for node in walk(expr)
        if isinstance(node, Apply)
        and node.op == "call"
        and isinstance(node.args[0], Ref)
        and node.args[0].kind is RefKind.option
    }
    return {name: option.choices for name, option in signature.options.items() if name in called}


# ---- product --------------------------------------------------------------------------------------------


def _product(problem: ProductProblem, signature: Signature, scope: Scope) -> dict[str, Any]:
    every = (*problem.batch, *problem.rows, *problem.columns, *problem.reduced)
    inner = with_indices(scope, every)
    outer = inner.with_locals({problem.accumulator: Code("accumulator", "f32")})
    left, right = (expression(operand.load, inner) for operand in problem.operands)
    step = f"accumulator = fma_f32({as_float(left)}, {as_float(right)}, accumulator);"
    beside = loads_beside(problem, signature)
    outputs = [
        _product_output(role, store, problem, outer, beside) for role, store in enumerate(problem.outputs, 2)
    ]
    whole = [step, *(output["write"] for output in outputs)]
    context: dict[str, Any] = {
        "batch": index_group(problem.batch, scope, whole),
        "rows": index_group(problem.rows, scope, whole),
        "columns": index_group(problem.columns, scope, whole),
        "reduced": index_group(problem.reduced, scope, [step]),
        "accumulate": from_math(step, problem.span, 4),
        "outputs": outputs,
        "in_parts": problem.parts is not None,
    }
    for side, operand, read in (("left", problem.left, left), ("right", problem.right, right)):
        statement = f"value = {as_float(read)};"
        context[side] = {
            "type": identifier("T", operand.tensor),
            "read": from_math(statement, operand.span or problem.span, 8),
            "along_depth": _along(operand, problem.reduced),
        }
        context[f"{side}_reads"] = _groups(problem, scope, [statement])
    context["written"] = _groups(problem, scope, whole[1:])
    if len(problem.rows) == len(problem.columns) == len(problem.reduced) == 1:
        reduced = problem.reduced[0].name
        context["left"] |= _operand(0, problem.left, problem.rows[0].name, reduced, signature, inner)
        context["right"] |= _operand(1, problem.right, problem.columns[0].name, reduced, signature, inner)
        code = [output["value"] for output in outputs]
        origins = [part.get("origin", "") for part in (context["left"], context["right"], *outputs)]
        context["tile"] = _groups(problem, scope, code)
        context["tile"]["batch"] = index_group(problem.batch, scope, [*code, *origins])
        loaded = [context[side].get("coordinates", "") for side in ("left", "right")]
        stored = [output.get("coordinates", "") for output in outputs]
        context["loads"] = {"batch": index_group(problem.batch, scope, loaded)}
        context["stores"] = {"batch": index_group(problem.batch, scope, [*code, *stored])}
    return context


def _groups(problem: ProductProblem, scope: Scope, code: list[str]) -> dict[str, Group]:
    """Rows, columns and reduced indices as this code needs them declared."""
    groups = {"rows": problem.rows, "columns": problem.columns, "reduced": problem.reduced}
    return {name: index_group(ranges, scope, code) for name, ranges in groups.items()}


def _along(operand: Operand, reduced: tuple[IndexRange, ...]) -> str:
    """Whether neighbours along the reduced axis are neighbours in memory, as far as a kernel can tell."""
    axis = operand.axis_of(reduced[-1].name)
    if axis is None:
        return "false"
    return f"contiguous(params.{identifier('s', operand.tensor)}_{axis})"


def _product_output(
    role: int, store: Store, problem: ProductProblem, scope: Scope, beside: tuple[Load, ...]
) -> dict[str, str]:
    """`beside` are read in pairs of neighbours where a template does that."""
    in_pairs = replace(scope, in_place=True).with_loads({load: _in_pair(load, scope) for load in beside})
    result = {
        "type": identifier("T", store.tensor),
        "write": store_statement(store, scope, 2),
        "value": from_math(f"return {expression(store.value, scope).text};", store.span, 6),
        "value_in_place": from_math(f"return {expression(store.value, in_pairs).text};", store.span, 8),
        "in_pairs": "true" if set(beside) & set(loads(store.value)) else "",
        "changed": "true" if store.tensor in {load.tensor for load in loads(store.value)} else "",
    }
    fixed = Operand(store.tensor, store.indices)
    axes = [fixed.axis_of(group[0].name) for group in (problem.rows, problem.columns)]
    if None not in axes:
        stride = identifier("s", store.tensor)
        result["stride_row"], result["stride_column"] = (f"params.{stride}_{axis}" for axis in axes)
        result["origin"] = origin_code(fixed, axes, scope)
        result |= mapped(role, fixed, axes, scope)
    return result


def _in_pair(load: Load, scope: Scope) -> Code:
    """An element of a row that lies in one piece, by what reads neighbours together."""
    row, column = address(load, scope, -1), expression(load.indices[-1], scope)
    kind = tensor_kind(scope.tensors[load.tensor], scope.tensors)
    return Code(f"beside.read({row}, {column.text})", kind)


def _operand(
    role: int, operand: Operand, outer: str, reduced: str, signature: Signature, scope: Scope
) -> dict[str, str]:
    outer_axis, k_axis = operand.axis_of(outer), operand.axis_of(reduced)
    if outer_axis is None or k_axis is None:
        return {}
    contiguous = signature.contiguous_axes(operand.tensor)
    if len(set(contiguous)) == 1:
        k_major = "true" if contiguous[0] == k_axis else "false"
    else:
        layouts = signature.tensors[operand.tensor].layouts
        layout = layouts[contiguous.index(k_axis)]
        k_major = f"{chosen('LAYOUT', operand.tensor)} == {word(layout)}"
    stride = f"params.{identifier('s', operand.tensor)}"
    return {
        "k_major": f"({k_major})" if " " in k_major else k_major,
        "origin": origin_code(operand, (outer_axis, k_axis), scope),
        "stride_outer": f"{stride}_{outer_axis}",
        "stride_k": f"{stride}_{k_axis}",
        **mapped(role, operand, (outer_axis, k_axis), scope),
    }


# ---- rows -----------------------------------------------------------------------------------------------


def _rows(
    problem: RowsProblem, scope: Scope, element: Callable[[Store, Scope, int], str] = store_statement
) -> dict[str, Any]:
    """`element` is the statement for a value of every element."""
    inner = with_indices(scope, (*problem.kept, *problem.reduced))
    passes: list[dict[str, Any]] = []
    for reductions, scalars in row_levels(problem.steps):
        sums: list[dict[str, str]] = []
        statements: list[str] = []
        known: dict[str, Code] = {}
        for step in reductions:
            assert isinstance(step.value, Reduce)
            name = identifier("v", step.name)
            part = f"part_{sum(len(one['sums']) for one in passes) + len(sums)}"
            value = as_float(expression(step.value.body, inner))
            statement = from_math(f"{part}.add({value});", step.span, 4)
            sums.append(
                {"name": name, "reducer": REDUCERS[step.value.op], "part": part, "statement": statement}
            )
            known[step.name] = Code(name, "f32")
        inner = inner.with_locals(known)
        for step in scalars:
            scalar = expression(step.value, inner)
            name = identifier("v", step.name)
            statements.append(from_math(f"const auto {name} = {scalar.text};", step.span, 2))
            inner = inner.with_locals({step.name: Code(name, scalar.kind)})
        passes.append({"sums": sums, "statements": statements})
    row_outputs = [{"write": store_statement(store, inner, 4)} for store in problem.row_outputs]
    element_outputs = [{"write": element(store, inner, 4)} for store in problem.element_outputs]
    code = [
        text for one in passes for text in (*(each["statement"] for each in one["sums"]), *one["statements"])
    ]
    code += [output["write"] for output in (*row_outputs, *element_outputs)]
    return {
        "kept": index_group(problem.kept, scope, code),
        "reduced": index_group(problem.reduced, scope, code),
        "passes": passes,
        "row_outputs": row_outputs,
        "element_outputs": element_outputs,
    }


# ---- chain ----------------------------------------------------------------------------------------------


def _panel(problem: PanelProblem, signature: Signature) -> dict[str, Any]:
    """The product, and as `line` the rows that it multiplies. What stays on chip is a tensor to the mathematics: it has
    the dtype of the other operand, since tensor cores multiply equals."""
    (store,) = problem.rows.element_outputs
    extents = {index.name: index.extent for index in (*problem.rows.kept, *problem.rows.reduced)}
    shape = tuple(extents[name] for index in store.indices if (name := index_name(index)) is not None)
    other = signature.dtype_root(problem.product.right.tensor)
    kept = Tensor(problem.panel, "workspace", (), other, shape, (), span=signature.kernel.span)
    inside = Signature(signature.kernel, {**signature.carried, problem.panel: kept})
    scope = Scope(inside.tensors, inside.dims, inside.options)

    def keep(store: Store, scope: Scope, indent: int) -> str:
        value = as_float(expression(store.value, scope))
        return from_math(f"keep(position, as_element<Element>({value}));", store.span, indent)

    return {**_product(problem.product, inside, scope), "line": _rows(problem.rows, scope, keep)}


# ---- elementwise ----------------------------------------------------------------------------------------


def _elementwise(problem: ElementwiseProblem, signature: Signature, scope: Scope) -> dict[str, Any]:
    inner = with_indices(scope, problem.space)
    last = problem.space[-1].name if problem.space else None
    first = inner.with_indices({last: _FIRST} if last is not None else {})
    vectors, registers = [], {}
    for number, load in enumerate(vector_loads(problem, signature)):
        name = f"vector_{number}"
        kind = tensor_kind(signature.tensors[load.tensor], signature.tensors)
        vectors.append({"name": name, "address": address(load, first)})
        registers[load] = Code(f"{name}[lane]", kind)
    inner = inner.with_loads(registers)
    shared = shared_of(problem)
    computed, rest, indent = [], problem, 6
    if shared is not None:
        rest, indent = shared.rest, 8
        for local in shared.locals:
            code = expression(local.value, inner)
            name = identifier("v", local.name)
            compute = from_math(f"{name}[lane] = {code.text};", local.span, 6)
            computed.append({"name": name, "type": code.kind, "compute": compute})
            inner = inner.with_locals({local.name: Code(f"{name}[lane]", code.kind)})
    statements = []
    for local in rest.locals:
        code = expression(local.value, inner)
        name = identifier("v", local.name)
        statements.append(from_math(f"const auto {name} = {code.text};", local.span, indent))
        inner = inner.with_locals({local.name: Code(name, code.kind)})
    outputs = [_element_output(n, store, last, inner, first, indent) for n, store in enumerate(rest.outputs)]
    before = [each["compute"] for each in computed]
    inside = [*statements, *(output["compute"] for output in outputs)]
    around = [*(v["address"] for v in vectors), *(output.get("write", "") for output in outputs)]
    space = index_group(problem.space, scope, [*before, *inside, *around])
    along = {}
    if shared is not None:
        *outer, (index, extent), innermost = space.indices
        along = {"index": index, "extent": extent}
        space = Group((*outer, (_GROUP, f"ceil_div({extent}, TOGETHER)"), innermost), space.used | {_GROUP})

    def read_by(code: list[str]) -> str:
        """The innermost index, if this code reads it."""
        found = index_group(problem.space[-1:], scope, code).used
        return next(iter(found), "")

    return {
        "space": _named_first(space),
        "points": " * ".join(f"static_cast<i64>({extent})" for _, extent in space.indices) or "1",
        "inner": read_by(inside),
        "first": _FIRST,
        "vectors": vectors,
        "along": along,
        "shared": computed,
        "shared_inner": read_by(before),
        "locals": statements,
        "outputs": outputs,
    }


_GROUP = "group"  # of neighbours that a thread computes one after the other
_FIRST = "first_lane"  # the innermost index of the first point of a vector


def _named_first(space: Group) -> Group:
    """The group whose innermost variable is that of the first point."""
    if not space.indices:
        return space
    *outer, (_, extent) = space.indices
    return Group((*outer, (_FIRST, extent)), space.used | {_FIRST})


def _element_output(
    number: int, store: Store, last: str | None, inner: Scope, first: Scope, indent: int
) -> dict[str, Any]:
    """A store along the innermost index is collected into a vector; any other is done point by point."""
    kind, name = identifier("T", store.tensor), f"out_{number}"
    if last is None or innermost_offset(store.indices, last) is None:
        return {"vector": False, "compute": store_statement(store, inner, indent)}
    value = expression(store.value, inner).text
    return {
        "vector": True,
        "name": name,
        "type": kind,
        "compute": from_math(f"{name}[lane] = as_element<{kind}>({value});", store.span, indent),
        "write": f"write_vector({address(Load(store.tensor, store.indices), first)}, {name});",
    }
