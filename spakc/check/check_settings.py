"""Settings of an experiment as plain values: how it trains, by which optimizer, at which rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from spakc.diagnostics import Sink
from spakc.ir.constraint import Env, TooMany, Unknown, evaluate, members
from spakc.ir.experiment import Experiment, Phased
from spakc.ir.ops import Const, Expr, Interval, Members, Query, Ref, Tuple
from spakc.ir.visit import children, with_unit
from spakc.lower.resolve import nearest
from spakc.source import Span

MOST_POINTS = 4096
"""Of a sweep, and seeds of a point."""

TRAIN_KEYS = ("steps", "batch", "context", "seeds", "precision", "clip", "eval_every", "keep")
GATE_KEYS = ("steps", "batches", "batch", "eval_every", "keep")
WORDS = {"precision": ("bf16", "f32"), "keep": ("last",)}

MOST_NUMBER = 3e38
"""Training computes in float32 at most."""

MOST_SEED = 2**32 - 1

_MOST = {"steps": 10**9, "batch": 10**6, "context": 10**7}
"""More is a slip of the keyboard."""


class Settings:
    """Reads what stands in an experiment and reports what means nothing. `corpus`: its documents are cut from a
    text, in pieces whose length the experiment says."""

    def __init__(self, experiment: Experiment, corpus: bool, sink: Sink) -> None:
        self.experiment = experiment
        self.corpus = corpus
        self.sink = sink

    def error(self, code: str, message: str, span: Span | None, label: str, *help: str) -> None:
        self.sink.report(code, message, span or self.experiment.span, label, help=help)

    def known(self, given: Mapping[str, Expr], known: Iterable[str], what: str, where: str) -> None:
        names = tuple(known)
        for key, value in given.items():
            if key not in names:
                close = nearest(key, names, self.sink)
                hint = f"did you mean `{close}`?" if close else f"there are {', '.join(names)}"
                self.error("SPAK543", f"{where} has no {what} `{key}`", value.span, "set here", hint)

    def train(self, given: Mapping[str, Expr]) -> dict[str, Any] | None:
        values: dict[str, Any] = {}
        for key, expr in given.items():
            if key not in TRAIN_KEYS:
                continue
            if key in WORDS:
                values[key] = self._word(key, expr)
            elif key == "seeds":
                values[key] = self._seeds(expr)
            else:
                values[key] = self._positive(key, expr, whole=key != "clip")
        needed = ("steps", "batch", "seeds") + (("context",) if self.corpus else ())
        for key in needed:
            if key not in values:
                self.error("SPAK547", f"`train` needs `{key}`", None, "not said in this experiment")
                return None
        return None if any(value is None for value in values.values()) else values

    def _word(self, key: str, expr: Expr) -> str | None:
        if isinstance(expr, Ref) and expr.name in WORDS[key]:
            return expr.name
        self.error("SPAK548", f"`{key}` cannot be this", expr.span, f"it is {' or '.join(WORDS[key])}")
        return None

    def _positive(self, key: str, expr: Expr, *, whole: bool) -> int | float | None:
        value = evaluate(expr, Env())
        good = (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and value > 0
            and with_unit(expr) is None
        )
        if not good or (whole and not isinstance(value, int)):
            kind = "a positive whole number" if whole else "a positive number"
            self.error("SPAK548", f"`{key}` is {kind}", expr.span, "this is none")
            return None
        assert isinstance(value, int | float)
        most = _MOST.get(key)
        if most is not None and value > most:
            self.error("SPAK548", f"`{key}` is at most {most}", expr.span, "a slip of the keyboard")
            return None
        return value

    def _seeds(self, expr: Expr) -> list[int] | None:
        domain = expr if isinstance(expr, Members | Interval) else Members((expr,))
        values = members(domain, Env(), MOST_POINTS)
        if (
            isinstance(values, TooMany | Unknown)
            or not values
            or not all(is_natural(value) for value in values)
            or with_unit(expr) is not None
        ):
            self.error("SPAK548", "`seeds` is a set of whole numbers from 0 on", expr.span, "this is none")
            return None
        seeds = [value for value in values if isinstance(value, int)]
        if max(seeds) > MOST_SEED:
            self.error("SPAK548", f"a seed is at most {MOST_SEED}", expr.span, "one of these is more")
            return None
        if isinstance(domain, Members) and len(seeds) < len(domain.items):
            self.error(
                "SPAK548", "a seed stands here twice", expr.span, "the same run twice says nothing new"
            )
            return None
        return seeds

    def optimizer(self, groups: Mapping[str, Mapping[str, Expr]]) -> dict[str, Any] | None:
        return self._function("optimizer", self.experiment.optimizer, groups["optimizer"], ("adamw",))

    def lr(self, groups: Mapping[str, Mapping[str, Expr]]) -> dict[str, Any] | None:
        return self._function("lr", self.experiment.lr, groups["lr"], ("cosine", "constant"))

    def _function(
        self, what: str, own: Expr | None, profile: Mapping[str, Expr], known: tuple[str, ...]
    ) -> dict[str, Any] | None:
        """`adamw(…)` or `cosine(…)` as plain values; a profile replaces it whole or key by key."""
        node = profile.get("", own)
        if node is None:
            self.error("SPAK547", f"the experiment has no `{what}`", None, "not said")
            return None
        if isinstance(node, Const) and what == "lr":
            node = Query("constant", (node,), span=node.span)
        if not isinstance(node, Query) or node.name not in known:
            self.error(
                "SPAK549", f"`{what}` is {' or '.join(f'{name}(…)' for name in known)}", node.span, "not this"
            )
            return None
        given = dict(node.named) | {key: value for key, value in profile.items() if key}
        if node.args:
            given["rate"] = node.args[0]
        if node.name == "cosine" and "peak" not in given:
            self.error("SPAK547", "`cosine` needs `peak`", node.span, "not said")
            return None
        allowed = {"adamw": ("betas", "weight_decay", "eps"), "cosine": ("peak", "warmup", "floor")}
        self.known(given, allowed.get(node.name, ("rate", "warmup")), "setting", f"`{node.name}`")
        values: dict[str, Any] = {"name": node.name}
        for key, expr in given.items():
            values[key] = self._number(f"{what}.{key}", expr)
            if key != "betas" and _is_tuple(expr):
                self.error("SPAK548", f"`{what}.{key}` is one number", expr.span, "these are several")
                return None
            if key == "warmup" and values[key] is not None and not is_natural(values[key]):
                self.error("SPAK548", "`lr.warmup` is a whole number of steps", expr.span, "this is none")
                return None
            if key in ("peak", "rate") and values[key] == 0:
                self.error("SPAK548", f"`{what}.{key}` is above 0", expr.span, "nothing would be learned")
                return None
        betas = values.get("betas", [0, 0])
        if betas is not None and not (
            isinstance(betas, list) and len(betas) == 2 and all(_share(beta) for beta in betas)
        ):
            message = "`betas` are two numbers from 0 to below 1"
            self.error("SPAK548", message, given["betas"].span, "these are not")
            return None
        return None if any(value is None for value in values.values()) else values

    def _number(self, key: str, expr: Expr) -> Any:
        """A finite number, a tuple of numbers, or a phased number, none below zero."""
        if isinstance(expr, Phased):
            if expr.start > 1:
                message = f"`{key}` changes at some part of the run, at most 100%"
                self.error("SPAK548", message, expr.span, "later than its end")
                return None
            first, second = self._number(key, expr.first), self._number(key, expr.second)
            return (
                None
                if first is None or second is None
                else {"first": first, "second": second, "from": expr.start}
            )
        if isinstance(expr, Tuple):
            parts = [self._number(key, item) for item in expr.items]
            return None if any(part is None for part in parts) else parts
        value = evaluate(expr, Env())
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 <= value < math.inf
            or with_unit(expr) is not None
        ):
            self.error("SPAK548", f"`{key}` is a number from 0 on", expr.span, "this is none")
            return None
        if value > MOST_NUMBER:
            self.error("SPAK548", f"`{key}` is a number that a float32 holds", expr.span, "more than that")
            return None
        return value


def _is_tuple(expr: Expr) -> bool:
    return any(isinstance(part, Tuple) for part in (expr, *children(expr)))


def _share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < 1


def is_natural(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
