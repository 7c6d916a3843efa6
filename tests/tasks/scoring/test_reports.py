from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xraytk.errors import DataError, UsageError
from xraytk.tasks.metrics import score_texts
from xraytk.tasks.scoring import clinical, reports
from xraytk.tasks.scoring.r2gen import R2GenConfig

Jsonl = Callable[..., Path]


def rows(texts: list[str], **more: list[str]) -> list[dict[str, str]]:
    return [
        {"image_id": f"i{n}", "text": text, **{k: v[n] for k, v in more.items()}}
        for n, text in enumerate(texts)
    ]


def options(**more: object) -> reports.ReportOptions:
    return reports.ReportOptions(**{"resamples": 20, "meteor": False, **more})  # type: ignore[arg-type]


def test_the_scores_are_those_of_the_metrics_with_a_protocol_and_a_fingerprint(
    jsonl: Jsonl, texts: dict[str, list[str]]
) -> None:
    hyps = [*texts["en"][1:], texts["en"][0]]
    paths = jsonl("p.jsonl", rows(hyps)), jsonl("r.jsonl", rows(texts["en"], patient_id=["a", "a", "b", "c"]))
    found = reports.score(reports.read_pairs(*paths, options()), options())
    wanted = score_texts(hyps, texts["en"], "en", ["a", "a", "b", "c"], resamples=20)
    assert {m: v for m, v in found.tables["words"]["word"].items() if m != "meteor"} == wanted
    assert found.protocol["patients"] == 3
    other = reports.score(reports.read_pairs(*paths, options(seed=1)), options(seed=1))
    assert len({found.protocol["fingerprint"], other.protocol["fingerprint"]}) == 2


def test_what_is_absent_has_a_reason_in_its_place(jsonl: Jsonl, texts: dict[str, list[str]]) -> None:
    path = jsonl("r.jsonl", rows(texts["zh"]))
    found = reports.score(
        reports.read_pairs(path, path, options(lang="zh")), options(lang="zh", extra=("radgraph",))
    )
    assert "Chinese" in found.tables["words"]["character"]["meteor"].reason
    assert np.isnan(found.tables["words"]["character"]["meteor"].value)
    assert "English" in found.absent["radgraph"]


def test_blank_references_are_left_out_and_blank_predictions_count(
    jsonl: Jsonl, texts: dict[str, list[str]]
) -> None:
    p = jsonl("p.jsonl", rows(["", *texts["en"][1:]]))
    r = jsonl("r.jsonl", rows([*texts["en"][:3], " "]))
    pairs = reports.read_pairs(p, r, options())
    assert pairs.ids == ("i0", "i1", "i2")
    said = " ".join(pairs.notes)
    assert "1 images without a reference report are left out, first: i3" in said
    assert "1 predictions are empty" in said
    found = reports.score(pairs, options())
    assert found.tables["words"]["word"]["rouge_l"].value == pytest.approx(2 / 3)
    assert found.protocol["empty_hypotheses"] == 1
    with pytest.raises(DataError, match="every reference of e"):
        reports.read_pairs(p, jsonl("e.jsonl", rows([""] * 4)), options())


def test_reports_in_another_language_are_refused_or_noted(jsonl: Jsonl, texts: dict[str, list[str]]) -> None:
    en, zh = jsonl("en.jsonl", rows(texts["en"])), jsonl("zh.jsonl", rows(texts["zh"]))
    with pytest.raises(DataError, match=r"(?s)4 of 4 texts of zh.jsonl are not in language en.*--lang zh"):
        reports.read_pairs(en, zh, options())
    one = jsonl("one.jsonl", rows([texts["zh"][0], *texts["en"][1:]]))
    pairs = reports.read_pairs(one, en, options())
    assert any("1 texts of one.jsonl are not in language en" in note for note in pairs.notes)


def test_a_language_that_nothing_scores_is_refused(jsonl: Jsonl) -> None:
    path = jsonl("de.jsonl", rows(["Das Herz ist nicht vergrößert und die Lunge ist frei."] * 3))
    with pytest.raises(DataError, match=r"(?s)3 of 3 texts of de.jsonl.*can be scored in: en, zh"):
        reports.read_pairs(path, path, options())


