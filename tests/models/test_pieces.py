"""A transformers tokenizer as a decoder's vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

from xraytk.errors import DataError
from xraytk.models import vocabularies
from xraytk.models.pieces import PieceVocabulary

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "pneumo", "##thorax", ".", "心", "影", "。"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A WordPiece tokenizer in a folder, as transformers saves it, that pads and cuts by itself."""
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    made = BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"))
    backend: Tokenizer = made.backend_tokenizer
    backend.enable_padding(length=20)
    backend.enable_truncation(2)
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(
        tmp_path / "tokenizer"
    )
    return tmp_path / "tokenizer"


def test_reports_go_to_pieces_and_back_between_our_own_start_and_end(folder: Path, tmp_path: Path) -> None:
    made = vocabularies.build(str(folder), {}, ["en", "zh"], 3)
    made.save(tmp_path / "tokenizer.json")
    for words in (made, vocabularies.load(tmp_path / "tokenizer.json")):
        assert isinstance(words, PieceVocabulary)
        assert len(words) == len(WORDS) + 4
        assert len({words.pad, words.eos, words.start("en"), words.start("zh")}) == 4
        numbers = words.encode("No pneumothorax.", "en", 9)
        assert numbers == [words.start("en"), 5, 6, 7, 8, words.eos]
        assert words.decode(numbers[1:], "en").replace(" .", ".") == "no pneumothorax."
        assert words.decode(words.encode("心影。", "zh", 9)[1:], "zh") == "心影。"
        assert words.encode("No pneumothorax.", "en", 3) == [words.start("en"), 5, 6, 7]
        assert words.room(3) == 4


@pytest.mark.parametrize(
    ("name", "said"), [("wordpeice", "nearest: wordpiece"), ("./site/tok", "no such folder")]
)
def test_what_is_no_name_of_a_model_is_not_looked_for_elsewhere(name: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        PieceVocabulary.of(name)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot load the tokenizer"):
        PieceVocabulary.of(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text('{"format": 9, "kind": "pieces"}')
    with pytest.raises(DataError, match="not a vocabulary"):
        vocabularies.load(tmp_path / "tokenizer.json")
