from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import xraytk

VERBS = [
    "ingest",
    "mask",
    "curate",
    "shard",
    "pretrain",
    "finetune",
    "evaluate",
    "report",
    "export",
    "embed",
    "plan",
    "wrap",
    "demo",
]


def test_help_names_every_verb_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from xraytk.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pydicom', 'transformers', 'timm', 'pyarrow', 'cv2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert f" {verb} " in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_has_an_example_and_the_common_options(verb: str, preloaded: Any) -> None:
    done = preloaded(verb, "--help")
    assert done.returncode == 0
    assert f"Example: xraytk {verb}" in done.stdout
    for option in ("--preset", "--config", "--set", "--json", "--show-config"):
        assert option in done.stdout


def test_help_of_pretrain_says_in_a_line_what_each_objective_is() -> None:
    from xraytk.cli import pretrain
    from xraytk.objectives import OBJECTIVES

    lines = [line.strip() for line in (pretrain.__doc__ or "").splitlines()]
    for name in OBJECTIVES:
        assert sum(line.startswith((f"{name}:", f"{name} (the default):")) for line in lines) == 1
    assert max(map(len, lines)) < 76  # else a terminal of 80 breaks them


def test_evaluate_takes_a_task_a_run_or_two(preloaded: Any) -> None:
    import tomllib

    for words, wanted in [
        (["report"], {"task": "report"}),
        (["--checkpoint", "runs/mine"], {"task": "all", "checkpoint": "runs/mine"}),
        (["linear-probe", "--compare", "random"], {"task": "linear-probe"}),
        (["knn", "--checkpoint", "m", "--shards", "s"], {"task": "knn", "checkpoint": "m", "shards": "s"}),
        (["a", "b", "--lang", "zh"], {"task": "all", "results": "a", "against": "b", "lang": "zh"}),
        (
            ["classify", "--predictions", "p.csv", "--references", "r.csv"],
            {"task": "classify", "predictions": "p.csv", "references": "r.csv"},
        ),
    ]:
        made = tomllib.loads(preloaded("evaluate", *words, "--show-config").stdout)
        assert {key: made.get(key) for key in wanted} == wanted
        assert ("results" in made) == ("results" in wanted)
    alone = preloaded("evaluate", "report", "--predictions", "p.csv")
    assert alone.returncode == 2
    assert "--predictions and --references" in alone.stderr
    run = preloaded("evaluate", "runs/mine")
    assert run.returncode == 2
    assert "--checkpoint RUN" in run.stderr


def test_report_takes_one_image_or_two_and_names_no_third(preloaded: Any) -> None:
    import tomllib

    one = tomllib.loads(preloaded("report", "a.dcm", "--show-config").stdout)
    two = tomllib.loads(preloaded("report", "a.dcm", "b.dcm", "--lang", "zh", "--show-config").stdout)
    assert (one["image"], one.get("second")) == ("a.dcm", None)
    assert (two["image"], two["second"], two["lang"]) == ("a.dcm", "b.dcm", "zh")
    three = preloaded("report", "a.dcm", "b.dcm", "Doe^Jane.dcm")
    assert three.returncode == 2
    assert "found 3 files, wanted one or two" in three.stderr
    assert "Doe" not in three.stdout + three.stderr
    assert preloaded("report").returncode == 2


def test_version_is_that_of_the_package() -> None:
    words = [sys.executable, "-m", "xraytk", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"xraytk {xraytk.__version__}\n"


@pytest.mark.parametrize(
    "words",
    [["bogus"], ["ingest"], ["ingest", "x", "--bogus"], ["finetune", "dance"], ["mask", "--workers", "-1"]],
)
def test_wrong_words_exit_with_2(words: list[str], preloaded: Any) -> None:
    assert preloaded(*words).returncode == 2


def test_unknown_key_exits_with_2_and_names_the_nearest(tmp_path: Path, preloaded: Any) -> None:
    done = preloaded("ingest", tmp_path, "--set", "worker=1")
    assert done.returncode == 2
    assert "did you mean workers?" in done.stderr
    assert "Traceback" not in done.stderr


def test_verbs_without_their_input_exit_with_3_and_name_the_verb_before(
    tmp_path: Path, preloaded: Any
) -> None:
    for verb, before in [
        (["mask"], "xraytk ingest"),
        (["curate"], "xraytk ingest"),
        (["shard"], "xraytk ingest"),
        (["pretrain", "--preset", "tiny"], "xraytk shard"),
        (["evaluate"], "xraytk finetune"),
        (["evaluate", "knn"], "xraytk pretrain"),
        (["export"], "xraytk pretrain"),
        (["embed"], "xraytk pretrain"),
    ]:
        done = preloaded(*verb, "--work", tmp_path / "none", cwd=tmp_path)
        assert done.returncode == 3, (verb, done.stderr)
        assert before in done.stderr
        assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("none/runs/*")), "nothing half-made is left"


