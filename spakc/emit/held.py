"""What the template of held rows sees: the passes over a row, with the vectors that each of them reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spakc.emit.expressions import Scope, address, as_float, expression, identifier, tensor_kind
from spakc.emit.groups import REDUCERS, index_group, store_statement, with_indices
from spakc.emit.operations import Code
from spakc.emit.source_map import from_math
from spakc.ir.ops import Load, Reduce
from spakc.plan.launch import Signature
from spakc.plan.problem import RowsProblem, Store
from spakc.plan.vectors import RowPasses, row_passes

HELD_TEMPLATE = "rows/held.cu.j2"

_FIRST = "first_lane"  # the index along the row of the first element of a vector


def held_rows(problem: RowsProblem, signature: Signature, scope: Scope) -> dict[str, Any]:
    """Needs a problem that the template can compute."""
    (along,) = problem.reduced
    passes = row_passes(problem, signature)
    inner = with_indices(scope, (*problem.kept, *problem.reduced))
    first = inner.with_indices({along.name: _FIRST})
    vectors: dict[Load, dict[str, str]] = {}
    registers: dict[Load, Code] = {}
    for number, load in enumerate(passes.all):
        vectors[load] = {
            "name": f"vector_{number}",
            "held": f"held_{number}" if load in (*passes.fixed, *passes.held) else "",
            "type": identifier("T", load.tensor),
            "address": address(load, first),
        }
        kind = tensor_kind(signature.tensors[load.tensor], signature.tensors)
        registers[load] = Code(f"vector_{number}[lane]", kind)
    inner = inner.with_loads(registers)

    inner, written = _passes(passes, vectors, inner)
    row_outputs = [{"write": store_statement(store, inner, 6)} for store in problem.row_outputs]
    outputs = [_vector(n, store, inner, first) for n, store in enumerate(problem.element_outputs)]
    columns = [_column(n, store, problem, inner, first) for n, store in enumerate(problem.column_sums)]
    code = [text for one in written for text in one["code"]]
    code += [o["write"] for o in (*row_outputs, *outputs)]
    code += [
        *(vector["address"] for vector in vectors.values()),
        *(o["compute"] for o in (*outputs, *columns)),
    ]
    return {
        "kept": index_group(problem.kept, scope, code),
        "reduced": index_group(problem.reduced, scope, []),
        "along": identifier("i", along.name),
        "first": _FIRST,
        "fixed": [vectors[load] for load in passes.fixed],
        "held": [vectors[load] for load in passes.held],
        "passes": written,
        "row_outputs": row_outputs,
        "outputs": outputs,
        "columns": columns,
        "output_vectors": [vectors[load] for load in passes.last],
    }


def _passes(
    passes: RowPasses, vectors: Mapping[Load, dict[str, str]], inner: Scope
) -> tuple[Scope, list[dict[str, Any]]]:
    """The passes that reduce, each with the values of the row that are known after it."""
    written: list[dict[str, Any]] = []
    number = 0
    for one in passes.reducing:
        sums, known = [], {}
        for step in one.sums:
            assert isinstance(step.value, Reduce)
            name = identifier("v", step.name)
            value = as_float(expression(step.value.body, inner))
            sums.append(
                {
                    "name": name,
                    "reducer": REDUCERS[step.value.op],
                    "part": f"part_{number}",
                    "each": f"values_{number}",
                    "statement": from_math(f"values_{number}[lane] = {value};", step.span, 12),
                }
            )
            known[step.name] = Code(name, "f32")
            number += 1
        inner = inner.with_locals(known)
        statements = []
        for step in one.scalars:
            code = expression(step.value, inner)
            name = identifier("v", step.name)
            statements.append(from_math(f"const auto {name} = {code.text};", step.span, 4))
            inner = inner.with_locals({step.name: Code(name, code.kind)})
        written.append(
            {
                "sums": sums,
                "vectors": [vectors[load] for load in one.loads],
                "statements": statements,
                "code": [*(each["statement"] for each in sums), *statements],
            }
        )
    return inner, written


def _vector(number: int, store: Store, inner: Scope, first: Scope) -> dict[str, str]:
    """A store along the row, collected into a vector."""
    kind, name = identifier("T", store.tensor), f"out_{number}"
    value = expression(store.value, inner).text
    target = address(Load(store.tensor, store.indices), first)
    return {
        "name": name,
        "type": kind,
        "compute": from_math(f"{name}[lane] = as_element<{kind}>({value});", store.span, 12),
        "write": f"write_vector({target}, {name});",
    }


def _column(number: int, store: Store, problem: RowsProblem, inner: Scope, first: Scope) -> dict[str, str]:
    """A sum down the columns of a block's rows, and where the block writes its part."""
    assert problem.parts is not None
    name = f"columns_{number}"
    own = first.with_indices({problem.parts.name: "static_cast<i32>(block_index_x())"})
    target = address(Load(store.tensor, store.indices), own)
    value = as_float(expression(store.value, inner))
    return {
        "name": name,
        "part": f"{name}_part",
        "compute": from_math(f"{name}_part[lane] = {value};", store.span, 12),
        "write": f"write_vector({target}, {name}.total[chunk]);",
    }
