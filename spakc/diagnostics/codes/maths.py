"""SPAK4xx: mathematics, and the family that a kernel's author asserts."""

from spakc.diagnostics.codes.entry import Code


def _kernel(family: str, body: str) -> str:
    return f"spak 1\nkernel k: {family} {{\n{body}\n}}\n"


_PRODUCT = """  dim M, N, K
  input  a: f32 [M, K]
  input  b: f32 [K, N]
  output c: f32 [M, N]
"""
_ROWS = """  dim R, N
  input  x: f32 [R, N]
  output y: f32 [R, N]
  output s: f32 [R]
"""
_ATTENTION = """  dim Q, K, D
  input  q: f32 [Q, D]
  input  k, v: f32 [K, D]
  output o: f32 [Q, D]
  output l: f32 [Q]
"""
_SCORES = "s[i, j] = sum[d](q[i, d] * k[j, d])"


def _product(equations: str, declarations: str = "") -> str:
    return _kernel("product", f"{_PRODUCT}{declarations}  math {{ {equations} }}")


def _rows(equations: str) -> str:
    return _kernel("rows", f"{_ROWS}  math {{ {equations} }}")


def _attention(equations: str) -> str:
    return _kernel("attention", f"{_ATTENTION}  math {{ {equations} }}")


def _elementwise(equations: str) -> str:
    return _kernel(
        "elementwise",
        "  dim N\n  input  x: f32 [N]\n  output y, z: f32 [N]\n  math { " + equations + " }",
    )


