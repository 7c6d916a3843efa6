"""The examples run as they stand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from xraytk.data import manifest, synthetic

EXAMPLES = Path(__file__).parents[1] / "examples"


def shell(*words: object, cwd: Path, programs: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("XRAYTK")}
    env |= {
        "XDG_CONFIG_HOME": str(cwd / "home"),
        "PATH": f"{programs or Path(sys.executable).parent}{os.pathsep}{env['PATH']}",
    }
    return subprocess.run([*map(str, words)], cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


def test_phantoms_are_drawn_and_described(tmp_path: Path, preloaded: Any) -> None:
    words = ["phantoms.png", "--finding", "Nodule", "--count", "2", "--size-px", "128"]
    done = preloaded.script(EXAMPLES / "phantoms.py", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "phantoms.png").stat().st_size > 10_000
    assert "nodule" in done.stdout.lower()
    assert "结节" in done.stdout


def test_questions_are_made_of_labels_and_reports(tmp_path: Path, preloaded: Any) -> None:
    labels = [
        {"image_id": "a", "label": "Nodule", "value": 1.0},
        {"image_id": "a", "label": "Edema", "value": 0.0},
    ]
    reports = [{"image_id": "a", "en": "A nodule in the left upper lobe.", "zh": "左上肺结节。"}]
    manifest.write_table(tmp_path / "work" / "ingest" / "labels.parquet", manifest.LABELS, labels)
    manifest.write_table(tmp_path / "work" / "ingest" / "reports.parquet", manifest.REPORTS, reports)
    done = preloaded.script(EXAMPLES / "questions.py", "work", "q.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {
        "question": "On which side is the pulmonary nodule?",
        "answer": "left",
        "kind": "open",
    }.items() <= rows[1].items()
    assert {row["lang"] for row in rows} == {"en", "zh"}


@pytest.mark.slow
def test_public_pictures_walk_the_road(tmp_path: Path, preloaded: Any) -> None:
    (tmp_path / "pngs").mkdir()
    about, labels = ["file,patient,view"], ["file,labels"]
    for seed in range(24):
        phantom = synthetic.make_phantom(seed, size_px=160)
        cv2.imwrite(str(tmp_path / "pngs" / f"{seed}.png"), np.rint(phantom.pixels * 255).astype(np.uint8))
        about.append(f"{seed}.png,p{seed},{phantom.view}")
        labels.append(f"{seed}.png,{'|'.join(k for k, v in phantom.labels.items() if v)}")
    (tmp_path / "about.csv").write_text("\n".join(about))
    (tmp_path / "labels.csv").write_text("\n".join(labels))
    key = tmp_path / "home" / "xraytk" / "key"  # a fixed one: splits of few patients differ by chance
    key.parent.mkdir(parents=True)
    key.write_text("07" * 32)
    key.chmod(0o600)
    words = ["pngs", "about.csv", "labels.csv", "work", "2"]
    done = shell(EXAMPLES / "public_pictures.sh", *words, cwd=tmp_path, programs=preloaded.shim())
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "work" / "runs" / "classify" / "metrics.json").exists()


def test_masking_policies_are_drawn(tmp_path: Path, preloaded: Any) -> None:
    done = preloaded.script(EXAMPLES / "masking_policies.py", "policies.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(tmp_path / "policies.png")).shape[1] > 1000
