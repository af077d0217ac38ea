"""SPAK80x: verification of kernels against their mathematics."""

from spakc.diagnostics.codes.entry import Code

TABLE: tuple[Code, ...] = (
    Code(
        "SPAK801",
        "replay token of no case",
        "A token is a whole case: kernel, variant, sizes, dtypes, layouts, options, seeds. This one is "
        "damaged, or names a kernel, a variant, a dim or a choice that the file does not have (any more).",
        "spakc verify kernels.spak --replay v1.abc",
        "spakc verify kernels.spak --replay v1.…   # the whole word that the failure printed",
    ),
    Code(
        "SPAK802",
        "the result is not that of the mathematics",
        "The kernel ran without a mistake of its own and wrote other values than its `math`, evaluated in "
        "float64, beyond the `tolerance` of the file; on whole numbers, other bits. The lines are where the "
        "output is said to be what, and the code generated from them.",
        "implement product as mine on h100 { … }   # sums one column too few",
        "implement product as mine on h100 { … }   # sums all of them",
    ),
    Code(
        "SPAK803",
        "a mistake was found while the kernel ran",
        "A race, an access out of bounds or misaligned, a read of what nobody wrote, a deadlock, an output "
        "that is not written exactly once, memory written where no element lies, or a source that does not "
        "build. It counts whatever the result was: on another day it would have been another.",
        "implement product as mine on h100 { … }   # a barrier is missing",
        "implement product as mine on h100 { … }   # the barrier stands",
    ),
    Code(
        "SPAK804",
        "the result depends on the order of threads",
        "The same call gave other bits when threads ran in another order, or copies landed at another time. "
        "Sums that blocks add in the order of their arrival do this; training could not be repeated.",
        "implement product as mine on h100 { … }   # adds partial sums by atomics",
        "implement product as mine on h100 { … }   # adds them in the order of the blocks",
    ),
    Code(
        "SPAK805",
        "a case that the mathematics does not admit",
        "The shapes and laws of the file allow a call for which the mathematics itself has no value: an "
        "index out of bounds, an element that is not written. Say with a law which calls are meant.",
        "input pick: int32 [N]   math { y[i] = x[pick[i] + 1] }",
        "input pick: int32 [N]   math { y[i] = x[pick[i]] }",
    ),
    Code(
        "SPAK806",
        "the gradient is not the derivative",
        "The slope of the math along a random direction, by differences in float64, is not the one that the "
        "kernel of the gradient computes. This is a mistake of the compiler: please report it.",
        "gradient y wrt x   # of a math that the compiler differentiates wrongly",
        "gradient y wrt x   # of the same math, once the compiler is mended",
    ),
    Code(
        "SPAK807",
        "the check accepts what is wrong",
        "The comparison that kernels must pass was tried on results that are wrong: zeros, one number, an "
        "earlier output, a tail that nobody wrote, the math with a term or a mask left out. It let one pass, "
        "so it would let such a kernel pass. The `tolerance` is too wide.",
        "verify { tolerance 1000 * library_error }",
        "verify { tolerance 2 * library_error + ulp(C) }",
    ),
    Code(
        "SPAK808",
        "no kernel of that name to verify",
        "Only kernels of the file and the gradients that it declares are verified.",
        "spakc verify kernels.spak --kernel prodcut",
        "spakc verify kernels.spak --kernel product",
    ),
    Code(
        "SPAK809",
        "no claim of that name to time",
        "`bench` times what claims over `speed` and `time` of kernels compare. The file has no claim of that name, or "
        "it is about something else: what a run, a compilation or a proof establishes.",
        "spakc bench kernels.spak fasst",
        "spakc bench kernels.spak fast",
    ),
)
