from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from xraytk import evaluate
from xraytk.errors import DataError, UsageError

EN = ["The heart is normal.", "No effusion or pneumothorax.", "Left pleural effusion.", "Mild cardiomegaly."]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    def jsonl(name: str, texts: list[str], **more: list[str]) -> None:
        rows = [
            {"image_id": f"i{n}", "text": t, **{k: v[n] for k, v in more.items()}}
            for n, t in enumerate(texts)
        ]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    jsonl("R.jsonl", EN, patient_id=["a", "a", "b", "c"], sex=["F", "F", "M", "M"])
    jsonl("P.jsonl", [*EN[:3], ""])
    jsonl("Q.jsonl", EN[::-1])
    (tmp_path / "R.csv").write_text(
        "image_id,patient_id,Edema,Mass\n" + "".join(f"i{n},p{n},{n % 2},{n % 3 % 2}\n" for n in range(12))
    )
    for name, shift in (("P", 0.0), ("Q", 0.05)):
        lines = (
            f"i{n},{0.2 + n % 2 * 0.5 - n * 0.02},{0.9 - n * 0.03 - shift * (n % 5)}\n" for n in range(12)
        )
        (tmp_path / f"{name}.csv").write_text("image_id,Edema,Mass\n" + "".join(lines))
    return tmp_path


