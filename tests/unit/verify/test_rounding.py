"""Rounding errors to first order: what other orders give lies within them, what is wrong lies outside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spakc.emulator_runner import OnEmulator
from spakc.ir.module import Kernel
from spakc.verify.case import Case, case_of
from spakc.verify.examine import examine
from spakc.verify.oracle import evaluate, evaluate_rounded
from spakc.verify.properties import mismatches, reference
from spakc.verify.rounding import rounding_errors
from spakc.verify.tested import UnderTest
from tests.unit.verify.kernels import EXAMPLES, of_file, of_text

NEAR_EPS = (
    "v1.eNpFkd1uwyAMRt_F11lVUrVqeIi9wDRNTjBRNP4EpF1U9d3nkJTeoPPZmIPgAdgnchnk13cDOOLkQGo0iRoYvMsRB-7lOHNWmBHkSTBNNoF"
    "8wCfIq-jEkyt5CVRqgwAJ-tQCH9BWVDTgUtPI1GtxYTSxVm2lUOm2Eyt-KToynFGhva-juPg5v6XR31_SDV_SLY2VinNDWylUuu3ETusVcTKYi"
    "Rte60RFyC0f8uRdsfeUkS9wPHRN4bbwuQEK3D_Tx7HjgYBqH01EirewCc28vho4Hy2a1Y1xwvU7YIyT-kmZVzqI9von4PkPW0V9NA",
    "v1.eNpFkd1uwyAMRt_F11lVUnVKeIi9wDRNTjBRNP4EpF1U9d3nkJTdoPPZmIPgATgkchnk51cDOOHsQGo0iRoYvcsRR-7luHBWmBHkpWOabQL"
    "5gA-QnejFkyt5DVRqowAJ-tICH9BWVDTiWtPENGjxzmhirdpKodLtIFb8UHRkOKNCe99GcfVL_pdGf39Jd3xJ9zRVKs4dbaVQ6XYQO61XxMlgJ"
    "m54rRMVIbd8yLN3xT5QRr7A-dQ3hdvC1wYocP9Kb-eeBwKqYzQRKd7CJjTL9mrgfLRoNjfGGbfvgCnO6jtlXukk2u5XwPMPZZt9Ow",
)
"""Of ADAMW: N = 8191, eps 5e-9, g bf16. One element's root is nearly eps."""

ADAMW = """spak 1
kernel adamw: elementwise {
  dim N
  inout  p, m, v: f32 [N]
  input  g: bf16 | f32 [N]
  input  lr, decay, c1, c2: f32 []
  option beta1: f32 = 0.9   option beta2: f32 = 0.95   option eps: f32 = 1e-8
  math {
    m[i] = beta1 * m[i] + (1 - beta1) * g[i]
    v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i]
    p[i] = p[i] * (1 - lr[] * decay[]) - lr[] * (new(m)[i] / c1[]) / (sqrt(new(v)[i] / c2[]) + eps)
  }
}
"""

TWICE_ROUNDED = (
    "v1.eNpdUmFrwjAQ_S_3OUhtRUs-jsEGDkoZ-GUMOZtUM9OkS9I5Ef_7Lp2LU9qG9-7xcq-5nAA3XpoA_O2dAW5RGeAtai8ZNNYEhw1pwQ3EB"
    "QYEXmYlQdV54Cd4AD5l8EhrTtWnkT2P6-seeL7ICXwCL_IzecKxl6NrCRw27XQODF4ItkVOqLoW6ytcXeHWoVgv73h1x-s7nvwUYC-dkTo27"
    "Ha4jrKKf85A49EOIUVz9nBJ9ouqhOqEVgmlWP9odUvrW_rnpUidFZKYxiBJtW3r5ZiDJNsHZc0YqsHBo05z8Q1qcmWTrCwLemeL-awspuWsI"
    "M22ocF-VBkclBHUiGe0X4_isrOXUlCNwRfqIU4EjHUdNYgVpzDeBviwykiRTmkdOpzQkL_jl9PTS-eVD_EAzz-A36v-"
)
"""A gradient by weights of 16 bits, rounded again with the slopes: 2 % beyond what weights of 32 bits allow."""

SUBNORMAL = (
    "v1.eNpVkmFrgzAQhv_LfZZRdasuH8dggw5ECv0yhtxM7LLGxCVxrpT-911cGyaivk_O93Le5QT47oT2wF7fEsA9Sg2sQ-"
    "VEAq3R3mJLMW9HYo4egRVFviItewfsBA_A0gQega1vE3ia4Xl-bg_A8oy-"
    "3H4BK1dnsvjjIGbTBhh06RoSeAkqz0hVca2OahfV3iJvNkusllgv8eqljQ_CaqEC9x_YhKgMf5yAwqMZfSzJmulS0p-"
    "qoqqj2kUVS_qH1RLrJV69VFJvuAiEmpue4qbrnJgroaAZvDR6LqvF0aGKE3EtKvKtbtLsjsh0vsUhMPV5kpRrot4XJeUYkF-yOSE4jeI-"
    "IxlmRu9vVGOYBEjtxV5YB2HNSgznAD6N1ILHPjW-R9qv_Al3RpeXisznX9tDqI0"
)
"""The same where the only weight of a key is 1.8e-6, which is 1 % more as a number of f16."""

