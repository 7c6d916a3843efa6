"""WordPiece vocabularies learned from reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from xraytk.errors import DataError, UsageError
from xraytk.models import vocabularies
from xraytk.models.language import DecoderConfig
from xraytk.models.word_pieces import WordPieceVocabulary

EN = [
    "AP view. The x-ray shows a 2.1 cm nodule (right lung); no pneumothorax.",
    "No effusion? The AP view is clear.",
]
ZH = ["右肺见一枚约2.1 cm结节，未见气胸。", "心影不大，双侧膈肌光滑。"]


def learned(size: int = 200) -> WordPieceVocabulary:
    made = vocabularies.build("wordpiece", {"en": EN, "zh": ZH}, ["en", "zh"], 1, size)
    assert isinstance(made, WordPieceVocabulary)
    return made


def test_both_languages_come_back_as_they_were_written_before_and_after_saving(tmp_path: Path) -> None:
    for size in (1, 200):  # characters alone, and whole words
        made = learned(size)
        made.save(tmp_path / "tokenizer.json")
        again = vocabularies.load(tmp_path / "tokenizer.json")
        assert isinstance(again, WordPieceVocabulary)
        assert len(again) == len(made)
        for lang, texts in (("en", EN), ("zh", ZH)):
            for text in texts:
                numbers = made.encode(text, lang, 99)
                assert numbers == again.encode(text, lang, 99)
                assert (numbers[0], numbers[-1]) == (made.start(lang), made.eos)
                assert made.decode(numbers[1:], lang) == again.decode(numbers[1:], lang) == text


def test_the_size_is_that_asked_for_and_more_pieces_make_shorter_reports() -> None:
    assert len(learned(120)) == 120 + 4  # padding, end, two starts
    few, many = (len(learned(size).encode(EN[0], "en", 99)) for size in (120, 200))
    assert few > many == 18 + 2  # 18 words and signs, start, end


def test_words_never_seen_are_written_in_pieces_and_signs_never_seen_are_left_out() -> None:
    made = learned()
    assert made.decode(made.encode("No hepatic view.", "en", 99)[1:], "en") == "No hepatic view."
    assert made.decode(made.encode("clear \u00df view", "en", 99)[1:], "en") == "Clear view"
    assert made.decode(made.encode("心肝肺", "zh", 99)[1:], "zh") == "心肺"


def test_learning_twice_gives_the_same_pieces() -> None:
    assert learned().tokenizer.to_str() == learned().tokenizer.to_str()


def test_a_long_report_is_cut_and_not_taught_to_stop() -> None:
    made = learned()
    assert len(made.encode(EN[0], "en", 3)) == 4
    assert made.eos not in made.encode(EN[0], "en", 3)


def test_more_than_a_thousand_characters_are_all_known() -> None:
    signs = "".join(chr(0x4E00 + i) for i in range(1500))
    made = vocabularies.build("wordpiece", {"zh": [signs]}, ["zh"], 1, 100)
    assert made.decode(made.encode(signs, "zh", 2000)[1:], "zh") == signs


def test_nothing_to_learn_from_and_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no report"):
        WordPieceVocabulary.learn({"en": [" "]}, 100, 1)
    (tmp_path / "tokenizer.json").write_text('{"format": 1, "kind": "wordpiece", "tokenizer": {}}')
    with pytest.raises(DataError, match="not a WordPiece vocabulary"):
        vocabularies.load(tmp_path / "tokenizer.json")
    with pytest.raises(UsageError, match=r"decoder\.pieces"):
        DecoderConfig(pieces=0)
