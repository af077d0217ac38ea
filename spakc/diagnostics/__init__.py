"""What the tool tells a user: data first (`Diagnostic`), collected in a `Sink`, rendered at the edge. The table of
codes (`diagnostics/codes`) is read when there is something to tell."""

from spakc.diagnostics.diagnostic import Diagnostic, Label, Repair, Severity, SpakError
from spakc.diagnostics.sink import Sink

__all__ = ["Diagnostic", "Label", "Repair", "Severity", "Sink", "SpakError"]
