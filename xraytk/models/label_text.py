"""Names of labels as vectors: by a frozen text encoder, or by their letters where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from logging import ERROR
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xraytk.errors import DataError

LETTERS = 512
"""Length of a vector of letters."""
_CLIP = ("clip", "clip_text_model")
_MOST_TOKENS = 77


def embed_labels(names: Sequence[str], model: str = "") -> Tensor:
    """Vectors of label names, of length one, on the CPU.

    Args:
        names: The C labels, in any language that the model reads.
        model: Name or folder of a transformers model with its tokenizer, only safetensors. Of CLIP
            the projected embedding is taken, of any other the mean of its last tokens, as
            sentence-transformers takes it. "" for `embed_letters`, which needs no model.

    Returns:
        (C, T) float32.

    Raises:
        DataError: If the model cannot be loaded.
    """
    if not model:
        return embed_letters(names)
    tokenizer, encoder = _load(model)
    most = min(_MOST_TOKENS, tokenizer.model_max_length)
    words = tokenizer(list(names), padding=True, truncation=True, max_length=most, return_tensors="pt")
    real = {"input_ids": words["input_ids"], "attention_mask": words["attention_mask"]}
    with torch.no_grad():
        out = encoder(**real)
    if hasattr(out, "text_embeds"):
        return F.normalize(out.text_embeds.float(), dim=1)
    weight = words["attention_mask"][..., None].float()
    return F.normalize((out.last_hidden_state.float() * weight).sum(1) / weight.sum(1), dim=1)


def embed_letters(names: Sequence[str]) -> Tensor:
    """Vectors of names by the letters they are made of; names that share parts lie near each other.

    Groups of two to four letters within words, hashed: the same on every machine, without a
    vocabulary, for English and Chinese alike. It knows no meaning: "heart" is far from "cardiac".

    Args:
        names: The C labels.

    Returns:
        (C, `LETTERS`) float32.

    Source:
        Feature hashing (Weinberger et al. 2009), by scikit-learn.
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=LETTERS, norm="l2")
    return torch.from_numpy(hashing.transform(names).toarray()).float()


def _load(name: str) -> tuple[Any, Any]:
    """Tokenizer and frozen text encoder by name or folder; nothing is unpickled."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer, CLIPTextModelWithProjection, logging

    before = logging.get_verbosity()
    logging.set_verbosity(ERROR)  # what a text encoder leaves of a whole CLIP is no warning
    try:
        config = AutoConfig.from_pretrained(name)
        tokenizer = AutoTokenizer.from_pretrained(name)
        kind: Any = CLIPTextModelWithProjection if config.model_type in _CLIP else AutoModel
        if config.model_type == "clip":
            config.text_config.projection_dim = config.projection_dim
            config = config.text_config
        encoder = kind.from_pretrained(name, config=config, use_safetensors=True, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"cannot load the text encoder {name} for the names of the labels",
            str(error).splitlines()[0],
            "Give the folder of a transformers model (CLIP, or one of sentences) with its tokenizer and "
            'model.safetensors, or head.text="" for vectors of letters, which need no model.',
        ) from None
    finally:
        logging.set_verbosity(before)
    return tokenizer, encoder.eval()
