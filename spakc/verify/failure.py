"""What a verification found wrong."""

from __future__ import annotations

from spakc.record import record
from spakc.verify.case import Case


@record
class Line:
    """A line of the `.spak` file or of the generated CUDA, and what is there."""

    file: str
    number: int
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.number}" + (f"  {self.text}" if self.text else "")


@record
class Failure:
    """`code` is that of the diagnostic (SPAK80x), `messages` say what is wrong, the first being what matters;
    `lines` are where. `case` is None for what fails without a run."""

    code: str
    about: str
    messages: tuple[str, ...]
    lines: tuple[Line, ...] = ()
    case: Case | None = None
