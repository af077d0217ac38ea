"""SPAK7xx: templates, architectures, and what can be built."""

from spakc.diagnostics.codes.entry import Code


def _product(schedules: str) -> str:
    """A smallest product kernel around the schedules that an entry is about."""
    return f"""spak 1
use std.devices
targets h100
kernel product: product {{
  dim M, N, K
  input  A: bf16 [M, K]
  input  B: bf16 [K, N]
  output C: bf16 [M, N]
  math {{ C[m, n] = sum[k](A[m, k] * B[k, n]) }}
{schedules}}}
"""


_NAIVE = "  schedule naive { knob block in {8, 16, 32} }\n"

TABLE: tuple[Code, ...] = (
    Code(
        "SPAK701",
        "schedule without a template",
        "A schedule is named after a template of the kernel's family, or is `like` a schedule that is. The "
        "template generates the code; without one there is nothing that the schedule's knobs could change.",
        _product(_NAIVE + "  schedule pipelnied { knob stages in 2..4 }\n"),
        _product(_NAIVE + "  schedule pipelined { knob stages in 2..4 }\n"),
    ),
    Code(
        "SPAK702",
        "knob that the template does not have",
        "A template publishes its knobs with their domains and units. A knob of another name would change "
        "nothing, so it is an error rather than a wish.",
        _product("  schedule naive { knob blocks in {8, 16, 32} }\n"),
        _product(_NAIVE),
    ),
    Code(
        "SPAK703",
        "unknown architecture",
        "Kernels are compiled for real architectures, with the suffix that their instructions need.",
        "spakc compile kernels.spak --arch sm_91",
        "spakc compile kernels.spak --arch sm_90a",
    ),
    Code(
        "SPAK704",
        "no point of a schedule can be built",
        "Every point that the laws leave is outside of what the template takes, or a block of it does not fit "
        "on any of the devices. The schedule yields no kernel; calls are answered by the others.",
        _product("  schedule naive { knob block in {12} }\n"),
        _product(_NAIVE),
    ),
)
