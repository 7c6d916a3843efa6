from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from xraytk import evaluate
from xraytk.errors import DataError, UsageError
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
    assert "bleu_4" in text
    assert "auroc" in text
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
    assert set(rows[0]) == {"image_id", "patient_id", "lang", "text", "reference"}


def test_the_gallery_is_one_page_with_both_languages_and_images_inside(
    result: evaluate.EvaluateResult,
) -> None:
    report = next(scored for scored in result.runs if scored.task == "report")
    page = next(path for path in report.files if path.suffix == ".html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 9
    assert "未见异常。" in page
    assert "No finding." in page


def test_the_roc_curves_are_a_picture(result: evaluate.EvaluateResult) -> None:
    labels = next(scored for scored in result.runs if scored.task == "classify")
    assert labels.files[-1].read_bytes().startswith(b"\x89PNG")


def test_the_same_model_and_split_have_the_same_fingerprint(
    finetuned: Path, result: evaluate.EvaluateResult, tmp_path: Path
) -> None:
    run = finetuned / "runs" / "report"
    prints = []
    for beam in (3, 1):
        config = evaluate.EvaluateConfig(
            run=run, work=finetuned, out=tmp_path / str(beam), bootstrap=50, beam=beam, batch=1
        )
        prints.append(evaluate.run(config).runs[0].protocol["fingerprint"])
    wanted = next(scored for scored in result.runs if scored.task == "report").protocol["fingerprint"]
    assert prints[0] == wanted != prints[1]


def test_an_empty_split_is_named_with_the_counts_of_the_others(
    finetuned: Path, shapes: SimpleNamespace, tmp_path: Path
) -> None:
    shapes.write(tmp_path, {"train": 4, "val": 2})
    with pytest.raises(DataError, match=r"(?s)no image in the test split.*train 4, val 2, test 0"):
        evaluate.run(evaluate.EvaluateConfig(work=tmp_path, run=finetuned / "runs" / "report"))


def test_without_a_finished_run_the_message_says_what_to_do(shapes: SimpleNamespace, tmp_path: Path) -> None:
    shapes.write(tmp_path, {"test": 2})
    with pytest.raises(DataError, match="xraytk finetune"):
        evaluate.run(evaluate.EvaluateConfig(work=tmp_path))
    with pytest.raises(DataError, match="no finetuned model"):
        evaluate.run(evaluate.EvaluateConfig(work=tmp_path, run=tmp_path))


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="beam"):
        evaluate.EvaluateConfig(beam=0)
