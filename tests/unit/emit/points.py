"""Points of a template's space and calls whose rows can be copied in vectors, for tests on the emulator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from spak_runtime.manifest import Variant
from spakc.plan.launch import Signature
from spakc.plan.template import Template
from tests.unit.emit.emulate import rows_apart
from tests.unit.emit.planned import Emitted
from tests.unit.emit.test_emulated import case

BATCHED = """spak 1
kernel heads: product {
  dim B, H, G, M, N, K
  input  X: bf16 | f16 [B, H, M, K]
  input  W: same(X)    [B, G, N, K]
  input  scale: f32    [H, M]
  output Y: same(X)    [B, H, M, N]
  output S: f32        [B, H, M, N]
  math {
    acc[b, h, m, n] = sum[k](X[b, h, m, k] * W[b, h // (H // G), n, k])
    Y[b, h, m, n] = acc[b, h, m, n] * scale[h, m]
    S[b, h, m, n] = acc[b, h, m, n] + 1
  }
  accumulate f32
  law grouped: H % G == 0
"""


def at(kernel: Emitted, template: Template, **knobs: Any) -> Variant:
    """The variant of a template at a point of its space, selected or not."""
    planned = next(v for v in kernel.plan.variants if v.schedule == template.name)
    base = next(v for v in kernel.spec.variants if v.id == planned.id)
    config = {**template.defaults, **knobs}
    problem, signature = planned.launches[0].problem, Signature(kernel.plan.kernel)
    assert template.refuses(problem, signature, config) is None
    shape = template.shape(problem, signature, config)
    launch = replace(
        base.launches[0],
        params=template.params(problem, signature, config),
        grid=shape.grid,
        threads=shape.threads,
        shared_bytes=shape.shared_bytes,
        cluster=shape.cluster,
    )
    defines = replace(planned, config=config).defines
    derived = dict(template.derived(problem, signature, config))
    return replace(
        base, id=str(knobs), config=config, defines=defines, derived=derived, launches=(launch,), guards=()
    )


def padded(kernel: Emitted, dims: dict[str, int], **how: Any) -> Any:
    """A case whose matrices have rows that begin at multiples of 16 bytes, outputs included."""
    call = case(kernel, dims, **how)
    layouts = how.get("layouts") or {}
    tensors = {}
    for name, array in call.tensors.items():
        wide = array
        if array is not None and array.ndim > 1:
            column = layouts.get(name) == "column"
            turned = rows_apart(array.swapaxes(-1, -2) if column else array, 8)
            wide = turned.swapaxes(-1, -2) if column else turned
        tensors[name] = wide
    return replace(call, tensors=tensors)


def batched(schedule: str, knobs: str) -> str:
    """A product with grouped heads and two outputs of different widths, by one schedule."""
    return f"{BATCHED}  schedule {schedule} {{ {knobs} }}\n}}\n"