def test_a_file_that_holds_both_is_its_own_truth(jsonl: Jsonl, texts: dict[str, list[str]]) -> None:
    other = jsonl("p.jsonl", rows(texts["en"][::-1]))
    both = jsonl("both.jsonl", rows(["No effusion."] * 4, reference=texts["en"]))
    assert reports.read_pairs(both, both, options()).references == tuple(texts["en"])
    assert reports.read_pairs(other, both, options()).references == tuple(texts["en"])
    assert reports.read_pairs(both, other, options()).hypotheses == ("No effusion.",) * 4


def test_a_file_without_texts_is_refused(jsonl: Jsonl) -> None:
    path = jsonl("p.jsonl", [{"image_id": "a", "score": 1}])
    with pytest.raises(DataError, match="lacks a column text"):
        reports.read_pairs(path, path, options())


def test_protocol_r2gen_cuts_references_and_is_english(jsonl: Jsonl, texts: dict[str, list[str]]) -> None:
    path = jsonl("r.jsonl", rows(texts["en"]))
    config = options(protocol="r2gen", r2gen=R2GenConfig(max_words=5, min_count=1))
    found = reports.score(reports.read_pairs(path, path, config), config)
    assert found.tables["words"]["word"]["bleu_1"].value < 1  # the whole text against its first words
    assert found.protocol["unknown_words"] == "kept: no training reports given"
    assert found.protocol["references"] == "one an image, cleaned, first 4 words"
    assert config.policy == "negative"
    known = options(protocol="r2gen", training=path, r2gen=R2GenConfig(min_count=2))
    assert (
        reports.score(reports.read_pairs(path, path, known), known).protocol["unknown_words"] == "<unk>, of 5"
    )
    with pytest.raises(UsageError, match="English"):
        reports.count(reports.read_pairs(path, path, options()), options(lang="zh", protocol="r2gen"))


def test_subgroups_are_scored(jsonl: Jsonl, texts: dict[str, list[str]]) -> None:
    many = texts["en"] * 10
    said = [t if n % 2 else "No acute disease." for n, t in enumerate(many)]
    path = jsonl("r.jsonl", rows(many, sex=["F", "M"] * 20))
    pairs = reports.read_pairs(jsonl("p.jsonl", rows(said)), path, options())
    (groups,) = reports.score(pairs, options()).groups["words"]
    assert groups.scores["M"]["word"]["rouge_l"].value == pytest.approx(1)
    gap = groups.gap["word"]["rouge_l"]
    assert gap.value == pytest.approx(1 - groups.scores["F"]["word"]["rouge_l"].value)
    assert groups.rest["F"]["word"]["rouge_l"].value == pytest.approx(-gap.value)


def test_findings_are_read_in_both_texts(jsonl: Jsonl, texts: dict[str, list[str]]) -> None:
    for lang in ("en", "zh"):
        path = jsonl(f"{lang}.jsonl", rows(texts[lang]))
        found = reports.score(reports.read_pairs(path, path, options(lang=lang)), options(lang=lang))
        assert found.tables["findings"]["micro"]["f1"].value == 1
        assert found.tables["findings"]["Pleural Effusion"]["in_references"].value == 1


def test_other_references_have_another_fingerprint(jsonl: Jsonl, texts: dict[str, list[str]]) -> None:
    made = []
    for name, refs in (("a", texts["en"]), ("b", texts["en"]), ("c", [*texts["en"][:3], "No edema."])):
        paths = jsonl("p.jsonl", rows(texts["en"])), jsonl(f"{name}.jsonl", rows(refs))
        made.append(reports.score(reports.read_pairs(*paths, options()), options()).protocol)
    assert made[0]["fingerprint"] == made[1]["fingerprint"] != made[2]["fingerprint"]
    assert set(made[0]["references_sha256"]) == {"word", "findings"}


def test_a_mean_over_findings_says_of_how_many_and_what_is_absent_is_not_in_the_protocol(
    jsonl: Jsonl, texts: dict[str, list[str]]
) -> None:
    paths = jsonl("p.jsonl", rows(["No finding."] * 4)), jsonl("r.jsonl", rows(texts["en"]))
    found = reports.score(reports.read_pairs(*paths, options()), options())
    table = found.tables["findings"]
    recalls = sum(not table[name]["recall"].reason for name in set(table) - set(clinical.MEANS))
    assert recalls > 1
    assert any(f"that have the score: precision 1, recall {recalls}, F1" in note for note in found.notes)
    assert "No Finding among them" in found.protocol["averages"]
    assert "METEOR" not in found.protocol["metrics"]
