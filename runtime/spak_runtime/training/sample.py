"""Text written by a trained model: token after token behind a prompt, in float32, computed by torch as an
evaluation is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor, nn

from spak_runtime.training import build, checkpoint, spec
from spak_runtime.training.batch import END, Vocabulary
from spak_runtime.training.corpus import CharacterData
from spak_runtime.training.seeds import mix
from spak_runtime.training.spec import TrainingError


@dataclasses.dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is drawn: from the `top_k` likeliest (all, if None) at a temperature; temperature 0 takes
    the likeliest. At most `tokens` are written."""

    tokens: int
    temperature: float
    top_k: int | None
    seed: int


def sample_experiment(
    folder: Path,
    weights: Path,
    prompts: list[str],
    how: Sampling,
    *,
    profile: str | None = None,
    point: str = "",
    base: Path | None = None,
    device: torch.device | str | None = None,
) -> list[str]:
    """What the model of `folder` (`models/<experiment>` of an artifact) with the weights of a checkpoint
    writes behind each prompt, without the prompt; a document ends with its end token. The text behind a prompt
    is a function of (prompt, place in the list, weights, `how`). Raises TrainingError for a prompt that the
    vocabulary cannot write and for weights of another model."""
    experiment = spec.read(folder)
    settings = experiment.point(profile, point)
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    data = build.build_data(experiment, base or folder)
    ops = build.build_ops(experiment, None, chosen)
    model = build.build_model(experiment, settings, data, ops, chosen, 0)
    try:
        checkpoint.load(weights, model)
    except ValueError as error:
        raise TrainingError(str(error)) from error
    context = int(settings.train["context"]) if isinstance(data, CharacterData) else None
    return [
        write(model, data.vocabulary, prompt, dataclasses.replace(how, seed=mix(how.seed, index)), context)
        for index, prompt in enumerate(prompts)
    ]


@torch.no_grad()
def write(model: nn.Module, vocabulary: Vocabulary, prompt: str, how: Sampling, context: int | None) -> str:
    """The text that follows a prompt. The model sees the last `context` tokens (all, if None)."""
    try:
        ids = vocabulary.encode(prompt)
    except KeyError as error:
        raise TrainingError(f"the prompt has {error.args[0]!r}, which the text never has") from error
    if not ids:
        raise TrainingError("a model continues a text: the prompt has at least one character")
    device = next(model.parameters()).device
    end = vocabulary.number(END) if END in vocabulary.tokens else None
    allowed = torch.tensor([len(token) == 1 or token == END for token in vocabulary.tokens])
    source = torch.Generator().manual_seed(how.seed)
    model.eval()
    written: list[int] = []
    while len(written) < how.tokens and (not written or written[-1] != end):
        seen = [*ids, *written]
        tokens = torch.tensor([seen if context is None else seen[-context:]], device=device)
        logits = model(tokens)[0, -1].float().cpu()
        written.append(draw(logits.masked_fill(~allowed, -torch.inf), how, source))
    return vocabulary.decode(written)


def draw(logits: Tensor, how: Sampling, source: torch.Generator) -> int:
    """A token for logits [V] on the host."""
    if how.temperature == 0:
        return int(logits.argmax())
    if how.top_k is not None and how.top_k < len(logits):
        least = logits.topk(how.top_k).values[-1]
        logits = logits.masked_fill(logits < least, -torch.inf)
    return int(torch.multinomial((logits / how.temperature).softmax(-1), 1, generator=source))
