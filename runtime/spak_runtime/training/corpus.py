"""Text to be modelled character by character: read, never executed."""

from __future__ import annotations

import ast
import hashlib
import http.client
import secrets
import sysconfig
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import platformdirs
import torch
from torch import Tensor

from spak_runtime.training.batch import Batch, Vocabulary
from spak_runtime.training.seeds import Stream
from spak_runtime.training.spec import Dataset, TrainingError

_HOST = torch.device("cpu")
_DOWNLOAD_LIMIT = 1 << 30


class CharacterData:
    """A text cut into contiguous splits. Batches are windows at random places, evaluation is consecutive
    windows."""

    def __init__(self, dataset: Dataset, base: Path) -> None:
        assert dataset.source is not None
        text = read_source(dataset.source, base)
        self.dataset = dataset
        self.vocabulary = Vocabulary(_tokens(text, dataset))
        ids = torch.tensor(self.vocabulary.encode(text), dtype=torch.int32)
        self.parts: dict[str, Tensor] = {}
        for name, split in dataset.splits.items():
            assert split.part is not None
            self.parts[name] = ids[round(split.part[0] * len(ids)) : round(split.part[1] * len(ids))]

    def batches(
        self, count: int, seed: int, context: int, start: int = 0, *, device: torch.device = _HOST
    ) -> Iterator[Batch]:
        """The endless stream of `count` windows of `context` tokens, from step `start` on, cut out on the
        device; a function of (seed, step)."""
        text = torch.cat([self.parts[name] for name in self.dataset.train]).to(device)
        self._check(text, context)
        step = start
        while True:
            starts = Stream(device, "windows", seed, step).integers(len(text) - context, count)
            yield _windows(text, starts, context)
            step += 1

    def evaluation(self, name: str, context: int, windows: int) -> Batch:
        """At most `windows` windows, evenly spread over the split."""
        text = self.parts[name]
        self._check(text, context)
        count = min(windows, (len(text) - 1) // context)
        return _windows(text, torch.linspace(0, len(text) - context - 1, count).long(), context)

    def _check(self, text: Tensor, context: int) -> None:
        if len(text) <= context:
            raise TrainingError(
                f"dataset {self.dataset.name}: {len(text)} characters do not fill a context of {context}"
            )


def _tokens(text: str, dataset: Dataset) -> tuple[str, ...]:
    """The characters of a text in order, then tokens that no text has, up to the size that the file says."""
    found = sorted(set(text))
    size = len(found) if dataset.vocabulary_size is None else dataset.vocabulary_size
    if len(found) > size:
        raise TrainingError(
            f"dataset {dataset.name}: the text has {len(found)} characters, but the vocabulary {size} tokens"
        )
    return (*found, *(f"<unused {index}>" for index in range(len(found), size)))


def _windows(text: Tensor, starts: Tensor, context: int) -> Batch:
    place = torch.arange(context + 1, device=text.device)
    tokens = text[starts[:, None] + place].long()
    counted = torch.ones(tokens.shape[0], context, device=text.device)
    return Batch(tokens[:, :-1], tokens[:, 1:], counted)


def read_source(source: Mapping[str, str], base: Path) -> str:
    """The text of `{"kind": "corpus" | "file" | "url", …}`; a file is relative to `base`."""
    match source["kind"]:
        case "corpus":
            return _standard_library_text(source["name"])
        case "file":
            path = base / source["path"]
            if not path.resolve().is_relative_to(base.resolve()):
                raise TrainingError(f"the corpus {source['path']} lies outside of the project")
            try:
                return path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise TrainingError(f"cannot read the corpus {path}: {error}") from error
        case "url":
            return _download(source["url"], source["sha256"])
    raise TrainingError(f"unknown kind of corpus {source['kind']}")


def _standard_library_text(name: str) -> str:
    """The string constants of a module of Python's standard library, in order. The module is parsed, not
    imported."""
    folder = Path(sysconfig.get_path("stdlib"))
    path = folder.joinpath(*name.split(".")).with_suffix(".py")
    if not all(part.isidentifier() for part in name.split(".")) or not path.is_file():
        raise TrainingError(f'corpus("{name}") is no module of the standard library')
    tree = ast.parse(path.read_text(encoding="utf-8"))
    strings = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return "\n".join(strings)


def _download(url: str, sha256: str) -> str:
    """The text behind an address, kept in the user's cache under its hash; anything else than that hash is an
    error."""
    if not url.startswith(("https://", "http://")):
        raise TrainingError(f"{url} is no web address")
    folder = platformdirs.user_cache_path("spak") / "corpora"
    cached = folder / sha256
    if cached.is_file():
        content = cached.read_bytes()
    else:
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                content = response.read(_DOWNLOAD_LIMIT)
        except (OSError, http.client.HTTPException) as error:
            raise TrainingError(f"cannot download {url}: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise TrainingError(f"{url} has the hash {found}, but the file says {sha256}")
    if not cached.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{sha256}.{secrets.token_hex(8)}"
        temporary.write_bytes(content)
        temporary.replace(cached)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TrainingError(f"{url} is no text in UTF-8: {error}") from error
