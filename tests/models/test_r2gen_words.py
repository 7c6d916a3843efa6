"""R2Gen's tokenizer: each quirk by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from xraytk.errors import DataError, UsageError
from xraytk.models import vocabularies
from xraytk.models.r2gen_words import R2GenVocabulary, clean
from xraytk.models.tokens import Vocabulary

TRAINING = ["The heart is 2.1 cm. Clear.", "The heart is small. Clear.", "the lungs clear."]


@pytest.mark.parametrize(
    ("report", "cleaned"),
    [
        ("The heart is normal. Lungs are clear.", "the heart is normal . lungs are clear ."),
        ("", " ."),
        ("measures 11. Stable.", "measures 1stable ."),  # "1. " is taken for the number of a list
        ("a 2.1 cm node.", "a 21 cm node ."),
        ("and/or right/left", "andor rightleft ."),
        ("x-ray of a 5-mm node", "x-ray of a 5-mm node ."),  # hyphens stay
        ("a < b = c > d @ e", "a  b  c  d  e ."),  # the range from ":" to "["
        ("1. No effusion. 2. No edema. 3. Clear.", "no effusion . no edema . clear ."),
        ("Clear.. Normal...", "clear . normal ."),
        ("Clear. . Normal.", "clear .  . normal ."),  # its filter of empty sentences filters nothing
        ('it\'s "clear"; (really)', "its clear really ."),
    ],
)
def test_quirks_of_the_cleaner(report: str, cleaned: str) -> None:
    assert clean(report, "iu") == cleaned


def test_the_mimic_cleaner_joins_lines_and_halves_blanks() -> None:
    assert clean("FINDINGS\n  are ____ seen.\nClear.", "mimic") == "findings are  seen . clear ."
    assert clean("A\nB.", "iu") == "a\nb ."


def test_words_below_the_threshold_are_unknown_and_numbers_follow_the_alphabet_from_1() -> None:
    made = R2GenVocabulary.build(TRAINING, 2, "iu")
    assert made.tokens == (".", "<unk>", "clear", "heart", "is", "the")
    assert len(made) == 7  # and 0
    assert (made.pad, made.eos, made.start("en")) == (0, 0, 0)
    assert made.encode("The lungs is clear", "en", 60) == [0, 6, 2, 5, 3, 1, 0]
    assert made.decode([6, 2, 5, 3, 1, 0, 4], "en") == "the <unk> is clear ."
    assert "21" in R2GenVocabulary.build(TRAINING, 1, "iu").tokens


def test_a_long_report_loses_its_end() -> None:
    made = R2GenVocabulary.build(TRAINING, 2, "iu")
    assert made.encode("The heart is clear", "en", 7) == [0, 6, 4, 5, 3, 1, 0]
    assert made.encode("The heart is clear", "en", 6) == [0, 6, 4, 5, 3, 1]  # max_seq_length counts the start
    assert made.encode("The heart is clear", "en", 4) == [0, 6, 4, 5]


def test_it_is_the_same_after_writing_and_reading(tmp_path: Path) -> None:
    made = vocabularies.build("r2gen-mimic", {"en": TRAINING, "zh": []}, ["en"], 1)
    made.save(tmp_path / "tokenizer.json")
    again = vocabularies.load(tmp_path / "tokenizer.json")
    assert isinstance(again, R2GenVocabulary)
    assert (again.tokens, again.cleaner) == (made.tokens, "mimic")
    native = Vocabulary.build({"en": TRAINING})
    native.save(tmp_path / "tokenizer.json")
    assert isinstance(vocabularies.load(tmp_path / "tokenizer.json"), Vocabulary)


def test_what_it_cannot_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="for English"):
        vocabularies.build("r2gen", {"en": TRAINING, "zh": ["心影不大。"]}, ["en", "zh"], 1)
    with pytest.raises(DataError, match="no tokenizer"):
        vocabularies.build(str(tmp_path / "nowhere"), {"en": TRAINING}, ["en"], 1)
    (tmp_path / "tokenizer.json").write_text('{"format": 1, "kind": "r2gen", "tokens": [], "cleaner": "iu"}')
    with pytest.raises(DataError, match="R2Gen's tokenizer"):
        vocabularies.load(tmp_path / "tokenizer.json")
