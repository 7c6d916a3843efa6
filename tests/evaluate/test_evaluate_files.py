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
