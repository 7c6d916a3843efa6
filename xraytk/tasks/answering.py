"""Visual question answering: a fused encoder and a head over the answers of training."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xraytk.chance import Chance
from xraytk.config import build
from xraytk.errors import DataError, UsageError
from xraytk.models.fusion import Fusion
from xraytk.models.text_encoder import Codes, TextConfig, TextEncoder
from xraytk.models.tokens import Vocabulary
from xraytk.models.vit import Vit, VitConfig, initialise, normalise, valid_patches
from xraytk.records import Batch, Loss
from xraytk.tasks.language.questions import Question

MOST = 64
"""Questions of one forward pass when answering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VqaConfig:
    """The fused encoder, as `objectives.m3ae` has it; a pretraining by ``m3ae`` decides all but the first.

    Args:
        each: Questions of an image that are asked in one step of training, drawn anew each time.
        width: Width of the fusion; a multiple of ``heads``.
        depth: Layers of the fusion.
        heads: Attention heads of the fusion.
        text: What reads the questions; its dropout is the fusion's too.
    """

    each: int = 2
    width: int = 768
    depth: int = 6
    heads: int = 12
    text: TextConfig = field(default_factory=lambda: TextConfig(depth=12, max_tokens=64))

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        for name in ("each", "width", "depth", "heads"):
            if getattr(self, name) < 1:
                raise UsageError(f"vqa.{name} is {getattr(self, name)}", "wanted at least 1")
        if self.width % self.heads:
            raise UsageError(f"vqa.width is {self.width}", f"wanted a multiple of vqa.heads ({self.heads})")


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer to a question.

    Args:
        question: With the true answer.
        patient_hash: Of its image.
        answer: What the model says.
        chance: Its probability.
    """

    question: Question
    patient_hash: str
    answer: str
    chance: float


class VqaTask(nn.Module):
    """Image and question look at each other; a head chooses among the answers of training.

    Args:
        encoder: Shape of the image encoder.
        config: Of the fusion and of what reads.
        vocabulary: Words of a text encoder made from scratch; None for a transformers model.
        answers: That can be given, at least one.
        frozen: Leave the image encoder as it is.

    Source:
        M3AE (Chen et al. 2022): head of two layers over both pooled streams, binary cross-entropy of
        all answers, summed over them.
    """

    needs = frozenset({"image", "valid"})

    def __init__(
        self,
        encoder: VitConfig,
        config: VqaConfig,
        vocabulary: Vocabulary | None,
        answers: Sequence[str],
        *,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.config, self.answers, self.frozen = config, tuple(answers), frozen
        self.encoder = Vit(encoder).requires_grad_(not frozen)
        self.text = TextEncoder(config.text, None if vocabulary is None else lambda langs, least: vocabulary)
        if vocabulary is not None:
            self.vocabulary = vocabulary
        wide = config.width
        self.fusion = Fusion(
            encoder.width, self.text.width, wide, config.depth, config.heads, config.text.dropout
        )
        self.pool_image, self.pool_text = (nn.Sequential(nn.Linear(wide, wide), nn.Tanh()) for _ in range(2))
        self.head = nn.Sequential(
            nn.Linear(2 * wide, 2 * wide),
            nn.LayerNorm(2 * wide),
            nn.GELU(),
            nn.Linear(2 * wide, len(answers)),
        )
        for part in (self.pool_image, self.pool_text, self.head):
            part.apply(initialise)
        self._number = {answer: i for i, answer in enumerate(self.answers)}
        self._questions: dict[str, list[Question]] = {}

    def ask(self, questions: Iterable[Question]) -> VqaTask:
        """Set the questions that images are asked, by ``image_id``, in training and when predicting."""
        of_image: defaultdict[str, list[Question]] = defaultdict(list)
        for question in questions:
            of_image[question.image_id].append(question)
        self._questions = dict(of_image)
        return self

    def forward(self, batch: Batch, chance: Chance) -> Loss:
        """Loss of some questions of every image; an image without one takes no part."""
        rows, asked = self._draw(batch, chance)
        logits = self._logits(*self._look(batch), rows, asked) if asked else self._none(batch)
        truth = torch.zeros_like(logits)
        for row, question in enumerate(asked):
            if question.answer in self._number:
                truth[row, self._number[question.answer]] = 1.0
        each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(1)
        parts = {"right": (logits.argmax(1) == truth.argmax(1)).float().mean()} if asked else {}
        return Loss(each.sum() / max(1, len(asked)), parts)

    def _none(self, batch: Batch) -> Tensor:
        """No logits, but joined to every weight."""
        first = self._logits(*self._look(batch), [0], [Question("", "?", "", "open", "en")])
        return first[:0] + 0 * first.sum()

    def _draw(self, batch: Batch, chance: Chance) -> tuple[list[int], list[Question]]:
        """Some questions of each image, none of them twice, and the images they are about."""
        own = [self._questions.get(image_id, []) for image_id in batch.image_id]
        noise = chance.rand(len(own), max(1, max(map(len, own), default=1)))
        rows, asked = [], []
        for row, questions in enumerate(own):
            for at in noise[row, : len(questions)].argsort()[: self.config.each].tolist():
                rows.append(row)
                asked.append(questions[at])
        return rows, asked

    def _look(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """(B, 1 + N, D) tokens of images, and (B, 1 + N) bool, True on padding."""
        config = self.encoder.config
        valid = valid_patches(batch.valid, config.patch_px)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            tokens = self.encoder(normalise(batch.image, config.channels), valid=valid)
        return tokens, None if bool(valid.all()) else ~F.pad(valid, (1, 0), value=True)

    def _logits(
        self, tokens: Tensor, padding: Tensor | None, rows: Sequence[int], asked: Sequence[Question]
    ) -> Tensor:
        """(M, A) logits of the answers to M questions about the images in ``rows``."""
        codes: Codes = self.text.encode([q.question for q in asked], [q.lang for q in asked])
        codes = codes.to(tokens.device)
        at = torch.tensor(rows, device=tokens.device)
        seen, read = self.fusion(
            tokens[at],
            self.text(codes.tokens, codes.real),
            None if padding is None else padding[at],
            ~codes.real,
        )
        both = torch.cat([self.pool_image(seen[:, 0]), self.pool_text(read[:, 0])], 1)
        out: Tensor = self.head(both).float()
        return out

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Answered]:
        """Answer all questions about the images; the model is in evaluation mode meanwhile."""
        was_training = self.training
        self.eval()
        pairs = [(i, q) for i, name in enumerate(batch.image_id) for q in self._questions.get(name, [])]
        out: list[Answered] = []
        tokens, padding = self._look(batch) if pairs else (torch.empty(0), None)
        for begin in range(0, len(pairs), MOST):
            some = pairs[begin : begin + MOST]
            logits = self._logits(tokens, padding, [i for i, _ in some], [q for _, q in some])
            best = logits.sigmoid().max(1)
            for (i, question), value, number in zip(
                some, best.values.tolist(), best.indices.tolist(), strict=True
            ):
                out.append(Answered(question, batch.patient_hash[i], self.answers[number], value))
        self.train(was_training)
        return out

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Score on the validation split.

        Returns:
            Share of right answers to all questions ("accuracy" and "score"), and to "closed" and
            "open" ones where there are such; {} without a question.
        """
        answered = [one for batch in batches for one in self.predict(batch)]
        right: defaultdict[str, list[bool]] = defaultdict(list)
        for one in answered:
            for name in ("accuracy", one.question.kind):
                right[name].append(one.answer == one.question.answer)
        numbers = {name: sum(values) / len(values) for name, values in right.items()}
        return {**numbers, "score": numbers["accuracy"]} if numbers else {}

    def fitted(self, batches: Iterable[Batch]) -> dict[str, Any]:
        """Nothing is fitted on the validation split."""
        return {}

    def describe(self) -> dict[str, Any]:
        """What `rebuild` needs, as plain values."""
        return {
            "encoder": dataclasses.asdict(self.encoder.config),
            "vqa": dataclasses.asdict(self.config),
            "answers": list(self.answers),
        }

    @classmethod
    def rebuild(cls, model: Mapping[str, Any], folder: Path) -> VqaTask:
        """Build the model that `describe` described, with random weights."""
        config = build(VqaConfig, model["vqa"], "vqa.")
        vocabulary = None if config.text.model else Vocabulary.load(folder / "tokenizer.json")
        return cls(build(VitConfig, model["encoder"], "encoder."), config, vocabulary, model["answers"])


def refuse_strange(questions: Sequence[Question], found: int, split: str, path: Path) -> None:
    """Refuse questions of which none is about an image that is there.

    Raises:
        DataError: If ``found`` is 0.
    """
    if not found:
        raise DataError(
            f"{path} asks nothing about an image of the {split} split",
            f"{len(questions):,} questions",
            "image_id is the id that `xraytk ingest` gave the image.",
        )
