from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
)

from xraytk.errors import DataError
from xraytk.models.label_text import LETTERS, embed_labels, embed_letters

WORDS = ("[PAD]", "[UNK]", "pleural", "effusion", "thickening", "nodule", "[END]")
NAMES = ("nodule", "pleural effusion", "pleural thickening")
SPECIAL = {"bos_token_id": 5, "eos_token_id": 6}
SIZE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def text_model(folder: Path, kind: str) -> Path:
    """A tiny text encoder with its tokenizer, as transformers saves them."""
    torch.manual_seed(0)
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_max_length=12
    ).save_pretrained(folder)
    if kind == "clip":
        clip = CLIPTextConfig(
            vocab_size=len(WORDS), projection_dim=8, max_position_embeddings=12, **SPECIAL, **SIZE
        )
        CLIPTextModelWithProjection(clip).save_pretrained(folder)
    elif kind == "clip with its image encoder":
        both = CLIPConfig(
            text_config={"vocab_size": len(WORDS), "max_position_embeddings": 12, **SPECIAL, **SIZE},
            vision_config={"image_size": 8, "patch_size": 4, **SIZE},
            projection_dim=8,
        )
        CLIPModel(both).save_pretrained(folder)
    else:
        BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=12, **SIZE)).save_pretrained(
            folder
        )
    return folder


def test_letters_put_names_that_share_words_near_each_other() -> None:
    nodule, effusion, thickening = embed_letters(NAMES)
    assert (nodule.shape, nodule.dtype) == ((LETTERS,), torch.float32)
    assert float(effusion @ thickening) > 0.3 > float(nodule @ effusion)
    chinese = embed_letters(["胸腔积液", "胸膜增厚", "肺结节"])
    torch.testing.assert_close(chinese.norm(dim=1), torch.ones(3))
    assert float(chinese[0] @ chinese[1]) > float(chinese[0] @ chinese[2])


def test_letters_are_the_same_for_ever() -> None:
    found = embed_letters(["Nodule"])[0]
    assert found.count_nonzero() == 18
    assert found.nonzero()[:4, 0].tolist() == [54, 62, 64, 110]


@pytest.mark.parametrize(("kind", "width"), [("clip", 8), ("clip with its image encoder", 8), ("bert", 16)])
def test_a_text_encoder_from_a_folder_gives_vectors_of_length_one(
    kind: str, width: int, tmp_path: Path
) -> None:
    folder = text_model(tmp_path, kind)
    found = embed_labels(NAMES, str(folder))
    assert found.shape == (3, width)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    alone = embed_labels(NAMES[:1], str(folder))  # padding of shorter names changes nothing
    torch.testing.assert_close(alone[0], found[0], rtol=1e-4, atol=1e-5)


def test_a_text_encoder_that_is_not_there_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(DataError, match=r'(?s)cannot load the text encoder.*head\.text=""'):
        embed_labels(NAMES, str(tmp_path))
