"""SPAK120 to 140: names, and what they stand for."""

from spakc.diagnostics.codes.entry import Code


def _kernel(body: str) -> str:
    """A smallest kernel with some lines in it."""
    return f"spak 1\nkernel k: elementwise {{\n  dim N\n  input x: f32 [N]\n  output y: f32 [N]\n{body}}}\n"


def _model(line: str) -> str:
    """A smallest model with one more line."""
    part = "  part block(x: [B, T, n_embd]) -> y: [B, T, n_embd] { y = x }\n"
    forward = (
        "  forward(tokens: int [B, T]) -> logits: [B, T, vocab] { logits = unembed(block(embed(tokens))) }\n"
    )
    return f"spak 1\nmodel M {{\n  hyper n_embd = 8\n  {line}\n{part}{forward}}}\n"


_COPY = "  math { y[i] = x[i] }\n"
_TWO_KNOBS = "  schedule grid_stride { knob vector in {1, 2} knob threads in {128, 256} "

TABLE: tuple[Code, ...] = (
    Code(
        "SPAK120",
        "an unknown name",
        "Nothing that is declared here, around here or in a used file has this name. The help shows "
        "the nearest one and where it is declared.",
        wrong="spak 1\nlet limit = 8\nlaw small: limits <= 8\n",
        right="spak 1\nlet limit = 8\nlaw small: limit <= 8\n",
    ),
    Code(
        "SPAK121",
        "an unknown function",
        "Functions are given by the language: element-wise ones (`exp`, `where`, …), reductions with "
        "their axes in brackets (`sum[k](…)`), and what later stages know (`sizeof(A)`, "
        "`cubin.count(…)`, `accuracy(…)`).",
        wrong=_kernel("  math { y[i] = sqr(x[i]) }\n"),
        right=_kernel("  math { y[i] = sqrt(x[i]) }\n"),
    ),
    Code(
        "SPAK122",
        "a name that is declared twice",
        "Inside one declaration a name stands for one thing. Laws, schedules and claims have names of "
        "their own, which may be those of other things.",
        wrong="spak 1\nlet limit = 8\nlet limit = 9\n",
        right="spak 1\nlet limit = 8\nlet other = 9\n",
    ),
    Code(
        "SPAK123",
        "a `let` that is defined by itself",
        "A `let` stands for the text of its value. One that needs itself, directly or through others, "
        "has none.",
        wrong="spak 1\nlet a = b + 1\nlet b = a - 1\n",
        right="spak 1\nlet a = 2\nlet b = a - 1\n",
    ),
    Code(
        "SPAK124",
        "two files give one name to different things",
        "`use` brings the names of a file in. Where two files, or a file and this one, declare "
        "different things under one name, say `use … as alias` and write `alias.name`.",
        wrong="spak 1\nuse std.devices\ndevice h100 { arch = sm_90a }\n",
        right="spak 1\nuse std.devices\ndevice mine { arch = sm_90a }\n",
    ),
    Code(
        "SPAK125",
        "a name that is used before it is defined",
        "Hyper-parameters and the values of a model are defined in the order of the text; each may "
        "use those above it.",
        wrong=_model("hyper width = 2 * heads, heads = 4"),
        right=_model("hyper heads = 4, width = 2 * heads"),
    ),
    Code(
        "SPAK126",
        "a name with two meanings inside one declaration",
        "A schedule's knob may not have the name of its kernel's dim, and an axis not that of an "
        "index variable around it: a law would mean something else than it seems to.",
        wrong=_kernel(_COPY + "  schedule grid_stride { knob N in {1, 2} }\n"),
        right=_kernel(_COPY + "  schedule grid_stride { knob vector in {1, 2} }\n"),
    ),
    Code(
        "SPAK127",
        "an unknown member",
        "What stands behind a dot must belong to what stands before it: a fact of `device`, something "
        "that `cubin` or `launch` knows, a split of a dataset, a name of a file behind `use … as`.",
        wrong=_kernel(_COPY + "  law fits: device.smem_per_blok >= 1 KiB\n"),
        right=_kernel(_COPY + "  law fits: device.smem_per_block >= 1 KiB\n"),
    ),
    Code(
        "SPAK128",
        "a name of the wrong sort",
        "The name is known, but it is no function, no tensor, no split … as this place needs. The "
        "second place shows what it is.",
        wrong=_kernel("  math { y[i] = N[i] }\n"),
        right=_kernel("  math { y[i] = x[i] }\n"),
    ),
    Code(
        "SPAK129",
        "wrong arguments",
        "The function takes other arguments: a different number of them, or others by name. The help "
        "shows how it is called.",
        wrong=_kernel("  math { y[i] = exp(x[i], 2) }\n"),
        right=_kernel("  math { y[i] = exp(x[i]) }\n"),
    ),
    Code(
        "SPAK130",
        "a function that has no meaning here",
        "Some values are known only in certain statements: `library_error` in a tolerance, "
        "`accuracy(…)` in a claim or a gate, `cubin.registers` in a law about a kernel.",
        wrong=_kernel("  math { y[i] = x[i] * cubin.registers }\n"),
        right=_kernel(_COPY + "  law lean: cubin.registers <= 64\n"),
    ),
    Code(
        "SPAK131",
        "an unknown device",
        "Targets, configs, claims and implementations name devices that this file or a used one declares.",
        wrong="spak 1\nuse std.devices\ntargets h1000\n",
        right="spak 1\nuse std.devices\ntargets h100\n",
    ),
    Code(
        "SPAK132",
        "a `like` that leads nowhere",
        "What stands behind `like` must be declared, be of the same sort, and not be built from this "
        "one in turn.",
        wrong="spak 1\ndevice a like b { }\ndevice b like a { }\n",
        right="spak 1\ndevice a { arch = sm_80 }\ndevice b like a { }\n",
    ),
    Code(
        "SPAK133",
        "a config that does not fit its schedule",
        "A config is one point of the schedule's space: it gives every knob a value, and nothing else.",
        wrong=_kernel(_COPY + _TWO_KNOBS + "config c { vector = 2 } }\n"),
        right=_kernel(_COPY + _TWO_KNOBS + "config c { vector = 2 threads = 128 } }\n"),
    ),
    Code(
        "SPAK134",
        "an assignment that the mathematics does not allow",
        "Every output and intermediate is assigned once; inputs, dims and options are given and never "
        "assigned.",
        wrong=_kernel("  math { y[i] = x[i]  y[j] = 2 * x[j] }\n"),
        right=_kernel("  math { y[i] = 2 * x[i] }\n"),
    ),
    Code(
        "SPAK135",
        "an index variable that nothing binds",
        "An index variable is bound by standing on the left side or by being an axis of a reduction "
        "around its use. On the left stands a plain variable, or one variable plus an offset.",
        wrong=_kernel("  math { y[i] = x[j] }\n"),
        right=_kernel("  math { y[i] = x[i] }\n"),
    ),
    Code(
        "SPAK136",
        "a `let` that grows beyond all bounds",
        "A `let` stands for its text. A chain of them, each using the one before twice, doubles with "
        "every step.",
        wrong="spak 1\nlet a0 = 1 + 2\n" + "".join(f"let a{i + 1} = a{i} + a{i}\n" for i in range(14)),
        right="spak 1\nlet a = 3 * 16384\n",
    ),
    Code(
        "SPAK137",
        "equations that need each other",
        "Equations have no order of their own, but none may need its own result, directly or through "
        "others. The earlier value of an `inout` tensor is its plain name; `new(p)` is the one that "
        "is being computed.",
        wrong=_kernel("  math { y[i] = z[i] + x[i]  z[i] = 2 * y[i] }\n"),
        right=_kernel("  math { y[i] = z[i] + x[i]  z[i] = 2 * x[i] }\n"),
    ),
    Code(
        "SPAK138",
        "a gradient of something that has none",
        "`gradient O wrt Q, K` names outputs before `wrt` and floating-point inputs behind it.",
        wrong=_kernel(_COPY + "  gradient y wrt z\n"),
        right=_kernel(_COPY + "  gradient y wrt x\n"),
    ),
    Code(
        "SPAK139",
        "a word that is none of the choices",
        "This place takes one of a closed list of words; the help names them. Beside a knob it is a warning: whoever "
        "owns the knob may have narrowed it, and a law that speaks of the values it had says what it said.",
        wrong=_kernel(_COPY + "  verify { values normal, uniformly }\n"),
        right=_kernel(_COPY + "  verify { values normal, uniform }\n"),
    ),
    Code(
        "SPAK140",
        "a member that stands twice in its set",
        "A set, a choice of types, layouts or words holds each member once. The second one says nothing, so one of the "
        "two was meant to be another.",
        wrong=_kernel(_COPY + "  schedule grid_stride { knob vector in {1, 2, 1} }\n"),
        right=_kernel(_COPY + "  schedule grid_stride { knob vector in {1, 2, 4} }\n"),
    ),
)
