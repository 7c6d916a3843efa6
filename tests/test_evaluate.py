from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from xraytk import evaluate
from xraytk.data.store import read_index
from xraytk.errors import DataError, RunConflictError, UsageError
from xraytk.files import folder_lock, read_json
from xraytk.models.search import SearchConfig
from xraytk.records import as_plain


@pytest.fixture(scope="module")
def result(finetuned: Path, tmp_path_factory: pytest.TempPathFactory) -> evaluate.EvaluateResult:
    out = tmp_path_factory.mktemp("scores")
    return evaluate.run(evaluate.EvaluateConfig(work=finetuned, out=out, bootstrap=50, batch=4))


def test_both_runs_are_scored_on_the_test_split_with_intervals(result: evaluate.EvaluateResult) -> None:
    by_task = {scored.task: scored for scored in result.runs}
    assert set(by_task) == {"report", "classify"}
    reports, labels = by_task["report"].scores, by_task["classify"].scores
    assert reports["en"]["bleu_1"].value > 0.95
    assert reports["zh"]["bleu_1"].value > 0.95
    assert reports["zh"]["cider"].low <= reports["zh"]["cider"].value <= reports["zh"]["cider"].high
    assert labels["macro"]["auroc"].value == pytest.approx(1)
    assert labels["Never"]["auroc"].reason == "every known value in this split is 0"
    assert by_task["report"].images == 9
    assert reports["en"]["bleu_1"].patients == 5
    text = "\n".join(result.lines())
    assert "report, test split, 9 images" in text
    assert "BLEU-4" in text
    assert "AUROC" in text
    json.dumps(as_plain(result), allow_nan=False)


def test_metrics_are_written_with_the_protocol_and_no_nan(result: evaluate.EvaluateResult) -> None:
    for scored in result.runs:
        tree = json.loads(scored.files[0].read_text(encoding="utf-8"))
        assert tree["format"] == 1
        assert len(tree["protocol"]["fingerprint"]) == 16
        assert tree["protocol"]["split"] == "test"
        assert "NaN" not in scored.files[0].read_text()


