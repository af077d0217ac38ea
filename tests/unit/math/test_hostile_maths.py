"""Whatever a checked file says, the stages after the check answer with a problem or a diagnostic."""

from __future__ import annotations

import pytest

from spakc.check.check import check
from spakc.diagnostics import Sink, SpakError
from spakc.emit.torch_math import math_source
from spakc.ir.derive import gradient_or_report
from spakc.plan.mismatch import Mismatch
from spakc.plan.recognise import FAMILIES, recognise
from spakc.plan.split import split

from .files import module

KERNEL = """spak 1
kernel k: {family} {{
  dim M, N, K
  input a: f32 [M, K] input b: f32 [K, N] input i: int32 [M]
  output c: f32 [M, N] output s: f32 [M]
  math {{ {math} }}
  gradient c wrt a, b
}}"""
MATHS = [
    "c[m, n] = a[m, 0] * b[0, n] s[m] = 0",
    "c[m, n] = sum[k](a[m, k] * b[k, n]) s[m] = sum[k](a[m, k])",
    "c[m, n] = sum[k](a[m, k] * b[k, n] * 0) s[m] = 1",
    "c[m, n] = sum[k](a[m, k] - a[m, k]) + b[0, n] s[m] = 1",
    "c[m, n] = softmax[n](b[i[m], n]) s[m] = a[m, i[m]]",
    "c[m, n] = a[m, 0] * b[m // 2, n] s[m] = pow(a[m, 0], a[m, 0])",
    "c[m, n] = sum[k](sum[j](a[m, j] * a[m, k]) * b[k, n]) s[m] = 1 / 0",
    "c[m, n] = a[m, 0] * inf - b[0, n] / 0 s[m] = -inf",
    "c[m, n] = max[k](a[m, k] + b[k, n]) s[m] = logsumexp[k](a[m, k])",
    "c[m, n] = sum[k](softmax[k](a[m, k]) * b[k, n]) s[m] = logsumexp[k](a[m, k])",
    "c[m, n] = sum[k](softmax[k](sum[j](a[m, j] * b[j, 0]) * a[m, k]) * b[k, n]) s[m] = 2",
    "t[m] = c[m, 0] c[m, n] = a[m, 0] * b[0, n] s[m] = t[m] * r[m] r[m] = t[m]",
    "c[m, n] = where(sum[k](a[m, k]) > 0, 1, 0) * b[0, n] s[m] = i[m]",
    "c[m, n] = exp(log(a[m, i[m]])) + b[i[i[m]], n] s[m] = a[i[m], i[m]]",
    "c[m, n] = sum[k, j](a[m, k] * b[j, n]) s[m] = 1",
    "c[m, n] = a[m, 0] + m + n + sum[k](k * b[k, n]) s[m] = pow(2, 1000000)",
    "c[m, n] = pow(pow(9, 999), 999) * a[m, 0] * b[0, n] s[m] = exp(100000) * sqrt(-1)",
    "c[m, n] = sum[k](where(k > m, a[m, k], 0) * b[k, n]) s[m] = 1",
    "u[m, n] = sum[k](a[m, k] * b[k, n]) c[m, n] = u[m, n] * u[m, n] s[m] = u[m, 0]",
    "c[m, n] = min(a[m, 0], max(b[0, n], -0.0)) s[m] = abs(a[m, 0]) / (0 * a[m, 0])",
    "c[m, n] = 1e200 * 1e200 * a[m, 0] + b[0, n] - 1e200 * 1e200 s[m] = 0 * inf",
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("math", MATHS)
def test_no_stage_fails_otherwise_than_by_a_diagnostic(family: str, math: str) -> None:
    sink = Sink()
    lowered = module(KERNEL.format(family=family, math=math))
    try:
        check(lowered, sink)
        sink.stop_if_errors()
    except SpakError:
        return  # what the check refuses never gets here
    (subject,) = lowered.kernels.values()
    compile(math_source(subject), "math.py", "exec")
    problem = recognise(subject, sink)
    assert problem is not None or sink.has_errors
    for wanted in subject.gradients:
        derivation = gradient_or_report(subject, wanted, sink)
        if derivation is None:
            continue
        compile(math_source(derivation.kernel), "math.py", "exec")
        try:
            split(derivation.kernel)
        except Mismatch as mismatch:
            assert mismatch.code.startswith("SPAK4")
