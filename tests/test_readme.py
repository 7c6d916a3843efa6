"""The README's commands and code, run in order as a new user would, on small phantoms."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from xraytk.data import synthetic

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line[2:]
    for block in re.findall(r"```console\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if line.startswith("$ xraytk ")
]
CODE = re.findall(r"```python\n(.*?)```", README, re.S)

SHORT = {
    "pretrain": ("--steps", "2"),
    "finetune": ("--steps", "2"),
    "evaluate": ("--bootstrap", "20"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    archive = synthetic.write_archive(folder / "dicoms", patients=16, seed=3, size_px=160, workers=1)
    shutil.copy(archive.reports, folder / "reports.csv")
    shutil.copy(archive.labels, folder / "labels.csv")
    shutil.copy(min(p for p in archive.folder.rglob("*") if p.is_file()), folder / "image.dcm")
    (folder / "pngs").mkdir()
    for seed in (1, 2):
        pixels = synthetic.make_phantom(seed, size_px=160).pixels
        cv2.imwrite(str(folder / "pngs" / f"{seed}.png"), np.rint(pixels * 255).astype(np.uint8))
    (folder / "about.csv").write_text("file,patient,view\n1.png,a,PA\n2.png,b,AP\n")
    key = folder / "home" / "xraytk" / "key"  # a fixed one: splits of few patients differ by chance
    key.parent.mkdir(parents=True)
    key.write_text("2b" * 32)  # all three splits
    key.chmod(0o600)
    return folder


@pytest.mark.slow
def test_the_commands_run_in_the_order_in_which_they_stand(place: Path, preloaded: Any) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("XRAYTK")}
    env["XDG_CONFIG_HOME"] = str(place / "home")
    said = {}
    for command in COMMANDS:
        words = command.split()
        if words[1] in ("demo", "--version") or "--gpus" in words:
            continue
        done = preloaded(*words[1:], *SHORT.get(words[1], ()), cwd=place, env=env)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        said[command] = done.stdout
    assert any("本软件仅供科研" in text for text in said.values())
    assert any('"lang": "en"' in text for text in said.values())
    for code in CODE:
        done = preloaded("-c", code, cwd=place, env=env)
        assert done.returncode == 0, f"{code}\n{done.stderr}"


def test_the_readme_names_every_verb_and_every_make_target() -> None:
    targets = set(re.findall(r"^\$ make (\w+)$", README, re.M))
    assert targets == {"demo", "test"}
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)
    verbs = {command.split()[1] for command in COMMANDS}
    assert verbs >= {"ingest", "mask", "shard", "pretrain", "finetune", "evaluate", "report", "wrap", "demo"}


def test_the_formats_in_the_readme_are_those_of_the_tables() -> None:
    from xraytk.data import manifest

    for schema in (manifest.MANIFEST, manifest.REJECTED, manifest.CONTOURS):
        for name in schema.names:
            assert f"`{name}`" in README, f"the README does not describe {name}"
