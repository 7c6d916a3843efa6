"""A pretraining's fused encoder as the start of question answering, with words it did not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from xraytk.config import build, read_toml
from xraytk.errors import DataError
from xraytk.models.timm_layout import FROM_HUB
from xraytk.models.tokens import Vocabulary, units
from xraytk.models.weights import find_weights
from xraytk.tasks.answering import VqaConfig, VqaTask
from xraytk.tasks.language.questions import Question

OBJECTIVE = "m3ae"
PARTS = ("text.", "fusion.", "pool_image.", "pool_text.")
EMBEDDING = "text.model.embeddings.word_embeddings.weight"


@dataclass(frozen=True, slots=True)
class Fused:
    """A pretraining by ``m3ae``.

    Args:
        weights: Its safetensors file.
        options: Of its config.
        vocabulary: Its words; None where a transformers model reads.
    """

    weights: Path
    options: Mapping[str, Any]
    vocabulary: Vocabulary | None

    def config(self, given: VqaConfig) -> VqaConfig:
        """The given settings with the sizes of the pretraining."""
        kept = {key: self.options[key] for key in ("width", "depth", "heads", "text") if key in self.options}
        return replace(build(VqaConfig, kept, "vqa."), each=given.each)


def find_fused(init: Path | None) -> Fused | None:
    """Find a fused encoder.

    Args:
        init: As for `finetune`; None for random weights.

    Returns:
        None when ``init`` was not made by ``m3ae``: then it gives an image encoder only.

    Raises:
        DataError: If its words are missing.
    """
    if init is None or str(init).startswith(FROM_HUB):
        return None
    weights = find_weights(init)
    run = next(
        (place for place in (weights.parent, weights.parent.parent) if (place / "config.toml").is_file()),
        None,
    )
    tree = read_toml(run / "config.toml") if run is not None else {}
    if run is None or tree.get("objective") != OBJECTIVE:
        return None
    options = tree.get("options", {})
    if options.get("text", {}).get("model"):
        return Fused(weights, options, None)
    return Fused(weights, options, Vocabulary.load(run / "tokenizer.json"))


def with_words(vocabulary: Vocabulary | None, questions: Sequence[Question]) -> Vocabulary:
    """A vocabulary with the words of questions after its own."""
    if vocabulary is None:
        texts: dict[str, list[str]] = {}
        for question in questions:
            texts.setdefault(question.lang, []).append(question.question)
        return Vocabulary.build(texts)
    asked = {word for question in questions for word in units(question.question, question.lang)}
    fresh = sorted(asked - set(vocabulary.tokens))
    return Vocabulary([*vocabulary.tokens, *fresh], vocabulary.cased, vocabulary.ends)


def load_fused(task: VqaTask, fused: Fused) -> str:
    """Fill a task's text encoder, fusion and pools; the image encoder is loaded apart.

    Args:
        task: Filled in place, only when all fits.
        fused: The pretraining.

    Returns:
        What was done, for people.

    Raises:
        DataError: If a tensor is missing or of another shape.
    """
    held = {name: tensor for name, tensor in task.state_dict().items() if name.startswith(PARTS)}
    found = {name: tensor for name, tensor in load_file(fused.weights).items() if name in held}
    fresh = 0
    if fused.vocabulary is not None and EMBEDDING in found:
        fresh = len(held[EMBEDDING]) - len(found[EMBEDDING])
        found[EMBEDDING] = _longer(found[EMBEDDING], held[EMBEDDING])
    wrong = sorted(name for name, own in held.items() if name not in found or found[name].shape != own.shape)
    if wrong:
        raise DataError(
            f"the fused encoder of {fused.weights} does not fit",
            f"{len(wrong)} of {len(held)} tensors are missing or of another shape, first {wrong[0]}",
            "Give a run of `xraytk pretrain --objective m3ae`.",
        )
    task.load_state_dict(found, strict=False)
    return f"text encoder and fusion: {len(found)} tensors; {fresh} words of the questions are new"


def _longer(old: Tensor, new: Tensor) -> Tensor:
    """Embeddings of old words, fresh ones of the words after them, and last that of the mask."""
    return torch.cat([old[:-1], new[len(old) - 1 : -1].to(old), old[-1:]])
