"""What the template of held rows sees: the passes over a row, with the vectors that each of them reads."""

from __future__ import annotations

from typing import Any

from spakc.emit.expressions import Code, Scope, address, as_float, expression, identifier, tensor_kind
from spakc.emit.groups import REDUCERS, index_group, store_statement, with_indices
from spakc.emit.source_map import from_math
from spakc.ir.ops import Load, Reduce
from spakc.plan.launch import Signature
from spakc.plan.problem import RowsProblem, Store
from spakc.plan.vectors import row_passes

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
            "held": f"held_{number}" if load in passes.held else "",
            "type": identifier("T", load.tensor),
            "address": address(load, first),
        }
        kind = tensor_kind(signature.tensors[load.tensor], signature.tensors)
        registers[load] = Code(f"as_value(vector_{number}[lane])", kind)
    inner = inner.with_loads(registers)

    stages: list[dict[str, Any]] = []
    reductions = iter(passes.reductions)
    for number, step in enumerate(problem.steps):
        name = identifier("v", step.name)
        if isinstance(step.value, Reduce):
            value = as_float(expression(step.value.body, inner))
            stages.append(
                {
                    "name": name,
                    "reducer": REDUCERS[step.value.op],
                    "part": f"part_{number}",
                    "vectors": [vectors[load] for load in next(reductions)],
                    "statement": from_math(f"values[lane] = {value};", step.span, 8),
                }
            )
            result = Code(name, "f32")
        else:
            value_code = expression(step.value, inner)
            statement = from_math(f"const auto {name} = {value_code.text};", step.span, 2)
            stages.append({"name": name, "reducer": "", "statement": statement, "vectors": []})
            result = Code(name, value_code.kind)
        inner = inner.with_locals({step.name: result})
    row_outputs = [{"write": store_statement(store, inner, 4)} for store in problem.row_outputs]
    outputs = [_vector(n, store, inner, first) for n, store in enumerate(problem.element_outputs)]
    code = [*(stage["statement"] for stage in stages), *(o["write"] for o in (*row_outputs, *outputs))]
    code += [*(vector["address"] for vector in vectors.values()), *(o["compute"] for o in outputs)]
    return {
        "kept": index_group(problem.kept, scope, code),
        "reduced": index_group(problem.reduced, scope, []),
        "along": identifier("i", along.name),
        "first": _FIRST,
        "held": [vectors[load] for load in passes.held],
        "stages": stages,
        "row_outputs": row_outputs,
        "outputs": outputs,
        "output_vectors": [vectors[load] for load in passes.last],
    }


def _vector(number: int, store: Store, inner: Scope, first: Scope) -> dict[str, str]:
    """A store along the row, collected into a vector."""
    kind, name = identifier("T", store.tensor), f"out_{number}"
    value = expression(store.value, inner).text
    target = address(Load(store.tensor, store.indices), first)
    return {
        "name": name,
        "type": kind,
        "compute": from_math(f"{name}[lane] = as_element<{kind}>({value});", store.span, 8),
        "write": f"write_vector({target}, {name});",
    }
