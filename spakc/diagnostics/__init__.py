"""What the tool tells a user: data first (`Diagnostic`), collected in a `Sink`, rendered at the edge."""

from spakc.diagnostics.codes import CODES, Code
from spakc.diagnostics.diagnostic import Diagnostic, Label, Severity, SpakError
from spakc.diagnostics.sink import Sink

__all__ = ["CODES", "Code", "Diagnostic", "Label", "Severity", "Sink", "SpakError"]
