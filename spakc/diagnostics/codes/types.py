"""SPAK3xx: domains, shapes, types, units."""

from spakc.diagnostics.codes.entry import Code


def _kernel(body: str) -> str:
    """A smallest kernel with some lines in it."""
    return f"spak 1\nkernel k: elementwise {{\n  dim N\n  input x: f32 [N]\n  output y: f32 [N]\n{body}}}\n"


def _halves(equations: str) -> str:
    """A kernel that assigns its output in two parts."""
    head = "spak 1\nkernel k: elementwise {\n  dim N in {64, 128}\n  input x: f32 [N]\n  output y: f32 [N]\n"
    return f"{head}  math {{ {equations} }}\n}}\n"


_COPY = "  math { y[i] = x[i] }\n"
_ROWS = "spak 1\nkernel k: rows {\n  dim R, N\n  input x: f32 [R, N]\n  output y: f32 [R]\n"

TABLE: tuple[Code, ...] = (
    Code(
        "SPAK301",
        "the wrong number of indices",
        "A tensor is indexed once per axis of its declared shape, an intermediate once per index of "
        "its left side; a scalar is written `lr[]`.",
        wrong=_kernel("  math { y[i] = x[i, i] }\n"),
        right=_kernel("  math { y[i] = x[i] }\n"),
    ),
    Code(
        "SPAK302",
        "an index variable over axes of different sizes",
        "An index variable takes the values of the axes that it runs along. Where two of them have "
        "different sizes, one of the accesses is not meant, or a dim is missing.",
        wrong=_kernel("  dim M\n  input z: f32 [M]\n  math { y[i] = x[i] + z[i] }\n"),
        right=_kernel("  input z: f32 [N]\n  math { y[i] = x[i] + z[i] }\n"),
    ),
    Code(
        "SPAK303",
        "an access outside of its tensor",
        "There are sizes, allowed by the domains and laws of the kernel, for which this index leaves "
        "its axis. The label gives the smallest ones found.",
        wrong=_kernel("  math { y[i] = x[i + 1] }\n"),
        right=_kernel("  math { y[i] = x[i] }\n"),
    ),
    Code(
        "SPAK304",
        "no domain where one is needed",
        "A dim, a knob, a split or a quantifier runs over a set `{a, b}` or a range `first .. last "
        "step by`, both ends included.",
        wrong=_kernel(_COPY + "  schedule grid_stride { knob vector in 4 }\n"),
        right=_kernel(_COPY + "  schedule grid_stride { knob vector in {4} }\n"),
    ),
    Code(
        "SPAK305",
        "a value that must be known now and is not, or makes no sense",
        "Domains, configs, device facts and counts are constants. A domain has at least one value and "
        "at most 65536, a range has integer ends and a step of at least one, a dim takes positive "
        "integers.",
        wrong=_kernel(_COPY + "  schedule grid_stride { knob vector in 8..1 }\n"),
        right=_kernel(_COPY + "  schedule grid_stride { knob vector in 1..8 step 7 }\n"),
    ),
    Code(
        "SPAK306",
        "a value outside of its domain",
        "A config chooses, for every knob, one of the values that its schedule allows.",
        wrong=_kernel(_COPY + "  schedule grid_stride { knob vector in {1, 2} config c { vector = 3 } }\n"),
        right=_kernel(_COPY + "  schedule grid_stride { knob vector in {1, 2} config c { vector = 2 } }\n"),
    ),
    Code(
        "SPAK307",
        "an output that is not assigned everywhere",
        "Every element of every output and inout tensor gets a value. Several equations for one "
        "tensor together cover its axes without a gap.",
        wrong=_kernel("  output z: f32 [N]\n" + _COPY),
        right=_kernel("  output z: f32 [N]\n  math { y[i] = x[i]  z[i] = 2 * x[i] }\n"),
    ),
    Code(
        "SPAK308",
        "an index variable whose range is not known",
        "An index variable ranges over the axes that it runs along alone, or with an offset. One that "
        "only occurs in arithmetic, or only in computed indices, has no end.",
        wrong=_ROWS + "  math { y[r] = max[i](x[r, i]) + sum[j](1.0 * j) }\n}\n",
        right=_ROWS + "  math { y[r] = max[i](x[r, i]) + sum[j](j * x[r, j]) }\n}\n",
    ),
    Code(
        "SPAK309",
        "an element that is assigned twice",
        "Several equations may assign parts of one tensor, but no element belongs to two of them.",
        wrong=_halves("y[i] = x[i]  y[i + 1] = x[i + 1]  y[i + 2] = x[i + 2]"),
        right=_halves("y[i] = x[i]  y[i + N // 2] = x[i + N // 2]"),
    ),
    Code(
        "SPAK310",
        "an unknown type",
        "Element types are `bf16`, `f16`, `f32`, `f64`, `int32`, `int64` and `bool`; `int` is short "
        "for `int32`.",
        wrong=(
            "spak 1\n"
            "kernel k: elementwise { dim N input x: float [N] output y: f32 [N] math { y[i] = x[i] } "
            "}\n"
        ),
        right=(
            "spak 1\n"
            "kernel k: elementwise { dim N input x: f32 [N] output y: f32 [N] math { y[i] = x[i] } }\n"
        ),
    ),
    Code(
        "SPAK311",
        "`same` of nothing",
        "`same(X)` gives a tensor the type that X has in a call. X is another tensor of the kernel "
        "whose types are written out.",
        wrong=(
            "spak 1\n"
            "kernel k: elementwise { dim N input x: f32 [N] output y: same(z) [N] math { y[i] = x[i] "
            "} }\n"
        ),
        right=(
            "spak 1\n"
            "kernel k: elementwise { dim N input x: f32 [N] output y: same(x) [N] math { y[i] = x[i] "
            "} }\n"
        ),
    ),
    Code(
        "SPAK312",
        "a layout that a tensor cannot have",
        "A tensor of two or more axes may lie by `row` (its last axis contiguous) or by `column` (its "
        "last but one).",
        wrong=(
            "spak 1\n"
            "kernel k: elementwise { dim N input x: f32 [N] layout column output y: f32 [N] math { "
            "y[i] = x[i] } }\n"
        ),
        right=(
            "spak 1\n"
            "kernel k: elementwise { dim N input x: f32 [N] output y: f32 [N] math { y[i] = x[i] } }\n"
        ),
    ),
    Code(
        "SPAK313",
        "a default that a tensor cannot have",
        "An input that may be left out has one number for all of its elements; outputs are never left out.",
        wrong=(
            "spak 1\n"
            "kernel k: elementwise { dim N input x: f32 [N] output y: f32 [N] optional = 0 math { "
            "y[i] = x[i] } }\n"
        ),
        right=(
            "spak 1\n"
            "kernel k: elementwise { dim N input x: f32 [N] optional = 0 output y: f32 [N] math { "
            "y[i] = x[i] } }\n"
        ),
    ),
    Code(
        "SPAK314",
        "a device fact of the wrong kind",
        "A fact has one kind: a size in bytes, a rate, a count, a capability that is `true` or "
        "`false`, or a word.",
        wrong=("spak 1\ndevice d { arch = sm_80  tma = 1 }\n"),
        right=("spak 1\ndevice d { arch = sm_80  tma = true }\n"),
    ),
    Code(
        "SPAK315",
        "a device without an architecture",
        "Code is compiled for an architecture, so every device says which one it has, itself or "
        "through `like`.",
        wrong=("spak 1\ndevice d { sms = 108 }\n"),
        right=("spak 1\ndevice d { arch = sm_80  sms = 108 }\n"),
    ),
    Code(
        "SPAK316",
        "an index that is no integer",
        "Indices are integers of 32 bits: index variables, integer tensors, dims, and `+ - * // %` over them. "
        "`/` divides real numbers.",
        wrong=_kernel("  math { y[i] = x[i / 2] }\n"),
        right=_kernel("  math { y[i] = x[i // 2] }\n"),
    ),
    Code(
        "SPAK317",
        "an operand of the wrong kind",
        "Truths, numbers and words do not mix: arithmetic needs numbers, `and`, `or`, `not` and "
        "conditions need truths, `//` and `%` need integers, an order needs numbers, and a word is "
        "compared with words.",
        wrong=_kernel("  math { y[i] = x[i] * (x[i] > 0) }\n"),
        right=_kernel("  math { y[i] = where(x[i] > 0, x[i], 0) }\n"),
    ),
    Code(
        "SPAK318",
        "a value that its target cannot hold",
        "A floating-point tensor takes any number. An integer tensor takes integers and a boolean one "
        "truths; convert with `int32(…)` or `where(…)` where that is meant.",
        wrong=(
            "spak 1\n"
            "kernel k: elementwise { dim N input x: f32 [N] output y: int32 [N] math { y[i] = x[i] } "
            "}\n"
        ),
        right=(
            "spak 1\n"
            "kernel k: elementwise { dim N input x: f32 [N] output y: int32 [N] math { y[i] = "
            "int32(x[i]) } }\n"
        ),
    ),
    Code(
        "SPAK319",
        "quantities with different units",
        "Bytes are compared with bytes and added to bytes. A bare number takes the unit of its "
        "partner; a count times `sizeof(A)` is bytes.",
        wrong=_kernel(_COPY + "  law fits: device.bandwidth <= device.smem_per_block\n"),
        right=_kernel(_COPY + "  law fits: device.smem_per_block <= device.smem_per_sm\n"),
    ),
    Code(
        "SPAK320",
        "no proposition where one is needed",
        "A law, a guard, a preference, a requirement and a claim are true or false.",
        wrong=("spak 1\nlaw four: 2 + 2\n"),
        right=("spak 1\nlaw four: 2 + 2 == 4\n"),
    ),
    Code(
        "SPAK321",
        "a shape over something else than dims",
        "The size of an axis is an integer expression over the dims of the kernel.",
        wrong=(
            "spak 1\n"
            "kernel k: elementwise { dim N input x: f32 [N / 2] output y: f32 [1.5] math { y[i] = "
            "x[i] } }\n"
        ),
        right=(
            "spak 1\n"
            "kernel k: elementwise { dim N input x: f32 [N] output y: f32 [N] math { y[i] = x[i] } }\n"
        ),
    ),
    Code(
        "SPAK322",
        "an option that cannot have this type or default",
        "An option has one type (`bool`, an integer, a floating-point type) or a choice of words, and "
        "its default is one of its values.",
        wrong=_kernel(_COPY + "  option causal: bool = 1\n"),
        right=_kernel(_COPY + "  option causal: bool = true\n"),
    ),
    Code(
        "SPAK323",
        "tensor elements where one value is needed",
        "A law about the elements of a tensor says over which of them it speaks: `every[r](…)`, `any[r](…)`.",
        wrong=_kernel(_COPY + "  law positive: x[i] > 0\n"),
        right=_kernel(_COPY + "  law positive: every[i](x[i] > 0)\n"),
    ),
    Code(
        "SPAK324",
        "settings of an implementation",
        "`implement` names the CUDA `source`, the `entry` point in it, the `threads` of a block and the `grid`, and "
        "may say `shared`, `cluster` and `arguments`. They are numbers that a call can work out, and every tensor "
        "that the kernel writes is an argument.",
        wrong=_kernel(_COPY + '}\nimplement k as mine { source = "mine.cu"  entry = "mine"  threads = 64 \n'),
        right=_kernel(
            _COPY + '}\nimplement k as mine { source = "mine.cu"  entry = "mine"  threads = 64  grid = 16 \n'
        ),
    ),
    Code(
        "SPAK325",
        "a kernel that computes nothing",
        "A kernel has at least one `output` or `inout` tensor.",
        wrong="spak 1\nkernel k: elementwise { dim N input x: f32 [N] math { t[i] = x[i] } }\n",
        right="spak 1\nkernel k: elementwise { dim N input x: f32 [N] output t: f32 [N] math { t[i] = x[i] } }\n",
    ),
    Code(
        "SPAK326",
        "a whole number divided by zero",
        "The divisor of `//` and `%` is zero whatever the sizes are, so that neither a shape, an index nor an "
        "element has a value. (`/` divides real numbers: its result is infinite, or no number.)",
        wrong=_kernel("  math { y[i] = x[i] * (i // (2 - 2)) }\n"),
        right=_kernel("  math { y[i] = x[i] * (i // 2) }\n"),
    ),
)