def test_predictions_hold_one_line_for_each_image_and_language(result: evaluate.EvaluateResult) -> None:
    report = next(scored for scored in result.runs if scored.task == "report")
    rows = [json.loads(line) for line in report.files[1].read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 18
    assert set(rows[0]) == {"image_id", "patient_id", "lang", "text", "reference", "sex", "view"}


def test_the_gallery_is_one_page_with_both_languages_and_images_inside(
    result: evaluate.EvaluateResult,
) -> None:
    report = next(scored for scored in result.runs if scored.task == "report")
    page = next(path for path in report.files if path.name == "gallery.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 9
    assert "未见异常。" in page
    assert "No finding." in page
    assert 'class="right present" title="Lung Lesion' in page
    assert page.count("data:image/jpeg;base64,") == page.count("<figcaption>") >= 9  # maps of attention
    assert '<b lang="zh">结节</b>' in page


def test_curves_are_pictures(result: evaluate.EvaluateResult) -> None:
    labels = next(scored for scored in result.runs if scored.task == "classify")
    figures = {path.name: path for path in labels.files if path.suffix == ".png"}
    assert set(figures) == {"roc.png", "pr.png", "reliability.png", "confusion.png", "auroc.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in figures.values())


def test_the_same_model_and_split_have_the_same_fingerprint(
    finetuned: Path, result: evaluate.EvaluateResult, tmp_path: Path
) -> None:
    run = finetuned / "runs" / "report"
    prints = []
    for beam in (3, 1):
        config = evaluate.EvaluateConfig(
            checkpoint=run,
            work=finetuned,
            out=tmp_path / str(beam),
            bootstrap=50,
            search=SearchConfig(beam=beam),
            batch=1,
            again=True,
        )
        prints.append(evaluate.run(config).runs[0].protocol["fingerprint"])
    wanted = next(scored for scored in result.runs if scored.task == "report").protocol["fingerprint"]
    assert prints[0] == wanted != prints[1]


def test_an_empty_split_is_named_with_the_counts_of_the_others(
    finetuned: Path, shapes: SimpleNamespace, tmp_path: Path
) -> None:
    shapes.write(tmp_path, {"train": 4, "val": 2})
    with pytest.raises(DataError, match=r"(?s)no image in the test split.*train 4, val 2, test 0"):
        evaluate.run(evaluate.EvaluateConfig(work=tmp_path, checkpoint=finetuned / "runs" / "report"))


def test_without_a_finished_run_the_message_says_what_to_do(shapes: SimpleNamespace, tmp_path: Path) -> None:
    shapes.write(tmp_path, {"test": 2})
    with pytest.raises(DataError, match="xraytk finetune"):
        evaluate.run(evaluate.EvaluateConfig(work=tmp_path))
    with pytest.raises(DataError, match="no finetuned model"):
        evaluate.run(evaluate.EvaluateConfig(work=tmp_path, checkpoint=tmp_path))


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="beam"):
        evaluate.EvaluateConfig(search=SearchConfig(beam=0))


def test_another_reading_of_the_test_split_is_refused_or_said(
    finetuned: Path, result: evaluate.EvaluateResult, tmp_path: Path
) -> None:
    settings = {
        "checkpoint": finetuned / "runs" / "report",
        "work": finetuned,
        "out": tmp_path,
        "bootstrap": 0,
    }
    evaluate.run(evaluate.EvaluateConfig(**settings, langs=("en",)))  # the same reading, in one language
    with pytest.raises(RunConflictError, match="read by report before"):
        evaluate.run(evaluate.EvaluateConfig(**settings, search=SearchConfig(no_repeat=3)))
    evaluate.run(evaluate.EvaluateConfig(**settings, search=SearchConfig(no_repeat=3), split="val"))
    again = evaluate.run(evaluate.EvaluateConfig(**settings, search=SearchConfig(no_repeat=3), again=True))
    assert any("the test split was read" in note for note in again.runs[0].notes)
    assert "the test split was read" in (tmp_path / "report" / "metrics.json").read_text()


def test_a_run_that_is_being_trained_is_not_tested(finetuned: Path, tmp_path: Path) -> None:
    run = finetuned / "runs" / "classify"
    with folder_lock(run), pytest.raises(RunConflictError, match="in use"):
        evaluate.run(evaluate.EvaluateConfig(checkpoint=run, work=finetuned, out=tmp_path, bootstrap=0))


def test_patients_that_a_run_was_trained_on_are_not_tested(
    finetuned: Path, shapes: SimpleNamespace, tmp_path: Path
) -> None:
    other = shapes.write(tmp_path, {"train": 2, "val": 2, "test": 32}) / "shards"
    run = finetuned / "runs" / "classify"
    before = (run / "test-reads.jsonl").read_bytes()
    config = evaluate.EvaluateConfig(work=finetuned, checkpoint=run, shards=other, out=tmp_path, bootstrap=0)
    with pytest.raises(DataError, match=r"trained on \d+ of the \d+ patients of the test split"):
        evaluate.run(dataclasses.replace(config, again=True))
    assert (run / "test-reads.jsonl").read_bytes() == before


def test_two_runs_are_compared_in_one_page(result: evaluate.EvaluateResult, tmp_path: Path) -> None:
    report = next(scored for scored in result.runs if scored.task == "report")
    folder = report.files[0].parent
    found = evaluate.run(
        evaluate.EvaluateConfig(results=folder, against=report.files[1], out=tmp_path, bootstrap=20)
    )
    assert isinstance(found, evaluate.CompareResult)
    row = found.tables["zh: words (character)"]["character"]["bleu_4"]
    assert (row.apart.value, row.p) == (0, 1)
    page = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert "未见异常。" in page


def test_probabilities_of_a_run_are_cooled_by_the_temperature_of_its_validation_split(
    finetuned: Path, result: evaluate.EvaluateResult
) -> None:
    facts = read_json(finetuned / "runs" / "classify" / "best" / "config.json", "")["facts"]
    scored = next(run for run in result.runs if run.task == "classify")
    tree = read_json(scored.files[0], "")
    assert tree["temperature"] == facts["temperature"]
    assert {"labels", "before temperature scaling"} <= set(tree["tables"])
    assert "one temperature" in tree["protocol"]["thresholds"]


def test_a_table_parts_the_images_of_a_run_by_site(finetuned: Path, tmp_path: Path) -> None:
    ids = read_index(finetuned / "shards").image_id.astype(str).tolist()
    rows = [f"{image},{'North' if i % 2 else 'South'},F" for i, image in enumerate(ids)]
    table = tmp_path / "sites.csv"
    table.write_text("image_id,site,sex\n" + "\n".join(rows), encoding="utf-8")
    config = evaluate.EvaluateConfig(
        work=finetuned, task="classify", groups=table, out=tmp_path / "out", bootstrap=0, split="val"
    )
    tree = read_json(evaluate.run(config).runs[0].files[0], "")
    groups = {found["fact"]: set(found["groups"]) for found in tree["groups"]["labels"]}
    assert groups["site"] == {"North", "South"}
    assert "sex" not in groups  # the table says one and the same of all


def test_a_table_of_groups_of_other_images_is_refused(finetuned: Path, tmp_path: Path) -> None:
    table = tmp_path / "sites.csv"
    config = evaluate.EvaluateConfig(work=finetuned, task="classify", groups=table, split="val", bootstrap=0)
    table.write_text("image_id,site\nstranger,North\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"(?s)no image id of sites.csv is scored.*stranger"):
        evaluate.run(config)
    table.write_text("image_id,height\nstranger,3\n", encoding="utf-8")
    with pytest.raises(DataError, match="groups no images"):
        evaluate.run(config)