def test_a_run_on_files_imports_no_torch_and_writes_everything(files: Path) -> None:
    words = [
        "report --predictions P.jsonl --references R.jsonl --set meteor=false",
        "classify --predictions P.csv --references R.csv",
        "P-scores P-scores",
    ]
    code = (
        "import sys; from xraytk import cli\n"
        "try: cli.app(['evaluate', *sys.argv[1:], '--bootstrap', '20', '--json'])\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = {'torch', 'transformers', 'timm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    for line in words[:2]:
        done = subprocess.run(
            [sys.executable, "-c", code, *line.split()],
            capture_output=True,
            text=True,
            cwd=files,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        made = json.loads(done.stdout)["runs"][0]
        assert len(made["protocol"]["fingerprint"]) == 16
        assert all((files / path).is_file() for path in made["files"])
    tree = json.loads((files / "P-scores" / "metrics.json").read_text())
    assert tree["scores"]["Edema"]["auroc"]["value"] == 1
    assert "NaN" not in (files / "P-scores" / "metrics.json").read_text()


def test_a_file_is_scored_and_printed(files: Path) -> None:
    config = evaluate.EvaluateConfig(
        task="report", predictions=files / "P.jsonl", references=files / "R.jsonl", bootstrap=20, meteor=False
    )
    result = evaluate.run(config)
    assert isinstance(result, evaluate.EvaluateResult)
    text = "\n".join(result.lines())
    assert "P.jsonl, 4 images" in text
    assert "1 predictions are empty" in text
    assert "METEOR" in text
    assert (files / "P-scores" / "page.html").is_file()
    assert "BLEU-4" in (files / "P-scores" / "tables.md").read_text()
    assert r"\toprule" in (files / "P-scores" / "tables.tex").read_text()


def test_the_same_files_give_the_same_bytes(files: Path) -> None:
    made = []
    for out in ("one", "two"):
        evaluate.run(
            evaluate.EvaluateConfig(
                task="classify",
                predictions=files / "P.csv",
                references=files / "R.csv",
                bootstrap=20,
                out=files / out,
            )
        )
        made.append(
            {p.relative_to(files / out): p.read_bytes() for p in (files / out).rglob("*") if p.is_file()}
        )
    assert made[0] == made[1]


def test_two_files_are_compared_against_the_same_references(files: Path) -> None:
    for kind, row, metric in (("jsonl", "word", "rouge_l"), ("csv", "Edema", "auroc")):
        config = evaluate.EvaluateConfig(
            results=files / f"P.{kind}", against=files / f"Q.{kind}", references=files / f"R.{kind}",
            bootstrap=20, meteor=False, out=files / kind,
        )  # fmt: skip
        result = evaluate.run(config)
        assert isinstance(result, evaluate.CompareResult)
        assert result.names == ("P", "Q")
        found = next(iter(result.tables.values()))[row][metric]
        assert found.apart.value == pytest.approx(found.a.value - found.b.value)
        assert "P and Q, the same" in result.lines()[0]
        assert (files / kind / "comparison.html").is_file()
        assert json.loads((files / kind / "comparison.json").read_text())["names"] == ["P", "Q"]


def test_reports_and_labels_are_not_compared(files: Path) -> None:
    with pytest.raises(DataError, match="not of the same kind"):
        evaluate.run(evaluate.EvaluateConfig(results=files / "P.jsonl", against=files / "P.csv"))
    with pytest.raises(DataError, match="holds no predictions"):
        evaluate.run(evaluate.EvaluateConfig(results=files / "P.jsonl", against=files))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"predictions": "p"}, "given alone"),
        ({"predictions": "p", "references": "r"}, "what the predictions are"),
        ({"against": "b"}, "takes two results"),
        ({"validation": "v"}, "--validation is for"),
        ({"predictions": "p", "references": "r", "task": "report", "validation": "v"}, "for classify"),
        ({"operating": 1.0}, "operating"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(given: dict[str, object], wanted: str) -> None:
    paths = {k: Path(v) if isinstance(v, str) and k != "task" else v for k, v in given.items()}
    with pytest.raises(UsageError, match=wanted):
        evaluate.EvaluateConfig(**paths)  # type: ignore[arg-type]


def test_tables_say_fingerprint_brackets_and_notes(files: Path) -> None:
    made = evaluate.run(
        evaluate.EvaluateConfig(
            task="report",
            predictions=files / "P.jsonl",
            references=files / "R.jsonl",
            bootstrap=5,
            meteor=False,
        )
    )
    mark = made.runs[0].protocol["fingerprint"]
    line = f"protocol full, fingerprint {mark}; in brackets: 95 % percentile interval over 3 patients"
    for name, sign in (("tables.md", "- "), ("tables.tex", "% ")):
        text = (files / "P-scores" / name).read_text()
        tables = text.count("**") // 2 - 1 if name.endswith("md") else text.count(r"\caption")
        assert text.count(line.replace("%", r"\%") if name.endswith("tex") else line) == tables > 1
        for note in (
            "1 predictions are empty",
            "meteor: absent",
            "uncertain findings: positive",
            "intervals: 95",
        ):
            assert f"\n{sign}{note}" in text
    assert line in (files / "P-scores" / "page.html").read_text()


def test_two_results_that_were_scored_differently_are_told_apart(files: Path) -> None:
    (files / "V.csv").write_text("image_id,Edema,Mass\n" + "".join(f"v{n},{n / 9},0.{n}\n" for n in range(9)))
    (files / "VR.csv").write_text(
        "image_id,patient_id,Edema,Mass\n" + "".join(f"v{n},q{n},{n % 2},{n % 3 % 2}\n" for n in range(9))
    )
    common = {"task": "classify", "references": files / "R.csv", "bootstrap": 5}
    evaluate.run(evaluate.EvaluateConfig(predictions=files / "P.csv", **common))
    evaluate.run(
        evaluate.EvaluateConfig(
            predictions=files / "Q.csv",
            validation=files / "V.csv",
            validation_references=files / "VR.csv",
            uncertain="positive",
            **common,
        )
    )
    both = evaluate.EvaluateConfig(results=files / "P-scores", against=files / "Q-scores", bootstrap=5)
    found = evaluate.run(both)
    told = "\n".join(found.lines())
    assert "note: made or scored differently, thresholds: P-scores: 0.5 for every label" in told
    assert "note: made or scored differently, uncertain_labels: P-scores: ignore | Q-scores: ones" in told
    assert "note: made or scored differently, temperature: P-scores: 1 | Q-scores: " in told
    assert "thresholds of Q-scores: highest F1 on 9 validation images" in told
    text = (files / "P-scores-vs-Q-scores" / "comparison.md").read_text()
    assert f"protocol fingerprint {found.protocol['fingerprint']}; in brackets" in text
    assert "made or scored differently" in text
    same = evaluate.run(
        evaluate.EvaluateConfig(results=files / "P-scores", against=files / "P-scores", bootstrap=0)
    )
    assert not any("differently" in note for note in same.notes)


def test_predictions_without_a_truth_and_a_language_of_labels_are_refused(files: Path) -> None:
    for kind, column in (("csv", "truth"), ("jsonl", "reference")):
        config = evaluate.EvaluateConfig(results=files / f"P.{kind}", against=files / f"Q.{kind}")
        with pytest.raises(
            DataError, match=rf"(?s)P.{kind} holds predictions without their {column}.*--references"
        ):
            evaluate.run(config)
    with pytest.raises(UsageError, match="--lang is given with classify"):
        evaluate.EvaluateConfig(
            task="classify", predictions=files / "P.csv", references=files / "R.csv", lang="zh"
        )
    with pytest.raises(UsageError, match="--lang is given"):
        evaluate.run(
            evaluate.EvaluateConfig(
                results=files / "P.csv", against=files / "Q.csv", references=files / "R.csv", lang="zh"
            )
        )
