"""The protocol of a run: gates in order. One that fails stops the run, and withholds what would mislead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spak_runtime.formats import agree
from spak_runtime.training import sanity
from spak_runtime.training.documents import DocumentData, Documents
from spak_runtime.training.spec import Expression, Gate, TrainingError

SHOWN = 4
"""Documents that `show decoded(batch)` prints."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One requirement of a gate: its text in the file, whether it holds, and the figures it was decided
    by."""

    text: str
    holds: bool
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GateResult:
    name: str
    holds: bool
    verdicts: tuple[Verdict, ...]
    shown: tuple[str, ...]
    hides: tuple[str, ...]
    findings: tuple[sanity.Finding, ...]

    def reason(self) -> str:
        """Why figures behind this gate are withheld."""
        failed = next(verdict for verdict in self.verdicts if not verdict.holds)
        figures = ", ".join(f"{name} = {_show(value)}" for name, value in failed.figures.items())
        return f"gate {self.name}: {failed.text} does not hold ({figures})"


@dataclass(slots=True)
class Judge:
    """Evaluates what gates require. `accuracy(split, readout, loops)` is a share of right answers, `loss`
    that of the training a gate has just done."""

    data: DocumentData | None
    accuracy: Callable[[str, str, int | None], float]
    seed: int
    loss: float | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    findings: list[sanity.Finding] = field(default_factory=list)

    @sanity.long_numbers()
    def judge(self, gate: Gate) -> GateResult:
        """Decides a gate whose training, if it has any, is done."""
        self.findings = []
        verdicts = []
        for requirement in gate.require:
            self.figures = {}
            try:
                holds = bool(self.value(requirement.proposition))
            except ArithmeticError as error:  # of figures such as a loss of zero
                holds = False
                self.figures["no truth value"] = str(error)
            verdicts.append(Verdict(requirement.text, holds, self.figures))
        hides = tuple(
            name
            for requirement, verdict in zip(gate.require, verdicts, strict=True)
            if not verdict.holds
            for name in requirement.hide
        )
        shown = tuple(line for expression in gate.show for line in self._show(expression))
        holds = all(verdict.holds for verdict in verdicts)
        return GateResult(gate.name, holds, tuple(verdicts), shown, hides, tuple(self.findings))

    def value(self, expression: Expression) -> Any:
        """The value of a proposition of a gate."""
        if not isinstance(expression, list):
            return expression
        op, *arguments = expression
        query = getattr(self, f"_{op}", None) if op in _QUERIES else None
        if query is not None:
            return query(*arguments)
        if op in ("not", "neg"):
            value = self.value(arguments[0])
            return not value if op == "not" else -value
        if op not in _OPERATORS:
            raise TrainingError(f"a gate asks for {op}, which this runtime does not know")
        left, right = (self.value(argument) for argument in arguments)
        return _OPERATORS[op](left, right)

    # ---- queries ------------------------------------------------------------------------------------

    def _loss(self) -> float:
        if self.loss is None:
            raise TrainingError("a gate asks for a loss, but nothing was trained before")
        self.figures["loss"] = self.loss
        return self.loss

    def _accuracy(self, subject: str, split: str, readout: str = "last", loops: int | None = None) -> float:
        share = self.accuracy(split, readout, loops)
        self.figures[f"accuracy({subject}, {split})"] = share
        return share

    def _laws(self, of: str) -> bool:
        if of == "model":
            self.figures["laws"] = "proved when the file was compiled"
            return True
        data = self._documents()
        names = dict.fromkeys((*data.dataset.train, *data.dataset.splits))
        splits = {name: self._drawn(name) for name in names}
        findings = [sanity.check_alignment(data, name, documents) for name, documents in splits.items()]
        findings += [sanity.check_law(law, data, splits) for law in data.dataset.laws]
        self.findings += findings
        self.figures["laws"] = (
            "; ".join(f"{finding.name}: {finding.detail}" for finding in findings if not finding.holds)
            or f"{len(findings)} hold"
        )
        return all(finding.holds for finding in findings)

    def _format(self, of: str) -> Form:
        data = self._documents()
        if of == "train":
            forms = {sanity.form_of(self._drawn_for_training(), data.vocabulary)}
        else:
            names = [name for name in data.dataset.splits if name not in data.dataset.train]
            forms = {sanity.form_of(data.evaluation(name), data.vocabulary) for name in names}
        self.figures[f"format({of})"] = " | ".join(sorted(forms))
        return Form(frozenset(forms))

    def _show(self, expression: Expression) -> list[str]:
        if not (isinstance(expression, list) and expression[0] == "decoded"):
            return [str(self.value(expression))]
        data = self._documents()
        return [r.text for r in sanity.read(self._drawn_for_training(), data.vocabulary, SHOWN)]

    def _documents(self) -> DocumentData:
        if self.data is None:
            raise TrainingError("this gate asks about documents, but the experiment's data are a corpus")
        return self.data

    def _drawn(self, name: str) -> Documents:
        data = self._documents()
        if name in data.dataset.train:
            return data.draw(name, sanity.CHECKED, self.seed, name)
        return data.evaluation(name)

    def _drawn_for_training(self) -> Documents:
        return self._documents().training(sanity.CHECKED, "check", self.seed)


@dataclass(frozen=True, slots=True)
class Form:
    """Formats of documents; equal if each of one side agrees with each of the other."""

    forms: frozenset[str]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Form) and agree(self.forms, other.forms)

    def __hash__(self) -> int:
        return 0


_QUERIES = ("loss", "accuracy", "laws", "format")
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    **{
        op: sanity.OPERATORS[op]
        for op in ("add", "sub", "mul", "eq", "ne", "lt", "le", "gt", "ge", "and", "or")
    },
    "div": lambda a, b: a / b,
}


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
