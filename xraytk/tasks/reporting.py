"""Report generation: the pretrained encoder and a decoder that writes English and Chinese."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xraytk.chance import Chance
from xraytk.config import build
from xraytk.errors import UsageError
from xraytk.models import vocabularies
from xraytk.models.attending import cross_attention
from xraytk.models.language import DecoderConfig, ReportDecoder
from xraytk.models.search import GREEDY, SearchConfig
from xraytk.models.vit import Vit, VitConfig, normalise, valid_patches
from xraytk.records import Batch, Loss, Prediction
from xraytk.tasks import metrics
from xraytk.tasks.attention import AttentionConfig, TermMap, map_terms
from xraytk.tasks.held_out import loss_of

IGNORED = -100  # target of padding, as cross-entropy knows it


class ReportTask(nn.Module):
    """Encoder, projection and decoder, trained on the reports of all languages at once.

    Args:
        encoder: Shape of the encoder.
        decoder: Size of the decoder.
        vocabulary: Over all languages.
        langs: Languages it learns; a sample counts once for each in which it has a report.
        frozen: Leave the encoder as it is.
        views: Images of a study that it looks at, 1 or 2. Of two, the tokens stand one after the other;
            a study with one image has that one's alone.

    Source:
        Two views: R2Gen (Chen et al. 2020) on IU X-ray: one encoder for both, and nothing but their
        tokens tells them apart. That a study may have one image is ours.
    """

    needs = frozenset({"image", "valid", "reports"})

    def __init__(
        self,
        encoder: VitConfig,
        decoder: DecoderConfig,
        vocabulary: vocabularies.DecoderVocabulary,
        langs: Sequence[str],
        *,
        frozen: bool = False,
        views: int = 1,
    ) -> None:
        super().__init__()
        self.views = views
        if views > 1:
            self.needs = ReportTask.needs | {"second"}
        self.encoder = Vit(encoder).requires_grad_(not frozen)
        self.decoder = ReportDecoder(decoder, vocabulary, encoder.width)
        self.vocabulary, self.langs, self.frozen = vocabulary, tuple(langs), frozen

    def look(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Image tokens for the decoder.

        Returns:
            (B, S, D) tokens, and (B, S) bool, False where a patch is padding and where a study has no
            second image. S is 1 + N, or twice as many with second images, first images first.

        Raises:
            UsageError: If there are second images, and the model looks at one.
        """
        second = batch.second
        if second is None:
            return self._encoded(batch.image, batch.valid)
        if self.views < 2:
            raise UsageError("the batch has second images", "the model was trained on single ones")
        memory, seen = self._encoded(
            torch.cat([batch.image, second.image]), torch.cat([batch.valid, second.valid])
        )
        count = len(batch.image)
        there = seen[count:] & second.there[:, None]
        return torch.cat([memory[:count], memory[count:]], 1), torch.cat([seen[:count], there], 1)

    def _encoded(self, image: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1 + N, D) tokens of single images, and which of them are no padding."""
        config = self.encoder.config
        patches = valid_patches(valid, config.patch_px)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            memory = self.encoder(normalise(image, config.channels), valid=patches)
        return memory, F.pad(patches, (1, 0), value=True)

    def forward(self, batch: Batch, chance: Chance) -> Loss:
        """Cross-entropy of each next token, mean over the tokens of all reports in the batch.

        A batch without any report costs nothing and moves nothing.
        """
        memory, seen = self.look(batch)
        rows, langs, tokens, targets = self._written(batch)  # (M,), (M,), (M, L), (M, L)
        logits = self.decoder(tokens, memory[rows], seen[rows])  # (M, L, V)
        each = F.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")  # (M, L)
        counted = targets != IGNORED
        parts = {}
        for number, lang in enumerate(self.langs):
            own = counted & (langs == number)[:, None]
            if own.any():
                parts[f"loss_{lang}"] = each[own].mean().detach()
        return Loss(each.sum() / counted.sum().clamp(min=1), parts)

    def _written(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All reports: their image, their language, their padded tokens and what follows each.

        What is padding is told by the lengths: R2Gen's end has the number of padding.
        """
        found = [
            (row, number, self.vocabulary.encode(text, lang, self.decoder.config.max_tokens))
            for number, lang in enumerate(self.langs)
            for row, text in enumerate(batch.reports[lang])
            if text.strip()
        ]
        if not found:  # nothing but padding to learn: every weight keeps a gradient, of zero
            found = [(0, -1, [self.vocabulary.start(self.langs[0]), IGNORED])]
        longest = max(len(sequence) for _, _, sequence in found)
        short = [(s, longest - len(s)) for _, _, s in found]
        device = batch.image.device
        return (
            torch.tensor([row for row, _, _ in found], device=device),
            torch.tensor([number for _, number, _ in found], device=device),
            torch.tensor([s[:-1] + [self.vocabulary.pad] * left for s, left in short], device=device),
            torch.tensor([s[1:] + [IGNORED] * left for s, left in short], device=device),
        )

    @torch.no_grad()
    def predict(self, batch: Batch, lang: str, search: SearchConfig | None = None) -> list[Prediction]:
        """Write a report in ``lang`` for every image or study; the model is in evaluation mode meanwhile."""
        was_training = self.training
        self.eval()
        memory, seen = self.look(batch)
        texts = self.decoder.write(memory, seen, lang, search or SearchConfig(), batch.image_id)
        self.train(was_training)
        return [
            Prediction(image_id=image, patient_hash=patient, text=text, reference=reference)
            for image, patient, text, reference in zip(
                batch.image_id, batch.patient_hash, texts, batch.reports[lang], strict=True
            )
        ]

    @torch.no_grad()
    def attend(
        self, batch: Batch, texts: Sequence[str], lang: str, config: AttentionConfig
    ) -> list[list[TermMap]]:
        """Where the decoder looks as it writes the words of texts that name findings.

        Args:
            batch: B images or studies.
            texts: Their finished texts in ``lang``, by any search.
            lang: Of the texts.
            config: Which layer, heads and how many terms.

        Returns:
            For each image a map a term. What the [CLS] token of an image gets is left out, and the
            rest is of sum one over the patches, of both images, that are not padding.
        """
        was_training = self.training
        self.eval()
        memory, seen = self.look(batch)
        patch = self.encoder.config.patch_px
        rows, cols = batch.image.shape[-2] // patch, batch.image.shape[-1] // patch
        views = memory.shape[1] // (1 + rows * cols)
        cells = seen.reshape(len(seen), views, -1)[..., 1:].flatten(1)  # (B, V * N)
        longest = self.decoder.config.max_tokens
        out: list[list[TermMap]] = []
        for number, text in enumerate(texts):
            places = self.vocabulary.places(text, lang, longest)
            tokens = self.vocabulary.encode(text, lang, longest)[: len(places)]  # each chooses the next
            if not tokens:
                out.append([])
                continue
            found = cross_attention(
                self.decoder,
                torch.tensor([tokens], device=memory.device),
                memory[number : number + 1],
                seen[number : number + 1],
                layer=config.layer,
                heads=config.heads,
            )
            patches = found[0].reshape(len(tokens), views, -1)[..., 1:].flatten(1)  # (L, V * N)
            patches = patches.clamp(min=torch.finfo(torch.float32).tiny) * cells[number]
            shares = (patches / patches.sum(-1, keepdim=True)).reshape(-1, views * rows, cols)
            valid = cells[number].reshape(views * rows, cols).cpu().numpy()
            out.append(map_terms(text, lang, places, shares.cpu().numpy(), valid, config.most, views))
        self.train(was_training)
        return out

    @staticmethod
    def score(
        predictions: Iterable[Prediction], lang: str, *, resamples: int = 1000, seed: int = 0
    ) -> dict[str, metrics.Value]:
        """Score those predictions that have a reference; see `metrics.score_texts`."""
        scored = [p for p in predictions if isinstance(p.reference, str) and p.reference.strip()]
        return metrics.score_texts(
            [p.text for p in scored],
            [str(p.reference) for p in scored],
            lang,
            [p.patient_hash for p in scored],
            resamples=resamples,
            seed=seed,
        )

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Score on the validation split, greedily.

        Returns:
            Every metric of every language, "loss", the mean over batches, and "score", the mean
            over the languages of (BLEU-4 + ROUGE-L) / 2. BLEU-4 alone is practically 0 as long as
            no four units in a row are right, and would choose the best state by noise.
        """
        losses = []
        written: dict[str, list[Prediction]] = {lang: [] for lang in self.langs}
        for batch in batches:
            losses.append(loss_of(self, batch))
            for lang in self.langs:
                if any(text.strip() for text in batch.reports[lang]):
                    written[lang] += self.predict(batch, lang, GREEDY)
        numbers: dict[str, float] = {}
        scores = []
        for lang in self.langs:
            found = self.score(written[lang], lang, resamples=0)
            numbers |= {f"{name}_{lang}": value.value for name, value in found.items() if not value.reason}
            if written[lang]:
                scores.append((found["bleu_4"].value + found["rouge_l"].value) / 2)
        if scores:
            numbers["score"] = sum(scores) / len(scores)
            numbers["loss"] = sum(losses) / len(losses)
        return numbers

    def fitted(self, batches: Iterable[Batch]) -> dict[str, Any]:
        """Facts fitted on the validation split: none."""
        return {}

    def describe(self) -> dict[str, Any]:
        """What `rebuild` needs, as plain values."""
        return {
            "encoder": dataclasses.asdict(self.encoder.config),
            "decoder": dataclasses.asdict(self.decoder.config),
            "langs": list(self.langs),
            "views": self.views,
        }

    @classmethod
    def rebuild(cls, model: Mapping[str, Any], folder: Path) -> ReportTask:
        """Build the model that `describe` described, with random weights."""
        return cls(
            build(VitConfig, model["encoder"], "encoder."),
            build(DecoderConfig, model["decoder"], "decoder."),
            vocabularies.load(folder / "tokenizer.json"),
            model["langs"],
            views=model.get("views", 1),
        )
