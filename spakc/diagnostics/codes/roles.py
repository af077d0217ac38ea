"""SPAK6xx: who may change what. The codes of `spakc diff OLD NEW --role R`."""

from spakc.diagnostics.codes.entry import Code

TABLE: tuple[Code, ...] = (
    Code(
        "SPAK601",
        "a statement of another role was changed",
        "A role changes the statements that it owns, by their word or by that of the statement around them, in "
        "the roles of the old state: a change cannot give itself the right to be made. Moving a statement, "
        "formatting and other words for the same meaning need no right; prose (`because`, `intent`) does.",
        wrong="spakc diff old.spak new.spak --role implementer   # a law has become weaker",
        right="spakc diff old.spak new.spak --role architect",
    ),
    Code(
        "SPAK602",
        "no such role",
        "The roles are those that the root file of the old state names in `roles { … }`. Without any, nobody "
        "owns anything and no change can be judged.",
        wrong="spakc diff old.spak new.spak --role implementor",
        right="spakc diff old.spak new.spak --role implementer",
    ),
    Code(
        "SPAK603",
        "a change alters what a statement of another role says",
        "The text of the statement is as it was, but it says something else: a `let` that it names, a fact of a "
        "device, a tensor or an experiment that it is about has another value. A change is charged with "
        "every statement whose meaning it alters.",
        wrong="spakc diff old.spak new.spak --role implementer   # let smem = 2 * tile, was 4 * tile, under a law",
        right="spakc diff old.spak new.spak --role architect",
    ),
    Code(
        "SPAK604",
        "a statement that no role owns was changed",
        "With `--role` a change has to be owned. A statement whose word no role owns, and that of no statement "
        "around it, can be changed only without a role: by whoever may merge without being judged.",
        wrong="spakc diff old.spak new.spak --role architect   # nobody owns `roles`",
        right="spakc diff old.spak new.spak",
    ),
    Code(
        "SPAK605",
        "a file that is no part of the project",
        "An agent of a role writes into the root file of its project, into the files that it uses and into the "
        "sources of hand-written kernels, nowhere else: only what is read into the project can be judged by its "
        "roles. A `.spak` file that is not there yet may be added, and by a role that owns `implement` a `.cu`, "
        "`.cuh` or `.h`; both mean nothing until a statement names them.",
        wrong="write notes.txt   # a tool of `spakc mcp project.spak --role implementer`",
        right="write project.spak",
    ),
)
