"""SPAK0xx: files, what they use, and where output goes."""

from spakc.diagnostics.codes.entry import Code

TABLE: tuple[Code, ...] = (
    Code(
        "SPAK001",
        "file not found",
        "The file named on the command line or by a `use` is not there. A `use` path is relative to the file "
        "that says it, not to the folder the command was started in.",
        wrong='spak 1\nuse "missing.spak"\n',
        right="spak 1\nuse std.devices\n",
    ),
    Code(
        "SPAK002",
        "file cannot be read as text",
        "A `.spak` file is UTF-8 text that the user may read. This one is a folder, is not readable, or "
        "holds bytes that are not UTF-8 (save it again as UTF-8 in your editor; a byte order mark is fine).",
        wrong="spakc check .",
        right="spakc check model.spak",
    ),
    Code(
        "SPAK003",
        "file too large",
        "A `.spak` file is written and read by people; the limit is 1 MiB. Split it and join the parts by "
        "`use`. Data does not belong into the file: a dataset names where its text is.",
        wrong="spakc check weights.spak   # 12 MiB",
        right='spak 1\nuse "kernels.spak"\nuse "models.spak"\n',
    ),
    Code(
        "SPAK004",
        "files use each other in a circle",
        "A `use` brings the names and laws of another file in, so a file cannot be needed before itself. Two "
        "files may use the same third one; move what both need there.",
        wrong='spak 1\nuse "wrong.spak"   # in wrong.spak itself\n',
        right='spak 1\nuse "shared.spak"\n',
    ),
    Code(
        "SPAK005",
        "no such standard module",
        "A dotted `use` without quotes names a module that comes with the compiler, such as `std.devices`. A "
        "file of your own is used by its path, in quotes.",
        wrong="spak 1\nuse std.device\n",
        right="spak 1\nuse std.devices\n",
    ),
    Code(
        "SPAK006",
        "a path that leaves the project",
        "A `use`, the `source` of an `implement` and the `file` of a corpus name files by a relative path, so that the "
        "same file means the same on every machine; absolute paths and addresses (`https://…`) are refused. A "
        "`source`, what it includes, and a corpus lie in the folder of the file that names them or below, links "
        "followed. So does what `spakc new` makes, unless the whole path is given.",
        wrong='spak 1\nuse "/etc/kernels.spak"\n',
        right='spak 1\nuse "kernels/matmul.spak"\n',
    ),
    Code(
        "SPAK007",
        "output cannot be written",
        "The output folder cannot be made or written, or it is a folder that holds something else than an "
        "earlier artifact and would be overwritten. Nothing was changed.",
        wrong="spakc compile model.spak -o /proc",
        right="spakc compile model.spak -o out/model",
    ),
    Code(
        "SPAK008",
        "file is not formatted",
        "`spakc fmt --check` and `--diff` write nothing and say which files `spakc fmt` would change: "
        "indentation, blanks, columns and empty lines. What a file means does not depend on them.",
        wrong="spakc fmt --check model.spak   # indented by three",
        right="spakc fmt model.spak",
    ),
)