def test_json_gives_exactly_one_object_even_for_an_error(tmp_path: Path, preloaded: Any) -> None:
    done = preloaded("mask", "--json", "--work", tmp_path)
    made = json.loads(done.stdout)
    assert made["exit_code"] == done.returncode == 3
    assert "xraytk ingest" in made["error"]
    wrong = preloaded("mask", "--bogus", "--json")
    assert json.loads(wrong.stdout)["exit_code"] == wrong.returncode == 2


def test_the_workspace_is_that_of_the_last_source_that_names_it(tmp_path: Path, preloaded: Any) -> None:
    import os
    import tomllib

    (tmp_path / "mine.toml").write_text('work = "from-file"')
    for words, wanted in [
        ([], "from-env"),
        (["--config", str(tmp_path / "mine.toml")], "from-file"),
        (["--config", str(tmp_path / "mine.toml"), "--set", "work=from-set"], "from-set"),
        (["--set", "work=from-set", "--work", "from-flag"], "from-flag"),
    ]:
        done = preloaded("mask", "--show-config", *words, env=os.environ | {"XRAYTK_WORK": "from-env"})
        assert tomllib.loads(done.stdout)["work"] == wanted


def test_show_config_prints_toml_that_reads_back(tmp_path: Path, preloaded: Any) -> None:
    import tomllib

    done = preloaded("pretrain", "--preset", "paper", "--lr", "0.5", "--show-config")
    made = tomllib.loads(done.stdout)
    assert made["vit"]["image_px"] == 1280
    assert made["vit"]["patch_px"] == 64
    assert made["vit"]["depth"] == 24
    assert made["optim"]["lr"] == 0.5
    (tmp_path / "mine.toml").write_text(done.stdout)
    again = preloaded("pretrain", "--config", tmp_path / "mine.toml", "--show-config")
    assert again.stdout == done.stdout


def test_an_internal_error_withholds_its_text(preloaded: Any) -> None:
    code = (
        "import sys, types; from xraytk import cli\n"
        "import xraytk.mask as verb\n"
        "def run(config, progress): raise RuntimeError('Doe^Jane')\n"
        "verb.run = run\n"
        "cli.app(['mask'])\n"
    )
    done = preloaded("-c", code)
    assert done.returncode == 1
    assert "internal error, RuntimeError" in done.stderr
    assert "Doe" not in done.stderr + done.stdout


def test_epochs_win_over_the_steps_of_a_preset() -> None:
    from xraytk import cli, config, pretrain

    flags = cli._training(
        {
            "epochs": 2.5,
            "steps": None,
            "lr": None,
            "gpus": None,
            "device": None,
            "workers": 0,
            "skip_bad": None,
        }
    )
    made = config.load(pretrain.PretrainConfig, preset="tiny", flags=flags)
    assert (made.steps, made.epochs) == (0, 2.5)
    assert made.plan(64).steps == 10


@pytest.mark.parametrize("verb", ["report", "evaluate"])
def test_a_device_that_is_not_there_is_said(verb: str, tmp_path: Path, preloaded: Any) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    source = [tmp_path / "a.png"] if verb == "report" else []
    done = preloaded(verb, *source, "--device", "cuda", "--work", tmp_path)
    assert done.returncode == 5, done.stderr
    assert "--device cpu" in done.stderr


def test_paths_are_shown_on_a_terminal_only(tmp_path: Path, preloaded: Any) -> None:
    (tmp_path / "in").mkdir()
    made = preloaded("ingest", tmp_path / "in", "--show-paths", cwd=tmp_path)
    assert made.returncode == 2
    assert "terminal only" in made.stderr
    assert str(tmp_path) not in made.stderr
