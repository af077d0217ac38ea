"""One row of the code table, in the words that `spakc explain` prints."""

from spakc.record import record


@record
class Code:
    """`wrong` is a smallest `.spak` text (or command) that earns the code; `right` is its repair."""

    id: str
    title: str
    why: str
    wrong: str = ""
    right: str = ""
