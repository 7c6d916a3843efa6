from __future__ import annotations

import json
from pathlib import Path

import pytest

from xraytk.errors import DataError
from xraytk.tasks.findings import FINDINGS
from xraytk.tasks.language.prompts import METHODS, prompts_of, read_prompts

LABELS = ("Pleural Effusion", "Nodule", "No Finding", "Kerley lines")


def test_the_templates_are_those_of_the_papers() -> None:
    tree = read_prompts(None, LABELS)
    maco = prompts_of("Pleural Effusion", "en", "maco", tree)
    assert maco is not None
    assert maco.positive == ("There is pleural effusion. ",)
    assert maco.negative == (
        "the lung is clear.",
        "There is no pleural effusion. ",
        "no pleural effusion. ",
        "no evidence of pleural effusion. ",
    )
    chexzero = prompts_of("Pleural Effusion", "en", "chexzero", tree)
    assert chexzero is not None
    assert (chexzero.positive, chexzero.negative) == (("pleural effusion",), ("no pleural effusion",))
    chinese = prompts_of("Pleural Effusion", "zh", "maco", tree)
    assert chinese is not None
    assert "未见胸腔积液。" in chinese.negative


def test_all_findings_have_prompts_in_both_languages() -> None:
    tree = read_prompts(None, FINDINGS)
    assert [
        f for f in FINDINGS for lang in ("en", "zh") for m in METHODS if not prompts_of(f, lang, m, tree)
    ] == []


def test_a_label_without_a_chinese_name_has_no_chinese_prompt() -> None:
    tree = read_prompts(None, LABELS)
    assert prompts_of("Kerley lines", "zh", "maco", tree) is None
    english = prompts_of("Kerley lines", "en", "chexzero", tree)
    assert english is not None
    assert english.positive == ("kerley lines",)


@pytest.mark.parametrize("ending", ["toml", "json"])
def test_words_of_ones_own_go_over_ours(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"mine.{ending}"
    if ending == "toml":
        path.write_text(
            '[en.labels.Nodule]\npositive = ["A coin lesion."]\n[zh.names]\n"Kerley lines" = "克氏线"\n'
            '[en.chexzero]\nnegative = ["{name} is absent"]\n',
            encoding="utf-8",
        )
    else:
        tree = {
            "en": {
                "labels": {"Nodule": {"positive": ["A coin lesion."]}},
                "chexzero": {"negative": ["{name} is absent"]},
            },
            "zh": {"names": {"Kerley lines": "克氏线"}},
        }
        path.write_text(json.dumps(tree), encoding="utf-8")
    tree = read_prompts(path, LABELS)
    own = prompts_of("Nodule", "en", "chexzero", tree)
    assert own is not None
    assert own.positive == ("A coin lesion.",)
    assert own.negative == ("a pulmonary nodule is absent",)
    named = prompts_of("Kerley lines", "zh", "chexzero", tree)
    assert named is not None
    assert named.negative == ("未见克氏线",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[en.labels.Scoliosis]\npositive = ["bent"]\n', r"1 unknown label in en.labels: Scoliosis"),
        ("[fr.names]\nNodule = 'nodule'\n", r"1 unknown language: fr"),
        ("[en.mine]\npositive = ['x']\n", r"unknown part of en: mine"),
        ("[en.maco]\npositive = ['There is.']\n", r"lacks \{name\}"),
        ("[en.labels.Nodule]\npositive = 'x'\n", r"is no list of texts"),
        ("[en.labels.Nodule]\nperhaps = ['x']\n", r"unknown entry"),
        ("[en]\nnames = 3\n", r"is no table"),
    ],
)
def test_a_file_with_something_else_in_it_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_prompts(path, LABELS)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_prompts(tmp_path / "none.toml", LABELS)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        read_prompts(tmp_path / "broken.json", LABELS)
