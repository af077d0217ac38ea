"""SPAK2xx: laws, spaces, configs, preferences."""

from spakc.diagnostics.codes.entry import Code


def _product(schedule: str, more: str = "", target: str = "h100") -> str:
    """A smallest product kernel around what the entry is about."""
    return f"""spak 1
use std.devices
targets {target}
kernel product: product {{
  dim M, N, K
  input  A: bf16 [M, K]
  input  B: bf16 [K, N]
  output C: bf16 [M, N]
  math {{ C[m, n] = sum[k](A[m, k] * B[k, n]) }}
{more}  schedule naive {{ knob block in {{8, 16, 32}} }}
{schedule}}}
"""


_TILED = """  schedule tiled {{
    knob tile_m in {{32, 64, 128}}
    knob tile_n in {{32, 64, 128}}
    knob tile_k in {{16, 32}}
{body}  }}
"""


def _tiled(body: str, more: str = "", target: str = "h100") -> str:
    return _product(_TILED.format(body=body), more, target)


_FIXED = "knob tile_m in {64}  knob tile_n in {64}  knob tile_k in {16}"
_CONFIG = "    config c {{ tile_m = {m}  tile_n = 64  tile_k = 32 }}\n"

TABLE: tuple[Code, ...] = (
    Code(
        "SPAK201",
        "a config breaks a law of its schedule",
        "A law inside a schedule restricts its space, and a config is one point of that space. This "
        "point is outside: the label at the law shows what both sides are worth there, the label at "
        "the config the nearest value that is lawful while every other knob stays. The note counts "
        "what the law cuts: points that break it alone, and points that break others as well.",
        wrong=_tiled("    law square: tile_m == tile_n\n" + _CONFIG.format(m=128)),
        right=_tiled("    law square: tile_m == tile_n\n" + _CONFIG.format(m=64)),
    ),
    Code(
        "SPAK202",
        "no point of a schedule is lawful",
        "The laws of the schedule reject every point on this target. Named are the fewest laws that "
        "do so together, and for each of them the best that its left side reaches over the points "
        "that satisfy the others: that is how far it must be loosened, or its knobs widened.",
        wrong=_tiled(
            "    law wide: tile_m >= 128 and tile_n >= 128\n    law small: tile_m * tile_n <= 8192\n"
        ),
        right=_tiled("    law wide: tile_m >= 64 and tile_n >= 64\n    law small: tile_m * tile_n <= 8192\n"),
    ),
    Code(
        "SPAK203",
        "a law is refuted",
        "A law outside of a schedule asserts something, and evaluating it shows that it is false: for "
        "the device, the dtypes, the compiled sizes or the hyper-parameters named in the message. "
        "Nothing is built on a law that is known to be false. (A law inside a schedule restricts the "
        "space instead.)",
        wrong="spak 1\nuse std.devices\ntargets a100\nlaw big: device.smem_per_block >= 200 KiB\n",
        right="spak 1\nuse std.devices\ntargets h100\nlaw big: device.smem_per_block >= 200 KiB\n",
    ),
    Code(
        "SPAK204",
        "a config stands for a target without its schedule",
        "The schedule `needs` a fact that this device does not have, so it is absent there and its "
        "config would never be used. Leave the device out of `on`.",
        wrong=_product(
            "  schedule tiled needs device.wgmma {\n    " + _FIXED + "\n"
            "    config c on a100 { tile_m = 64  tile_n = 64  tile_k = 16 }\n  }\n",
            target="h100, a100",
        ),
        right=_product(
            "  schedule tiled needs device.wgmma {\n    " + _FIXED + "\n"
            "    config c on h100 { tile_m = 64  tile_n = 64  tile_k = 16 }\n  }\n",
            target="h100, a100",
        ),
    ),
    Code(
        "SPAK205",
        "a space is too large",
        "A space is laid out point by point, along every knob, dtype and compiled dim that its laws "
        "mention, up to four million points. Narrow a domain, give its range a `step`, or split the "
        "schedule.",
        wrong=_product(
            "  schedule tiled {\n    knob tile_m in 1..4096  knob tile_n in 1..4096  knob tile_k in {16}\n"
            "    law small: tile_m * tile_n <= 8192\n  }\n"
        ),
        right=_product(
            "  schedule tiled {\n    knob tile_m in {32, 64}  knob tile_n in {32, 64}  knob tile_k in {16}\n"
            "    law small: tile_m * tile_n <= 8192\n  }\n"
        ),
    ),
    Code(
        "SPAK206",
        "a law never applies",
        "The condition after `when` is true nowhere: at no point of the space, for no dtype and size, "
        "on no target. A law without a witness says nothing, and nothing that says nothing may look "
        "established.",
        wrong=_tiled("    law odd: tile_n == 64 when tile_m == 48\n"),
        right=_tiled("    law odd: tile_n == 64 when tile_m == 128\n"),
    ),
    Code(
        "SPAK207",
        "a kernel has no schedule without a guard",
        "A law over run-time sizes becomes a guard: a call that breaks it goes to another schedule. "
        "So that every legal call has an answer, each choice of dtypes, compiled dims and options "
        "needs one schedule that is present on the target, has a lawful point and asks nothing of "
        "run-time sizes.",
        wrong=_tiled("    law whole: M % tile_m == 0\n").replace(
            "  schedule naive { knob block in {8, 16, 32} }\n", ""
        ),
        right=_tiled("    law whole: M % tile_m == 0\n"),
    ),
    Code(
        "SPAK208",
        "a law has no truth value",
        "Evaluating the law divides by zero, overflows, or compares a word with a number, so it is "
        "neither true nor false. In a schedule such points are rejected; where no point has a value, "
        "or the law asserts, it is an error.",
        wrong="spak 1\nlet parts = 0\nlaw whole: 128 % parts == 0\n",
        right="spak 1\nlet parts = 4\nlaw whole: 128 % parts == 0\n",
    ),
    Code(
        "SPAK209",
        "a preference over what is not known when it ranks",
        "`prefer` ranks configs before anything is compiled, run or measured, so it speaks of knobs, "
        "sizes, dtypes, options and facts of the device. What a compiled kernel must be is a law; "
        "what a measurement must show is a claim.",
        wrong=_tiled("    prefer cubin.registers <= 128\n"),
        right=_tiled("    prefer tile_m >= 64 when K >= 1024\n"),
    ),
    Code(
        "SPAK210",
        "a schedule needs what is not a fact of the device",
        "`needs` decides whether a schedule exists on a device at all, so only facts of the device "
        "may say it. A condition over knobs, dtypes or sizes is a law inside the schedule.",
        wrong=_product("  schedule tiled needs M >= 64 {\n    " + _FIXED + "\n  }\n"),
        right=_product("  schedule tiled needs device.cp_async {\n    " + _FIXED + "\n  }\n"),
    ),
    Code(
        "SPAK211",
        "a law speaks of what nothing shows where it stands",
        "Registers are those of a kernel, documents those of a dataset, sizes those of a call, and a model has as many "
        "parameters as an experiment gives it. A law elsewhere over one of them has no witness, ever, so it is refused "
        "where it stands instead of waiting for good. At the top of a file stand laws over facts of devices and over "
        "what is counted of experiments and data.",
        wrong="spak 1\nlaw few: cubin.registers <= 64\n",
        right=_product("", "  law few: cubin.registers <= 64\n"),
    ),
)
