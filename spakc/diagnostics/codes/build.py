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

_OCCUPANCY = (
    "  schedule occupancy {{ knob tile_m in {{128}}  knob tile_n in {{128}}  knob tile_k in {{8}}  "
    "knob resident in {{{}}} }}\n"
)

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
        "Every point that the laws leave is outside of what the template takes, or a block of it does not "
        "fit on any of the devices. The schedule yields no kernel; calls are answered by the others.",
        _product(_NAIVE + _OCCUPANCY.format(8)),
        _product(_NAIVE + _OCCUPANCY.format(2)),
    ),
    Code(
        "SPAK706",
        "a knob that no kernel can be built with",
        "A template takes some values of each of its knobs. A domain may have more, which are counted as points that "
        "cannot be built; one that has none of them, or a number below one where there is no such tile, stage or "
        "block, is a mistake.",
        _product("  schedule naive { knob block in {-8} }\n"),
        _product("  schedule naive { knob block in {8} }\n"),
    ),
    Code(
        "SPAK709",
        "an optional part is not installed",
        "`spakc mcp` and `spakc lsp` speak protocols whose packages are no part of the compiler: they come with "
        "the extras `spakc[mcp]` and `spakc[lsp]`.",
        wrong="pip install spakc && spakc lsp",
        right="pip install 'spakc[lsp]' && spakc lsp",
    ),
    Code(
        "SPAK740",
        "folder that holds no readable artifact",
        "The runtime loads what `spakc compile` wrote: a manifest of the schema it knows, and every file "
        "that the manifest names, inside of the folder. A file outside of it is never read.",
        'spak_runtime.load("a folder without manifest.json")',
        'spak_runtime.load("the folder given to spakc compile -o")',
    ),
    Code(
        "SPAK741",
        "kernel that the artifact does not have",
        "The kernels of an artifact have the names of the file it was compiled from.",
        "m.prodcut(a, b)",
        "m.product(a, b)",
    ),
    Code(
        "SPAK742",
        "arguments that do not fit the kernel",
        "Inputs are given by place, in the order of their declaration, or by name; options and outputs by "
        "name. Only an input declared `optional` may be left out.",
        "m.product(a)",
        "m.product(a, b)",
    ),
    Code(
        "SPAK743",
        "tensor of a wrong element type",
        "A tensor has one of the types that its declaration lists; one declared `same(A)` has the type of A. "
        "Nothing is converted silently: that would cost time and digits that nobody asked for.",
        "m.product(a.double(), b.double())",
        "m.product(a.bfloat16(), b.bfloat16())",
    ),
    Code(
        "SPAK744",
        "tensors on different devices",
        "A kernel runs where its tensors are, so all of them are on one device: a CUDA device, or the CPU, "
        "where torch computes the mathematics instead.",
        'm.product(a.to("cuda"), b)',
        'm.product(a.to("cuda"), b.to("cuda"))',
    ),
    Code(
        "SPAK745",
        "shapes that disagree",
        "A dim has one size in a call. The message names both tensors, their shapes, and the dim on which "
        "they disagree.",
        "m.product(torch.empty(4, 8), torch.empty(16, 4))",
        "m.product(torch.empty(4, 8), torch.empty(8, 4))",
    ),
    Code(
        "SPAK746",
        "tensor with a stride that no declared layout has",
        "`layout row` has stride 1 on the last axis, `layout column` on the last but one; the others are "
        "free. A tensor that is written may not have elements that share memory.",
        "m.product(a[:, ::2], b)",
        "m.product(a[:, ::2].contiguous(), b)",
    ),
    Code(
        "SPAK747",
        "tensor that begins between two elements",
        "The address of a tensor is a multiple of its element size; a device cannot load an element that "
        "straddles two. Views of raw bytes can break this.",
        "m.product(torch.frombuffer(raw, dtype=torch.float32, offset=1), b)",
        "m.product(torch.frombuffer(raw, dtype=torch.float32, offset=1).clone(), b)",
    ),
    Code(
        "SPAK748",
        "option with a value outside of its declaration",
        "An option is one of its words, or a number of its type.",
        'm.product(a, b, activation="swoosh")',
        'm.product(a, b, activation="gelu")',
    ),
    Code(
        "SPAK749",
        "dim with a size outside of its domain",
        "A dim declared `in {…}` is compiled in, so only those sizes have code. Every other dim follows from "
        "the shapes of the inputs and is below 2**31.",
        "m.attention(q, k, v)  # 80 in the last axis, where the file says `dim D in {64, 128}`",
        "m.attention(q, k, v)  # 64 in the last axis",
    ),
    Code(
        "SPAK750",
        "no lawful variant for a call",
        "Each variant has a guard that this call does not satisfy. The message lists them: a schedule "
        "without a guard answers every call, and `spakc check` asks for one.",
        "m.product(a, b)  # on a device for which only guarded schedules were selected",
        "schedule naive { knob block in {8, 16, 32} }  # a schedule that answers every call",
    ),
    Code(
        "SPAK751",
        "artifact without code for the device",
        "A variant is lawful on the architectures for which its laws were proved. A device of another one "
        "gets no kernel, though its code might load: its shared memory or instructions may differ.",
        "spakc compile kernels.spak -o out --arch sm_80  # then run on an H100",
        "spakc compile kernels.spak -o out --arch sm_80,sm_90a",
    ),
    Code(
        "SPAK752",
        "source that the device compiler refuses",
        "NVRTC reports an error in the generated CUDA; `#line` leads it back to the `.spak` file. Where no "
        "hand-written source is involved, this is a defect of a template: please report it.",
        'implement product as mine on h100 { source = "mine.cu" entry = "mine" }  # mine.cu does not compile',
        'implement product as mine on h100 { source = "mine.cu" entry = "mine" }  # mine.cu compiles',
    ),
    Code(
        "SPAK753",
        "tool or library that is missing",
        "Compiling kernels needs NVRTC, launching them the CUDA driver, counting instructions nvdisasm. "
        "`spakc doctor` says which are there.",
        "spakc compile kernels.spak -o out  # without the package nvidia-cuda-nvrtc",
        "pip install nvidia-cuda-nvrtc nvidia-cuda-nvdisasm cuda-python",
    ),
    Code(
        "SPAK754",
        "kernel that the driver refuses",
        "The CUDA driver would not load or launch a kernel. An error that an earlier kernel left behind "
        "shows here too: run with CUDA_LAUNCH_BLOCKING=1 to see which.",
        "m.product(a, b)  # after a kernel that wrote out of bounds",
        "m.product(a, b)",
    ),
    Code(
        "SPAK755",
        "kernel first used while a CUDA graph is captured",
        "Nothing can be compiled or loaded during a capture. The call before it, or `prepare`, does both.",
        "with torch.cuda.graph(graph): c = m.product(a, b)",
        "m.product.prepare(a, b)\nwith torch.cuda.graph(graph): c = m.product(a, b)",
    ),
    Code(
        "SPAK756",
        "gradient that is not declared",
        "A backward kernel exists where the file says `gradient … wrt …`. Without one the gradient would be "
        "silently missing; so the call is refused while an input requires it.",
        "m.product(a.requires_grad_(), b)  # no `gradient C wrt A` in the file",
        "with torch.no_grad(): m.product(a, b)",
    ),
    Code(
        "SPAK757",
        "expression of a manifest without a value",
        "Guards, grids and sizes in a manifest are expressions over dims, knobs, options and tensors. One "
        "that is malformed, or divides by zero, belongs to an artifact that this version did not write.",
        '["ceil_div", ["dim", "M"], 0]',
        '["ceil_div", ["dim", "M"], 128]',
    ),
    Code(
        "SPAK705",
        "selected variant whose machine code spills or waits for itself",
        "The assembler spilled registers to memory, ignored a register budget or serialised wgmma (C7508, "
        "C7510 to C7514, C7517, C7519, C7602, and whatever else it calls a potential loss), or the machine code has a "
        "device-wide memory barrier "
        "between two warpgroup products, or the softmax behind the wait for the product that it was to overlap "
        "with. The kernel is right but far slower than its "
        "schedule says, so it is not built: choose another point of the schedule or restrict it by a law. `compile` "
        "builds the first specialisation of each variant; one that a call needs later (other dtypes, layouts, options) "
        "is judged when it is built, by all but the order of instructions: the next best variant answers then, with a "
        "warning, and `explain` says why.",
        "spakc compile kernels.spak --arch sm_90a  # with a tile that needs more registers than there are",
        "spakc compile kernels.spak --arch sm_90a  # with a smaller tile",
    ),
)
