"""The quirks of R2Gen's cleaner, each by hand."""

from __future__ import annotations

import pytest

from xraytk.tasks.scoring import r2gen


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
        ('it\'s "clear"; (really)', "its clear really ."),
    ],
)
def test_quirks_of_the_cleaner(report: str, cleaned: str) -> None:
    assert r2gen.clean(report, "iu") == cleaned


def test_the_mimic_cleaner_joins_lines_and_halves_blanks() -> None:
    assert r2gen.clean("FINDINGS\n  are ____ seen.\nClear.", "mimic") == "findings are  seen . clear ."
    assert r2gen.clean("A\nB.", "iu") == "a\nb ."


def test_references_are_cut_and_rare_words_unknown() -> None:
    config = r2gen.R2GenConfig(max_words=6, min_count=2)
    training = ["The heart is big. Clear.", "The heart is small. Clear.", "Lungs clear."]
    known = r2gen.vocabulary(training, config)
    assert known == {"the", "heart", "is", "clear", "."}
    assert r2gen.reference("The heart is huge. Clear.", config, known) == ["the", "heart", "is", "<unk>", "."]
    assert r2gen.reference("The heart is huge. Clear.", config, None) == ["the", "heart", "is", "huge", "."]
