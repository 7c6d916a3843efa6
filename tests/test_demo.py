from __future__ import annotations

from pathlib import Path

import pytest

from xraytk import demo
from xraytk.errors import RunConflictError, UsageError


@pytest.mark.slow
def test_the_whole_road_ends_in_two_reports_and_pictures(tmp_path: Path) -> None:
    config = demo.DemoConfig(
        out=tmp_path / "demo", patients=16, size_px=160, workers=1, pretrain_steps=3, finetune_steps=3
    )
    result = demo.run(config)
    text = "\n".join(result.lines())
    assert "not a medical device" in text
    assert "非医疗器械" in text
    assert {"contact-sheet.png", "curves.png"} <= {p.name for p in result.look_at}
    assert all(p.exists() for p in result.look_at)
    again = demo.run(config)
    assert again.stages["ingest"].images == result.stages["ingest"].images
    assert [r.text for r in again.reports.values()] == [r.text for r in result.reports.values()]


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 8"):
        demo.DemoConfig(patients=3)


def test_a_demo_is_known_again_under_another_spelling_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    demo._claim(demo.DemoConfig(out=Path("d"), workers=1))
    demo._claim(demo.DemoConfig(out=tmp_path / "d", workers=2))
    with pytest.raises(RunConflictError, match="seed"):
        demo._claim(demo.DemoConfig(out=Path("d"), seed=3))
