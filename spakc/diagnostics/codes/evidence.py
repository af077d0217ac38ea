"""SPAK9xx: evidence files and artifacts."""

from spakc.diagnostics.codes.entry import Code

TABLE: tuple[Code, ...] = (
    Code(
        "SPAK901",
        "a row of evidence cannot be trusted",
        "Every line of an evidence file carries a checksum over its own content. This line is no "
        "JSON, lacks a field, has another schema, is dated ahead of now, or was changed after it was "
        "written, so it is ignored: statements that stood on it are undecided until they are established anew. Delete "
        "the line, or restore the file.",
        wrong='{"schema":"spak-evidence/1","statement":"claim fast"}   # in wrong.evidence.jsonl',
        right="spakc verify wrong.spak   # writes the row again",
    ),
    Code(
        "SPAK902",
        "the last row of evidence was cut off",
        "A run was killed while it wrote its last line, or the file was copied while it grew. The "
        "unfinished line is ignored, and the next row is appended after it; nothing else is lost.",
        wrong='{"schema":"spak-evidence/1","statement":"cla   # the end of wrong.evidence.jsonl',
        right="spakc verify wrong.spak   # writes the row again",
    ),
    Code(
        "SPAK903",
        "an evidence file cannot be read",
        "The evidence file beside the `.spak` file is a folder, or this user may not read it. Without "
        "it every statement that waits for code, a run or a measurement is undecided.",
        wrong="mkdir wrong.evidence.jsonl && spakc status wrong.spak",
        right="rmdir wrong.evidence.jsonl && spakc status wrong.spak",
    ),
    Code(
        "SPAK904",
        "an evidence file cannot be written",
        "What was established is written beside the `.spak` file, and there this user may not write, or something "
        "else than a file has its name. The figures of a run stand in its output folder: started again, `run` "
        "finds them and writes its evidence.",
        wrong="mkdir wrong.evidence.jsonl && spakc verify wrong.spak",
        right="rmdir wrong.evidence.jsonl && spakc verify wrong.spak",
    ),
)