TABLE: tuple[Code, ...] = (
    Code(
        "SPAK401",
        "a product without a sum",
        "A kernel of the family product computes every output from one sum of products of two tensor "
        "elements. Here an output has no sum: perhaps the family is elementwise.",
        _product("c[m, n] = a[m, 0] * b[0, n]"),
        _product("c[m, n] = sum[k](a[m, k] * b[k, n])"),
    ),
    Code(
        "SPAK402",
        "a second reduction in a product",
        "The kernels of the family product accumulate one sum; everything around it is element-wise. Two "
        "sums are two products: make them two kernels, or a chain.",
        _product("c[m, n] = sum[k](a[m, k] * b[k, n]) + sum[k](a[m, k] * a[m, k])"),
        _product("c[m, n] = 2 * sum[k](a[m, k] * b[k, n]) + a[m, 0]"),
    ),
    Code(
        "SPAK403",
        "a product that does not sum",
        "A product accumulates with sum. Other reductions belong to the family rows.",
        _product("c[m, n] = max[k](a[m, k] * b[k, n])"),
        _product("c[m, n] = sum[k](a[m, k] * b[k, n])"),
    ),
    Code(
        "SPAK404",
        "the summed term is no product of two tensor elements",
        "Under the sum stand exactly two tensor elements that the summed index enters, times anything that "
        "it does not enter (which is taken out of the sum). A function of an element, a third element or a "
        "term that is added cannot be computed by the matrix units.",
        _product("c[m, n] = sum[k](exp(a[m, k]) * b[k, n])"),
        _product("c[m, n] = exp(sum[k](a[m, k] * b[k, n]))"),
    ),
    Code(
        "SPAK405",
        "the elements of a product bring no rows or no columns",
        "One element brings the row index, the other the column index, and both have the summed index, each "
        "as a plain index. Without one of them the maths is that of the family rows.",
        _product("c[m, n] = sum[k](a[m, k] * a[m, k])"),
        _product("c[m, n] = sum[k](a[m, k] * b[k, n])"),
    ),
    Code(
        "SPAK406",
        "a reduction in an element-wise kernel",
        "Every point of an element-wise kernel is computed from single elements. A kernel that reduces is "
        "of the family rows, product or attention.",
        _elementwise("y[i] = x[i] / sum[j](x[j])  z[i] = x[i]"),
        _elementwise("y[i] = 2 * x[i]  z[i] = x[i]"),
    ),
    Code(
        "SPAK407",
        "outputs of an element-wise kernel over different points",
        "One thread computes one point of every output, so all outputs range over the same points: equally "
        "many index variables of equal sizes.",
        _kernel(
            "elementwise",
            "  dim N, M\n  input  x: f32 [N]\n  input  w: f32 [M]\n  output y: f32 [N]\n  output z: f32 [M]\n"
            "  math { y[i] = x[i]  z[j] = w[j] }",
        ),
        _elementwise("y[i] = x[i]  z[j] = 2 * x[j]"),
    ),
    Code(
        "SPAK408",
        "a kernel of rows that reduces nothing",
        "The family rows is for reductions along rows. Without one the family is elementwise.",
        _rows("y[r, n] = 2 * x[r, n]  s[r] = x[r, 0]"),
        _rows("y[r, n] = x[r, n] - s[r]  s[r] = max[j](x[r, j])"),
    ),
    Code(
        "SPAK409",
        "reductions along different indices in one kernel of rows",
        "All reductions of a kernel of rows (sum, max, min, logsumexp, softmax) run along the same axes, "
        "for every point of the others. A reduction along other axes is another kernel.",
        _rows("s[r] = sum[n](x[r, n])  y[r, n] = x[r, n] / sum[i](x[i, n])"),
        _rows("s[r] = sum[n](x[r, n])  y[r, n] = x[r, n] / s[r]"),
    ),
    Code(
        "SPAK410",
        "an output of a kernel of rows is neither a row's nor an element's",
        "An output has one value for each row, or one for each element of each row.",
        _kernel(
            "rows",
            "  dim R, N, M\n  input  x: f32 [R, N]\n  input  w: f32 [M]\n  output y: f32 [R, M]\n"
            "  math { y[r, m] = sum[n](x[r, n]) * w[m] }",
        ),
        _rows("s[r] = sum[n](x[r, n])  y[r, n] = s[r] * x[r, n]"),
    ),
    Code(
        "SPAK411",
        "attention without a softmax that weights values",
        "A kernel of the family attention has an output sum[k](softmax[k](scores) * V[…, k, d]). Softmax is "
        "not re-derived from exp.",
        _attention(f"{_SCORES}  l[i] = logsumexp[j](s[i, j])  o[i, d] = sum[j](s[i, j] * v[j, d])"),
        _attention(
            f"{_SCORES}  l[i] = logsumexp[j](s[i, j])  o[i, d] = sum[j](softmax[j](s[i, j]) * v[j, d])"
        ),
    ),
    Code(
        "SPAK412",
        "the weighted sum of attention is not one softmax times one element",
        "The weights are one softmax over the summed index, and each multiplies one element of the values. "
        "Factors that the key index does not enter are fine.",
        _attention(
            f"{_SCORES}  l[i] = logsumexp[j](s[i, j])  o[i, d] = sum[j](softmax[j](s[i, j]) * exp(v[j, d]))"
        ),
        _attention(
            f"{_SCORES}  l[i] = logsumexp[j](s[i, j])  o[i, d] = 2 * sum[j](softmax[j](s[i, j]) * v[j, d])"
        ),
    ),
    Code(
        "SPAK413",
        "the scores of attention are not computed from one dot product",
        "Scores are an element-wise expression (scale, cap, mask, bias) of one sum over the depth of an "
        "element of the queries times an element of the keys; only the keys have the index of the softmax.",
        _attention("l[i] = logsumexp[j](k[j, 0])  o[i, d] = sum[j](softmax[j](q[i, 0] * k[j, 0]) * v[j, d])"),
        _attention(
            f"{_SCORES}  l[i] = logsumexp[j](s[i, j])  o[i, d] = sum[j](softmax[j](s[i, j]) * v[j, d])"
        ),
    ),
    Code(
        "SPAK414",
        "an output of attention from something else",
        "Besides the weighted values, a kernel of attention may write the logsumexp of the same scores, and "
        "element-wise expressions of either.",
        _attention(f"{_SCORES}  l[i] = max[j](s[i, j])  o[i, d] = sum[j](softmax[j](s[i, j]) * v[j, d])"),
        _attention(
            f"{_SCORES}  l[i] = logsumexp[j](s[i, j])  o[i, d] = sum[j](softmax[j](s[i, j]) * v[j, d])"
        ),
    ),
    Code(
        "SPAK415",
        "a tensor written in pieces is read back",
        "What is written in pieces (`y[i]` and `y[i + N // 2]`) has no single defining expression, so the "
        "same kernel cannot read it.",
        _kernel(
            "elementwise",
            "  dim N in {64}\n  input  x: f32 [N]\n  output y, z: f32 [N]\n"
            "  math { y[i] = x[i + N // 2]  y[i + N // 2] = x[i]  z[j] = y[j] }",
        ),
        _kernel(
            "elementwise",
            "  dim N in {64}\n  input  x: f32 [N]\n  output y: f32 [N]\n"
            "  math { y[i] = x[i + N // 2]  y[i + N // 2] = x[i] }",
        ),
    ),
    Code(
        "SPAK416",
        "the stages of a chain run apart",
        "A chain joins kernels by intermediates that stay on chip. The template `panel` does that for a pass over "
        "rows and the product that reads its result. Stages of any other chain are launched one by one, and the "
        "intermediates go through memory. The results are the same.",
        _kernel(
            "chain",
            "  dim M, N, K, J\n  input  a: f32 [M, K]\n  input  b: f32 [K, N]\n  input  c: f32 [N, J]\n"
            "  output y: f32 [M, J]\n"
            "  math { h[m, n] = sum[k](a[m, k] * b[k, n])  y[m, j] = sum[n](h[m, n] * c[n, j]) }",
        ),
        _kernel("chain", "  dim N\n  input  x: f32 [N]\n  output y: f32 [N]\n  math { y[i] = x[i] }"),
    ),
    Code(
        "SPAK417",
        "an index that loses its range when intermediates are inlined",
        "Matching inlines intermediates. One that depends on nothing but its index is then a bare number, "
        "and a reduction over that index alone has no axis to run along.",
        _rows("w[i] = 2 * i  y[r, n] = x[r, n] * w[n]  s[r] = max[n](x[r, n]) + sum[i](w[i])"),
        _rows("w[i] = 2 * i  y[r, n] = x[r, n] * w[n]  s[r] = max[n](x[r, n]) + sum[i](w[i] * x[r, i])"),
    ),
    Code(
        "SPAK418",
        "an expression that explodes when inlined",
        "Intermediates are inlined to match the maths against its family. Where each reads the one before it "
        "several times, the expression grows exponentially.",
        _kernel(
            "elementwise",
            "  dim N\n  input  x: f32 [N]\n  output y: f32 [N]\n  math {\n    t0[i] = x[i] * x[i]\n"
            + "".join(f"    t{n}[i] = t{n - 1}[i] * t{n - 1}[i]\n" for n in range(1, 13))
            + "    y[i] = t12[i]\n  }",
        ),
        _kernel(
            "elementwise",
            "  dim N\n  input  x: f32 [N]\n  output y: f32 [N]\n  math { y[i] = pow(x[i], 8192) }",
        ),
    ),
    Code(
        "SPAK419",
        "an old value that may be overwritten before it is read",
        "Blocks run in any order. Where a tensor is changed in place, an element is read by the point that overwrites "
        "it, or by a sum along its row; what others read may already be new.",
        _kernel(
            "elementwise",
            "  dim N\n  inout  p: f32 [N]\n  math { p[i] = 2 * p[N - 1 - i] }",
        ),
        _kernel(
            "elementwise",
            "  dim N\n  input  x: f32 [N]\n  output p: f32 [N]\n  math { p[i] = 2 * x[N - 1 - i] }",
        ),
    ),
    Code(
        "SPAK420",
        "the gradient of a kernel that changes a tensor in place",
        "A gradient is computed from the values that the forward pass read; an inout tensor has lost them.",
        _kernel(
            "elementwise",
            "  dim N\n  inout  p: f32 [N]\n  input  g: f32 [N]\n  output y: f32 [N]\n"
            "  math { p[i] = p[i] - g[i]  y[i] = g[i] }\n  gradient y wrt g",
        ),
        _kernel(
            "elementwise",
            "  dim N\n  input  p: f32 [N]\n  input  g: f32 [N]\n  output y: f32 [N]\n"
            "  math { y[i] = p[i] - g[i] }\n  gradient y wrt g",
        ),
    ),
    Code(
        "SPAK421",
        "a gradient that is zero",
        "The outputs do not depend on the input, so nothing is to be computed.",
        _kernel(
            "elementwise",
            "  dim N\n  input  x, w: f32 [N]\n  output y, z: f32 [N]\n"
            "  math { y[i] = 2 * x[i]  z[i] = w[i] }\n  gradient y wrt w",
        ),
        _kernel(
            "elementwise",
            "  dim N\n  input  x, w: f32 [N]\n  output y, z: f32 [N]\n"
            "  math { y[i] = 2 * x[i]  z[i] = w[i] }\n  gradient z wrt w",
        ),
    ),
    Code(
        "SPAK422",
        "a gradient through indices that do not split an axis in two",
        "Where a tensor is read at `x[i]` and `x[i + c]`, its gradient is written in two pieces that "
        "together are the axis. Other shifts overlap or leave gaps.",
        _kernel(
            "elementwise",
            "  dim N\n  input  x: f32 [N + 2]\n  output y: f32 [N]\n"
            "  math { y[i] = x[i] + x[i + 1] + x[i + 2] }\n  gradient y wrt x",
        ),
        _kernel(
            "elementwise",
            "  dim N in {64}\n  input  x: f32 [N]\n  output y: f32 [N // 2]\n"
            "  math { y[i] = x[i] + x[i + N // 2] }\n  gradient y wrt x",
        ),
    ),
)
