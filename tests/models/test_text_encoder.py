from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch.nn import functional as F

from xraytk.models.text_encoder import TextConfig, TextEncoder
from xraytk.models.tokens import Vocabulary

TEXTS = [
    "There is a large left pneumothorax. The heart size is normal.",
    "The lungs are clear. No pleural effusion or pneumothorax.",
    "Right lower zone consolidation, likely pneumonia. The cardiac silhouette is enlarged.",
]


def words(langs: Sequence[str], least: int) -> Vocabulary:
    return Vocabulary.build({"en": TEXTS}, least)


@pytest.mark.parametrize(("width", "depth"), [(32, 1), (128, 3)])
def test_the_first_token_of_a_new_encoder_tells_texts_apart_where_it_stands_for_them(
    width: int, depth: int
) -> None:
    """BERT's own first weights leave it as it is, whatever the text."""
    torch.manual_seed(0)
    config = TextConfig(width=width, depth=depth, heads=4, min_count=1, dropout=0.0)
    encoder = TextEncoder(config, words, first_stands=True).eval()
    codes = encoder.encode(TEXTS, ["en"] * len(TEXTS))
    with torch.no_grad():
        vectors = F.normalize(encoder(codes.tokens, codes.real)[:, 0], dim=-1)
    apart = 1 - (vectors @ vectors.T)[~torch.eye(len(TEXTS), dtype=torch.bool)]
    assert 1e-3 < apart.mean() < 0.5
