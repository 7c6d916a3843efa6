from __future__ import annotations

import importlib.util

import pytest

from xraytk.tasks.scoring import words
from xraytk.tasks.scoring.r2gen import R2GenConfig

CONFIG = R2GenConfig()


def test_chinese_is_split_by_character_and_by_word() -> None:
    by_character, by_word = words.splittings("zh", "full", CONFIG, None)
    assert by_character.split(["左肺。"], ["左肺."]) == ([["左", "肺", "。"]], [["左", "肺", "。"]])
    if importlib.util.find_spec("jieba") is None:
        pytest.skip("needs jieba, the extra zh")
    (hyp,), _ = by_word.split(["左侧胸腔积液，未见气胸 CT 检查。"], [""])
    assert "".join(hyp) == "左侧胸腔积液，未见气胸ct检查。"
    assert "气胸" in hyp or "积液" in hyp
    assert not any(word.isspace() for word in hyp)
    assert "jieba 0." in by_word.said


def test_without_jieba_words_are_absent_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jieba" else there(name))
    _, by_word = words.splittings("zh", "full", CONFIG, None)
    assert "pip install 'xraytk[zh]'" in by_word.absent


def test_r2gen_splits_what_its_cleaner_leaves() -> None:
    (way,) = words.splittings("en", "r2gen", R2GenConfig(max_words=4), None)
    assert way.split(["Big/small heart. Clear."], ["Big/small heart. Clear."]) == (
        [["bigsmall", "heart", ".", "clear", "."]],
        [["bigsmall", "heart", "."]],
    )
