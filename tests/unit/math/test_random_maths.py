"""Random small maths: every stage agrees with the oracle, whatever the expression."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from .files import kernel
from .test_derive import assert_derivative
from .test_recognise import assert_same_meaning
from .test_torch_math import assert_same

DIMS = {"R": 2, "N": 3}
ELEMENTS = ["x[r, n]", "w[n]", "b[r]", "0.7", "x[r, n]", "2", "(r + 1)", "(n - 1)"]
UNARY = ["tanh({})", "sigmoid({})", "sin({})", "(-{})", "exp(tanh({}))", "sqrt(1 + {0} * {0})", "silu({})"]
BINARY = ["({} + {})", "({} - {})", "({} * {})", "({} / (3 + cos({})))", "where({} > 0.1, {}, 0.5)"]


def grown(atoms: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Expressions with a few operations over the atoms."""

    def more(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        one = st.builds(lambda form, x: form.format(x), st.sampled_from(UNARY), inner)
        two = st.builds(lambda form, x, y: form.format(x, y), st.sampled_from(BINARY), inner, inner)
        return one | two

    return st.recursive(atoms, more, max_leaves=5)


ELEMENT = grown(st.sampled_from(ELEMENTS))
ROW_ONLY = grown(st.sampled_from(["s[r]", "t[r]", "b[r]", "1.5"]))
REDUCED = st.builds(
    lambda op, body: f"{op}[j]({_renamed(body)} + 0.1 * x[r, j])",
    st.sampled_from(["sum", "logsumexp", "max", "min"]),
    ELEMENT,
)


def _renamed(body: str) -> str:
    """The element expression over j instead of n (function names contain that letter too)."""
    for element in ("x[r, n]", "w[n]", "(n - 1)"):
        body = body.replace(element, element.replace("n", "j"))
    return body


@st.composite
def row_kernels(draw: st.DrawFn) -> str:
    first, second, row = draw(REDUCED), draw(REDUCED), draw(ROW_ONLY)
    element = draw(grown(st.sampled_from([*ELEMENTS, "s[r]", "t[r]", "p[r, n]"])))
    return f"""kernel k: rows {{
      dim R, N
      input x: f32 [R, N] input w: f32 [N] input b: f32 [R]
      output y: f32 [R, N] output o: f32 [R]
      math {{
        s[r] = {first} + sum[i](x[r, i])
        t[r] = {second} * s[r]
        p[r, n] = softmax[n](x[r, n] * s[r])
        y[r, n] = {element} + x[r, n] * w[n] * b[r]
        o[r] = {row} + t[r]
      }}
      gradient y, o wrt x, w, b
    }}"""


@st.composite
def pointwise_kernels(draw: st.DrawFn) -> str:
    inner, one, two = (draw(grown(st.sampled_from([*ELEMENTS, "v[n, r]"]))) for _ in range(3))
    return f"""kernel k: elementwise {{
      dim R, N
      input x: f32 [R, N] input w: f32 [N] input b: f32 [R] input v: f32 [N, R]
      output y: f32 [R, N] output z: f32 [N, R]
      math {{
        q[r, n] = {inner}
        y[r, n] = {one} * q[r, n]
        z[n, r] = {two} + q[r, n] + x[r, n] * w[n] * b[r] * v[n, r]
      }}
      gradient y, z wrt x, w, b, v
    }}"""


# Not shrunk: the generated maths is small, and each case costs a hundred evaluations.
CHECKED = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


def assert_all_agree(text: str) -> None:
    subject = kernel(text)
    assert_same_meaning(subject, DIMS)
    assert_same(subject, DIMS)
    assert_derivative(subject, DIMS, {})


@CHECKED
@given(row_kernels())
def test_rows(text: str) -> None:
    assert_all_agree(text)


@CHECKED
@given(pointwise_kernels())
def test_pointwise(text: str) -> None:
    assert_all_agree(text)
