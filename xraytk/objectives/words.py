"""Reports in a batch: which one is read, in what order, which words are hidden, and their loss.

Chance is drawn here and nowhere else; all of it comes from `Chance`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xraytk.chance import Chance
from xraytk.models.text_encoder import NO_WORD, Codec, Codes
from xraytk.records import Batch

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？；])\s*|\n+")


def choose_reports(batch: Batch, langs: Sequence[str], chance: Chance) -> tuple[list[str], list[str]]:
    """One report for each image.

    Args:
        batch: With ``reports``.
        langs: Languages that count; where an image has a report in several, one is drawn.
        chance: Drawn from once for every image, whether it has reports or not.

    Returns:
        B texts, "" where there is none, and B languages.
    """
    texts, chosen = [], []
    for row, share in enumerate(chance.rand(len(batch.image_id)).tolist()):
        found = [lang for lang in langs if batch.reports[lang][row].strip()]
        lang = found[int(share * len(found))] if found else langs[0]
        chosen.append(lang)
        texts.append(batch.reports[lang][row] if found else "")
    return texts, chosen


def sentences(text: str) -> list[str]:
    """Cut a report after every sentence; a point inside a number ends none."""
    return [part for piece in _SENTENCE_END.split(text) if (part := piece.strip())]


def shuffled(texts: Sequence[str], langs: Sequence[str], chance: Chance) -> list[str]:
    """The sentences of each text in a random order, of which a random number (one to all) is kept.

    Source:
        MaCo's augmentation of reports.
    """
    every = [sentences(text) for text in texts]
    noise = chance.rand(len(texts), 1 + max(map(len, every), default=0))
    made = []
    for text, lang, parts, row in zip(texts, langs, every, noise, strict=True):
        order = row[1 : 1 + len(parts)].argsort().tolist()
        kept = 1 + int(float(row[0]) * len(parts))
        made.append(("" if lang == "zh" else " ").join(parts[i] for i in order[:kept]) if parts else text)
    return made


def hide_words(words: Tensor, ratio: float, chance: Chance) -> Tensor:
    """Choose whole words to hide.

    A text of n words hides n * ratio of them, rounded to the nearest (a half up), and at least
    one if it has any.

    Args:
        words: (B, L) int64 on the CPU; see `Codes`.
        ratio: In [0, 1].
        chance: Of the batch.

    Returns:
        (B, L) bool, True on every token of a hidden word.
    """
    noise = chance.rand(len(words), int(words.max()) + 1 if words.numel() else 0)  # (B, W)
    if not noise.shape[1]:
        return torch.zeros_like(words, dtype=torch.bool)
    there = torch.zeros_like(noise, dtype=torch.bool)
    rows, places = (words != NO_WORD).nonzero(as_tuple=True)
    there[rows, words[rows, places]] = True  # a text may lack a number: pieces that were cut
    count = there.sum(1)
    wanted = (count * ratio + 0.5).floor().clamp_min(1)
    rank = noise.masked_fill(~there, 2.0).argsort(1).argsort(1)
    hidden = there & (rank < wanted[:, None])
    return hidden.gather(1, words.clamp_min(0)) & (words != NO_WORD)


def cover(codes: Codes, hidden: Tensor, codec: Codec, chance: Chance, *, mixed: bool) -> Tensor:
    """What is shown in the place of hidden words.

    Args:
        codes: Of the texts, on the CPU.
        hidden: (B, L) bool.
        codec: Knows the mask and the words.
        chance: Of the batch.
        mixed: As BERT has it: of the hidden tokens 80 % are masked, 10 % replaced by a random
            one, 10 % left as they are; else all are masked.

    Returns:
        (B, L) int64.
    """
    shown = codes.tokens.masked_fill(hidden, codec.mask)
    if not mixed:
        return shown
    fate = chance.rand(*hidden.shape)
    low = min(codec.first_word, codec.size - 1)
    other = low + (chance.rand(*hidden.shape).double() * (codec.size - low)).long()
    shown = torch.where(hidden & (fate >= 0.8), other, shown)
    return torch.where(hidden & (fate >= 0.9), codes.tokens, shown)


class WordHead(nn.Module):
    """Says which word is hidden: BERT's transform, and a projection that is not tied.

    Args:
        width: Of the tokens.
        size: Numbers in use.
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.tell = nn.Linear(width, size)

    def forward(self, tokens: Tensor, truth: Tensor, where: Tensor) -> Tensor:
        """Cross-entropy: the mean over images of each one's mean over its chosen tokens.

        An image without any costs nothing, and counts as one. So the loss of a batch is the mean
        of the losses of its parts, however it is cut into micro-batches and over processes; a
        mean over all its tokens would not be.

        Args:
            tokens: (B, L, D).
            truth: (B, L) int64.
            where: (B, L) bool, the tokens that count; there may be none.
        """
        logits = self.tell(self.transform(tokens[where])).float()  # (M, V)
        each = F.cross_entropy(logits, truth[where], reduction="none")  # (M,)
        weight = 1 / (len(where) * where.sum(1).clamp_min(1))  # (B,)
        return (each * weight[where.nonzero()[:, 0]]).sum()