ONE_KEY = (
    "v1.eNpdkl9rgzAUxb_LfQ6lVedsHsdggw5ECn0Zo9yapAvVxCWxfyj97ru6LV0LQs7Pe8_1JPEMuPHSBODvHwxwi9oAV9h4yaC2JjisqRZcTyw"
    "wIPB5mpDUrQd-hifgRM_AZ0nB4IVWBq_Uw2C5G2H5RR3ZhRzh1MnRswAOGzXLgcEbSZUmpMrry-oqV1e5dSjWizsu77i64-inADvpjGyGD7afu"
    "B7Ketg3gwZPtg8xmrOH32Q_qoyqimoVVYz1D8tbrG7xz0uRWivkQGiEbalulfJyTEJF2wVtzRirxt5jE-_F19iQbzqZFkVKT_aYZ0U6K7KUala"
    "FGjs6-8kDg4OmyQdqpXkdit_JXkoBPJ_PqX-PTT9cC_RGK-uGFHt0Goc_AlTvpYhHtQ66kX6SZ8c0OSZw-QZaMahC"
)
"""Of the gradient of attention: a single key counts, so that two sums are equal and their difference is nothing."""

QUOTIENT = """spak 1
kernel quotient: elementwise {
  dim N
  input  x, y: f32 [N]
  output z: f32 [N]
  math { z[i] = (x[i] * x[i] - y[i] * y[i]) / (sqrt(abs(x[i] - y[i])) + 1e-8) }
  schedule grid_stride { knob vector in {1} }
}
"""

VANISHING = """spak 1
kernel vanishing: elementwise {
  dim N
  input  x: f32 [N]
  output z: f32 [N]
  math { z[i] = 1e3 * exp(x[i]) }
  schedule grid_stride { knob vector in {1} }
}
"""


def variant(case: Case, text: str) -> tuple[UnderTest, dict[str, str]]:
    """The variant of a case, and what is emitted of its kernel: of a text, or of the example of that name."""
    variants, files = of_text(text) if "\n" in text else of_file(EXAMPLES / text)
    return next(t for t in variants if (t.spec.name, t.variant.id) == (case.kernel, case.variant)), files


@pytest.mark.parametrize("token", NEAR_EPS)
def test_a_root_that_is_nearly_eps_is_no_alarm(token: str) -> None:
    case = case_of(token)
    assert case.dims == {"N": 8191} and case.options["eps"] == 5e-9 and case.dtypes["g"] == "bf16"
    tested, files = variant(case, ADAMW)
    assert examine(tested, case, OnEmulator(files)) is None


@pytest.mark.parametrize("token", NEAR_EPS)
def test_another_eps_is(token: str) -> None:
    case = case_of(token)
    tested, _ = variant(case, ADAMW)
    right = reference(tested, case)
    given = {name: array for name, array in right.given.items() if array is not None}
    other = evaluate(tested.kernel, given, {**case.options, "eps": 1e-6}, case.dims)
    wrong = mismatches({name: value.astype(np.float32) for name, value in other.items()}, right)
    assert [each.output for each in wrong] == ["p"]


def test_a_difference_of_equal_sums_is_no_alarm() -> None:
    case = case_of(ONE_KEY)
    tested, files = variant(case, "fmha.spak")
    assert case.dims["Sk"] == 1
    assert examine(tested, case, OnEmulator(files)) is None


@pytest.mark.parametrize("token", [TWICE_ROUNDED, SUBNORMAL])
def test_weights_that_are_kept_as_operands_are_no_alarm(token: str) -> None:
    case = case_of(token)
    tested, files = variant(case, "fmha.spak")
    assert examine(tested, case, OnEmulator(files)) is None


def kernel_of(text: str) -> Kernel:
    return of_text(text)[0][0].kernel


def test_errors_of_float32_lie_within_and_near() -> None:
    kernel = kernel_of(QUOTIENT)
    rng = np.random.default_rng(1)
    x = rng.standard_normal(4000).astype(np.float32)
    y = (x * (1 + 2.0 ** rng.integers(-22, 0, 4000))).astype(np.float32)
    inputs = {"x": x, "y": y}
    exact = evaluate(kernel, inputs)["z"]
    bound = rounding_errors(kernel, inputs)["z"]
    found = np.abs(evaluate_rounded(kernel, inputs, round_outputs=False)["z"] - exact)
    assert (found <= bound).all()
    assert found.max() > bound.max() / 20 and bound.max() > 100 * np.median(bound)


def test_a_sum_is_as_far_off_as_one_by_one() -> None:
    kernel = kernel_of(
        "spak 1\nkernel total: rows {\n  dim M, N\n  input x: f32 [M, N]\n  output s: f32 [M]\n"
        "  math { s[m] = sum[n](x[m, n]) }\n}\n"
    )
    x = np.random.default_rng(2).standard_normal((300, 3000)).astype(np.float32)
    exact = evaluate(kernel, {"x": x})["s"]
    bound = rounding_errors(kernel, {"x": x})["s"]
    found = np.abs(evaluate_rounded(kernel, {"x": x}, round_outputs=False, order=2)["s"] - exact)
    assert (found <= bound).mean() > 0.99 and np.median(bound) < 10 * found.max()


def test_a_case_of_many_zeros_has_no_error() -> None:
    case = replace(case_of(NEAR_EPS[0]), dims={"N": 64})
    tested, _ = variant(case, ADAMW)
    right = reference(tested, case)
    assert all(np.isfinite(allowed).all() for allowed in right.allowed.values())


def test_what_is_smaller_than_normal_numbers_may_become_zero() -> None:
    """Weights of attention far below the largest, times large slopes: zero on a device, whose exponential knows no
    subnormal numbers."""
    kernel = kernel_of(VANISHING)
    x = np.array([-86.0, -87.6, -90.0, -103.0])
    error = rounding_errors(kernel, {"x": x})["z"]
    lost = 1e3 * np.exp(x)
    assert (error[1:] >= lost[1:]).all(), "less than 2^-126 each"
    assert error[0] < 1e-3 * lost[0], "a normal number stays"
