"""SPAK1xx: 101 to 119 the syntax, 120 to 139 names."""

from spakc.diagnostics.codes import resolution
from spakc.diagnostics.codes.entry import Code

_SCALE = """spak 1
kernel scale: elementwise {
  dim N
  input x: f32 [N]
  output y: f32 [N]
  math { y[i] = 2 * x[i] }
}
"""

_SYNTAX: tuple[Code, ...] = (
    Code(
        "SPAK101",
        "this cannot stand here",
        "The text stops following the grammar at this place. Every statement starts with a word of the "
        "language, or with a name followed by `=`, `[` or `.`; everything configurable is `key = value`. The "
        "label says what could stand here instead. Only the first such place of a file is reported.",
        wrong=_SCALE.replace("dim N", "dim"),
        right=_SCALE,
    ),
    Code(
        "SPAK102",
        "a character that the language does not have",
        "Outside of comments and texts in quotes the language uses letters without accents, digits and the "
        "signs of the grammar. Typographic signs (`×`, `≤`, `−`, curly quotes) look alike but are others.",
        wrong="spak 1\nlaw small: 2 ≤ 3\n",
        right="spak 1\nlaw small: 2 <= 3\n",
    ),
    Code(
        "SPAK103",
        "the version of the language is missing",
        "A file begins with `spak 1`, after comments at most, so that a later compiler knows how to read it.",
        wrong="law small: 2 <= 3\n",
        right="spak 1\nlaw small: 2 <= 3\n",
    ),
    Code(
        "SPAK104",
        "a version of the language that this compiler does not know",
        "The number after `spak` is the version of the language, not of the compiler or of your file.",
        wrong="spak 2\nlaw small: 2 <= 3\n",
        right="spak 1\nlaw small: 2 <= 3\n",
    ),
    Code(
        "SPAK105",
        "a bracket that is never closed",
        "A `{`, `(` or `[` has no partner before its surroundings end. Where lines are indented, the "
        "compiler takes a statement that stands left of the block as a sign that the block should have been "
        "closed before it.",
        wrong=_SCALE.removesuffix("}\n"),
        right=_SCALE,
    ),
    Code(
        "SPAK106",
        "a bracket that closes nothing",
        "A closing bracket has no opening partner, or closes another kind of bracket than the one that is "
        "open.",
        wrong="spak 1\nlaw small: (2 <= 3]\n",
        right="spak 1\nlaw small: (2 <= 3)\n",
    ),
    Code(
        "SPAK107",
        "nested too deeply",
        "Brackets, blocks, signs and chains of operators may nest 64 levels, and 256 operators of chains may stand "
        "above an operand: a sum may be long. Nobody reads more, and every stage of the compiler may rely on it.",
        wrong="spak 1\nlaw deep: " + "(" * 65 + "1" + ")" * 65 + " == 1\n",
        right="spak 1\nlaw flat: 1 == 1\n",
    ),
    Code(
        "SPAK108",
        "a number out of range",
        "A whole number has at most 18 digits, a real one fits into 64 bits: it is neither so large that it "
        "is infinite nor so small that it is zero.",
        wrong="spak 1\nlaw large: 1e999 > 1\n",
        right="spak 1\nlaw large: inf > 1\n",
    ),
    Code(
        "SPAK109",
        "a unit that does not exist",
        "A word behind a number is its unit, from a closed list: KiB MiB GiB · us ms sec · GHz · GB/s TB/s · "
        "TFLOP/s · tokens/s, and % without a blank. Memory is counted in powers of two.",
        wrong="spak 1\ndevice d { arch = sm_90a  smem_per_block = 227 KB }\n",
        right="spak 1\ndevice d { arch = sm_90a  smem_per_block = 227 KiB }\n",
    ),
    Code(
        "SPAK110",
        "one `=` where two are meant",
        "`=` gives a value to a key, a name or an argument. Two values are compared with `==`.",
        wrong="spak 1\nlaw equal: 2 + 1 = 3\n",
        right="spak 1\nlaw equal: 2 + 1 == 3\n",
    ),
    Code(
        "SPAK111",
        "a sign of another language",
        "The language says `and`, `or`, `not`, `pow(x, y)`, `where(condition, a, b)` and `==` where others "
        "have `&&`, `||`, `!`, `**`, `?:` and `===`. Statements have no separator. A comment begins with "
        "`#`; `//` divides integers.",
        wrong="spak 1\nlaw both: 1 < 2 && 2 < 3\n",
        right="spak 1\nlaw both: 1 < 2 and 2 < 3\n",
    ),
    Code(
        "SPAK112",
        "a text that is not written right",
        "A text stands in double quotes and ends on the line where it began. Its escapes are "
        '`\\"`, `\\\\`, `\\n` and `\\t`.',
        wrong='spak 1\nintent "a text without an end\n',
        right='spak 1\nintent "a text with an end"\n',
    ),
    Code(
        "SPAK113",
        "an invisible character",
        "Control characters, characters that change the direction of writing, and carriage returns without a "
        "line feed would let a file look different from what it says.",
        wrong="spak 1\nlaw \x0csmall: 2 <= 3\n",
        right="spak 1\nlaw small: 2 <= 3\n",
    ),
    Code(
        "SPAK114",
        "a line too long",
        "A line has at most 10000 characters. Line ends mean nothing to the language: break it between two "
        "words.",
        wrong="spak 1\nlaw small: 1 <= 3" + " " * 10000 + "\n",
        right="spak 1\nlaw small:\n  1 <= 3\n",
    ),
    Code(
        "SPAK115",
        "a word of the language used as a name",
        "Words such as `step`, `then`, `in` or `loop` mean something where a statement may begin, because "
        "line ends mean nothing: `a = 1 step = 2` would read on as a range. A value of such a name could "
        "never be set. Most other words of the language are free to be names.",
        wrong="spak 1\nlet step = 2\n",
        right="spak 1\nlet step_ = 2\n",
    ),
    Code(
        "SPAK116",
        "a misspelt word of the language",
        "No statement or clause here begins with this word, but one that is nearly the same does.",
        wrong=_SCALE.replace("kernel", "kernal"),
        right=_SCALE,
    ),
    Code(
        "SPAK117",
        "a percentage where a remainder is meant",
        "`8%` without a blank is a percentage, eight hundredths. The remainder of a division has a blank "
        "before its sign: `8 % n`.",
        wrong="spak 1\nlaw even: 8%2 == 0\n",
        right="spak 1\nlaw even: 8 % 2 == 0\n",
    ),
    Code(
        "SPAK118",
        "a statement in the wrong place",
        "This statement exists, but in another block: a `knob` belongs to a `schedule`, a `sample` to a "
        "`dataset`. `use` and `targets` come before everything else.",
        wrong="spak 1\nknob vector in {1, 4}\n",
        right=_SCALE.replace("] }\n", "] }\n  schedule grid_stride { knob vector in {1, 4} }\n"),
    ),
)

TABLE: tuple[Code, ...] = _SYNTAX + resolution.TABLE
