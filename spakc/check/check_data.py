"""Datasets: where their text comes from, which documents a split can hold, what is proved about them, what must be
tested when they are drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping

from spakc.check.data_facts import DatasetFacts, Report, apart, is_whole
from spakc.check.data_laws import law_status
from spakc.check.data_support import find_support
from spakc.check.data_text import check_samples, check_text, vocabulary
from spakc.diagnostics import Sink
from spakc.ir.constraint import Env, evaluate
from spakc.ir.module import Module
from spakc.ir.ops import Const, Query
from spakc.source import is_relative

MOST_SAMPLES = 10**8
MOST_TOKENS = 1 << 24


def check_data(module: Module, sink: Sink) -> Mapping[str, DatasetFacts]:
    """Facts of every dataset. Reports what cannot be drawn or written (SPAK523-529) and a `disjoint` law
    over splits that share all their samples (541). A law about values stays undecided until documents are
    drawn (means: cases); one that the supports decide is proved here. Leaves the reading of corpora to the
    run."""
    facts: dict[str, DatasetFacts] = {}
    for name, dataset in module.datasets.items():
        found = _facts(Report(dataset, sink))
        if found is not None:
            facts[name] = found
    return facts


def _facts(check: Report) -> DatasetFacts | None:
    dataset = check.dataset
    if not dataset.splits:
        check.error("SPAK523", f"dataset `{dataset.name}` has no split", dataset, "declared here")
        return None
    source = _corpus(check)
    facts = DatasetFacts(dataset, source)
    names = tuple(dataset.splits)
    if dataset.answer == "parallel" and (source is not None or dataset.loss_after is None):
        message = "an answer is given in parallel behind a marker that the text has"
        check.error("SPAK522", message, dataset, "nothing says where it begins", 'write `loss after "…"`')
    if source is not None:
        _parts(check)
        facts.vocabulary_size = _vocabulary_size(check)
        facts.train = ("train",) if "train" in names else names[:1]
        return None if check.errors else facts
    check_samples(check)
    check_text(check)
    if check.errors:
        return None
    for split in dataset.splits.values():
        find_support(check, split, facts)
    if check.errors:
        return None
    facts.vocabulary, facts.separators = vocabulary(check)
    facts.train = tuple(n for n, s in dataset.splits.items() if s.weight is not None) or (
        ("train",) if "train" in names else names[:1]
    )
    if "train" in names and "train" not in facts.train and dataset.splits["train"].size is None:
        facts.train = ("train", *facts.train)
    _shares(check, facts.train)
    held = [n for n in names if n not in facts.train]
    facts.exclude = tuple(n for n in held if any(not apart(facts, n, t) for t in facts.train))
    facts.laws = tuple(law_status(check, law, facts) for law in dataset.laws)
    return None if check.errors else facts


def _shares(check: Report, train: tuple[str, ...]) -> None:
    """Weights are shares of a mixture: a split without one gets what the others leave."""
    splits = [check.dataset.splits[name] for name in train]
    for split in check.dataset.splits.values():
        if split.weight is not None and not 0 < split.weight <= 1:
            message = f"the weight of split `{split.name}` is a share, above 0% and at most 100%"
            check.error("SPAK529", message, split, f"{split.weight:.0%} here")
            return
        if split.size is not None and split.size > MOST_SAMPLES:
            check.error("SPAK529", f"a split has at most {MOST_SAMPLES} samples", split, "more here")
            return
    stated = sum(split.weight for split in splits if split.weight is not None)
    is_open = any(split.weight is None for split in splits)
    if stated and (stated >= 1 if is_open else abs(stated - 1) > 1e-9):
        what = "leave something for the split without one" if is_open else "add up to 100%"
        last = next(split for split in reversed(splits) if split.weight is not None)
        check.error("SPAK529", f"the weights of a mixture {what}", last, f"{stated:.4g} of it is given away")


# ---- corpora --------------------------------------------------------------------------------------


def _corpus(check: Report) -> dict[str, str] | None:
    text = check.dataset.text
    if not any(isinstance(piece, Query) and piece.name == "characters" for piece in text):
        return None
    piece = text[0]
    inner = piece.args[0] if isinstance(piece, Query) and piece.args else piece
    if len(text) > 1 or check.dataset.samples:
        check.error("SPAK524", "a corpus is the whole text of a dataset", piece, "stands beside other pieces")
    match inner:
        case Query(name="corpus", args=(Const(value=str(name)),)):
            return {"kind": "corpus", "name": name}
        case Query(name="file", args=(Const(value=str(path)),)):
            if not is_relative(path) or ".." in path.split("/"):
                what = f'"{path[:100]}" is not a relative path of a file beside this one or below'
                check.error("SPAK006", what, inner, "leaves the project")
            return {"kind": "file", "path": path}
        case Query(name="url", args=(Const(value=str(address)),)):
            return {"kind": "url", "url": address, "sha256": _hash(check, inner)}
    check.error(
        "SPAK524",
        "`characters` needs a text",
        inner,
        "no text",
        'write `characters(corpus("…"))`, `characters(file("…"))` or `characters(url("…", sha256 = "…"))`',
    )
    return {"kind": "none"}


def _hash(check: Report, url: Query) -> str:
    """The hash that a download is held to, in small letters."""
    value = dict(url.named)["sha256"]
    text = str(value.value).lower() if isinstance(value, Const) else ""
    if not re.fullmatch("[0-9a-f]{64}", text):
        check.error("SPAK524", "a SHA-256 is 64 hexadecimal digits", value, "this is none")
    return text


def _vocabulary_size(check: Report) -> int | None:
    """What `vocabulary = …` says; None without it."""
    piece = check.dataset.text[0]
    value = dict(piece.named).get("vocabulary") if isinstance(piece, Query) else None
    if value is None:
        return None
    size = evaluate(value, Env())
    if is_whole(size) and isinstance(size, int) and 0 < size <= MOST_TOKENS:
        return size
    check.error("SPAK524", f"a vocabulary has 1 to {MOST_TOKENS:,} tokens", value, "this is no such number")
    return None


def _parts(check: Report) -> None:
    total = 0.0
    for split in check.dataset.splits.values():
        if split.fraction is None:
            check.error(
                "SPAK525", f"split `{split.name}` says no fraction of the corpus", split, "no fraction"
            )
        else:
            total += split.fraction
    if total > 1 + 1e-9:
        last = list(check.dataset.splits.values())[-1]
        check.error("SPAK525", f"the splits take {total:.0%} of the corpus", last, "more than there is")
