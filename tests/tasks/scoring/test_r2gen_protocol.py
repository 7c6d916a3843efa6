"""R2Gen's references, by hand; its cleaner is tested with its tokenizer."""

from __future__ import annotations

from xraytk.tasks.scoring import r2gen


def test_references_are_cut_and_rare_words_unknown() -> None:
    config = r2gen.R2GenConfig(max_words=6, min_count=2)
    training = ["The heart is big. Clear.", "The heart is small. Clear.", "Lungs clear."]
    known = r2gen.vocabulary(training, config)
    assert known == {"the", "heart", "is", "clear", "."}
    assert r2gen.reference("The heart is huge. Clear.", config, known) == ["the", "heart", "is", "<unk>", "."]
    assert r2gen.reference("The heart is huge. Clear.", config, None) == ["the", "heart", "is", "huge", "."]
