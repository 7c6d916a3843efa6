from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from xraytk import config as configs
from xraytk import export, finetune, pretrain, report
from xraytk.data.shards import ShardIndex
from xraytk.data.skipped import SkipList
from xraytk.errors import DataError, InterruptedRunError, RunConflictError, UsageError
from xraytk.files import read_json
from xraytk.models.search import SearchConfig
from xraytk.progress import Silent


def same_weights(a: Path, b: Path) -> bool:
    one, other = load_file(a / "best" / "model.safetensors"), load_file(b / "best" / "model.safetensors")
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, shapes: SimpleNamespace) -> Path:
    """A workspace with shards and a tiny pretraining."""
    work: Path = shapes.write(tmp_path_factory.mktemp("work"), {"train": 16, "val": 4})
    tree = {
        "work": str(work),
        "vit": shapes.vit,
        "data": {"image_px": 32, "fit": "stretch"},
        "options": {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2},
        "batch": 8,
        "steps": 2,
        "machine": {"device": "cpu"},
    }
    pretrain.run(configs.build(pretrain.PretrainConfig, tree))
    return work


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_the_encoder_and_the_fit_come_from_the_workspaces_pretraining(
    work: Path, shapes: SimpleNamespace
) -> None:
    notes = Notes()
    config = shapes.config(work, "classify", init="", steps=1, freeze="encoder", encoder={})
    result = finetune.run(config, notes)
    facts = read_json(result.run / "best" / "config.json", "")
    assert facts["facts"]["data"] == {"image_px": 32, "fit": "stretch"}
    assert facts["model"]["encoder"]["width"] == 32
    assert any(note.startswith("encoder: ") and "pretrain" in note for note in notes.notes)
    made = load_file(result.run / "best" / "model.safetensors")
    pretrained = load_file(work / "runs" / "pretrain" / "step-00000002" / "model.safetensors")
    for name in made:
        if name.startswith("encoder."):
            torch.testing.assert_close(made[name], pretrained[name], rtol=0, atol=0)


def test_the_fit_goes_with_the_weights(work: Path, shapes: SimpleNamespace, tmp_path: Path) -> None:
    alone = shutil.copy(work / "runs" / "pretrain" / "step-00000002" / "model.safetensors", tmp_path)
    done = export.run(export.ExportConfig(work=work, out=tmp_path / "out", verify=False))
    for place in (alone, done.out, done.out / "encoder.safetensors", done.out / "timm"):
        made, _ = finetune.resolve(shapes.config(work, "report", init=str(place)))
        assert (made.data["fit"], made.data["image_px"]) == ("stretch", 32), place
    other, _ = finetune.resolve(shapes.config(work, "report", init=str(alone), data={"fit": "letterbox"}))
    assert other.data["fit"] == "letterbox"


def test_an_encoder_of_another_shape_is_refused(
    work: Path, shapes: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = work / "runs" / "pretrain" / "step-00000002"
    weights = load_file(run / "model.safetensors")
    del weights["encoder.norm.weight"]
    from safetensors.torch import save_file

    header = {
        "xraytk.encoder_prefix": "encoder.",
        "xraytk.encoder": json.dumps({**shapes.vit, "channels": 1}),
    }
    save_file(weights, tmp_path / "broken.safetensors", header)
    with pytest.raises(DataError, match=r"1 missing: norm\.weight"):
        finetune.run(shapes.config(work, "report", init=str(tmp_path / "broken.safetensors"), name="x"))
    wide = {**shapes.vit, "width": 64}
    save_file(weights, tmp_path / "wide.safetensors", {**header, "xraytk.encoder": json.dumps(wide)})
    with pytest.raises(DataError, match="mis-shaped"):
        finetune.run(shapes.config(work, "report", init=str(tmp_path / "wide.safetensors"), name="y"))
    assert not (work / "runs" / "x" / "best").exists()


def test_without_a_pretraining_the_message_says_what_to_do(shapes: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)xraytk pretrain.*--init none"):
        finetune.run(shapes.config(tmp_path, "report", init=""))


def test_a_report_model_learns_and_the_best_state_is_exported(finetuned: Path) -> None:
    best = read_json(finetuned / "runs" / "report" / "best" / "config.json", "")
    assert best["task"] == "report"
    assert best["facts"]["validation"]["score"] > 0.95
    assert (finetuned / "runs" / "report" / "best" / "tokenizer.json").is_file()
    assert (finetuned / "runs" / "report" / "figures" / "curves.png").is_file()


def test_thresholds_are_fitted_on_the_validation_split_and_stored(finetuned: Path) -> None:
    facts = read_json(finetuned / "runs" / "classify" / "best" / "config.json", "")["facts"]
    assert facts["fitted_on"] == "val"
    assert set(facts["thresholds"]) == {"Top", "Left", "Never"}
    assert facts["thresholds"]["Never"] == 0.5
    assert 0.05 <= facts["temperature"] <= 20
    assert facts["temperature"] != 1


def test_a_run_that_was_stopped_ends_with_the_same_weights(
    work: Path, shapes: SimpleNamespace, tmp_path: Path
) -> None:
    whole = finetune.run(shapes.config(work, "report", steps=30, name="whole"))
    config = shapes.config(work, "report", steps=30, name="stopped")

    class StopAt(Silent):
        def task(self, name: str, total: int | None, unit: str = "images"):  # type: ignore[no-untyped-def]
            task = super().task(name, total, unit)
            update = task.update

            def counted(done: int, **facts: object) -> None:
                update(done, **facts)
                if done == 20:
                    os.kill(os.getpid(), signal.SIGTERM)

            task.update = counted  # type: ignore[method-assign]
            return task

    with pytest.raises(InterruptedRunError):
        finetune.run(config, StopAt())
    assert not (config.folder / "best").exists()
    finetune.run(config)
    assert same_weights(whole.run, config.folder)


def test_another_config_in_the_same_run_is_refused(work: Path, shapes: SimpleNamespace) -> None:
    finetune.run(shapes.config(work, "classify", steps=1, name="other"))
    with pytest.raises(RunConflictError, match=r"optim\.lr"):
        finetune.run(shapes.config(work, "classify", steps=1, name="other", optim={"lr": 1e-3}))


def test_a_run_goes_on_without_the_pretraining_that_it_began_with(
    work: Path, shapes: SimpleNamespace, tmp_path: Path
) -> None:
    run = shutil.copytree(work / "runs" / "pretrain", tmp_path / "began")
    given = {"init": str(run), "encoder": {}, "name": "orphan", "save_every": 1, "keep_last": 2}
    done = finetune.run(shapes.config(work, "classify", **given, steps=2))
    shutil.rmtree(done.run / "step-00000002")
    shutil.rmtree(run)
    again = finetune.run(shapes.config(work, "classify", **given, steps=2))
    assert (again.steps, again.init) == (2, str(run))
    assert (done.run / "step-00000002").is_dir()
    with pytest.raises(RunConflictError, match=r"data\.fit"):
        finetune.run(shapes.config(work, "classify", **given, steps=2, data={"fit": "letterbox"}))
    with pytest.raises(DataError, match="does not exist"):
        finetune.run(shapes.config(work, "classify", **{**given, "init": str(tmp_path / "other")}, steps=2))


@pytest.mark.usefixtures("forks")
@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(work: Path, shapes: SimpleNamespace) -> None:
    losses = []
    for gpus in (1, 2):
        config = shapes.config(work, "classify", steps=2, name=f"of{gpus}", log_every=1)
        machine = dataclasses.replace(config.machine, gpus=gpus, micro_batch=4)
        done = finetune.run(dataclasses.replace(config, machine=machine))
        losses.append((done.first_loss, done.last_loss))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_language_without_reports_is_left_out(shapes: SimpleNamespace, tmp_path: Path) -> None:
    from xraytk import shard
    from xraytk.data import manifest

    work = shapes.write(tmp_path, {"train": 8})
    rows = [{"image_id": f"{i:016x}", "en": "Clear.", "zh": ""} for i in range(4)]
    manifest.write_table(work / "ingest" / "reports.parquet", manifest.REPORTS, rows)
    shard.run(shard.ShardConfig(work=work, workers=1))
    notes = Notes()
    result = finetune.run(shapes.config(work, "report", steps=2), notes)
    assert read_json(result.run / "best" / "config.json", "")["model"]["langs"] == ["en"]
    assert "0 of 8 training images have a report in zh" in notes.notes
    assert any("no validation split" in note for note in notes.notes)
    assert result.best_step == 2


def test_word_pieces_are_learned_kept_and_asked(work: Path, shapes: SimpleNamespace, tmp_path: Path) -> None:
    decoder = {"vocabulary": "wordpiece", "pieces": 150, "width": 32, "depth": 1, "heads": 4, "min_count": 1}
    run = finetune.run(shapes.config(work, "report", out=str(tmp_path / "run"), steps=2, decoder=decoder)).run
    assert read_json(run / "best" / "tokenizer.json", "")["kind"] == "wordpiece"
    image = next((work / "ingest" / "images").rglob("*.png"))
    for lang in ("en", "zh"):
        config = report.ReportConfig(image=image, work=tmp_path, checkpoint=run, lang=lang)
        assert "##" not in report.run(config).text


@pytest.mark.parametrize("kind", ["r2gen", "cmn"])
def test_r2gen_and_cmn_are_trained_kept_and_asked(
    work: Path, shapes: SimpleNamespace, tmp_path: Path, kind: str
) -> None:
    decoder = {"kind": kind, "vocabulary": "r2gen", "width": 32, "depth": 1, "heads": 4, "max_tokens": 20}
    decoder |= {"min_count": 1, "memory": {"rows": 16, "top_k": 4}}
    with pytest.raises(UsageError, match="for English"):
        finetune.run(shapes.config(work, "report", out=str(tmp_path / "both"), steps=2, decoder=decoder))
    config = shapes.config(work, "report", out=str(tmp_path / kind), steps=2, langs=["en"], decoder=decoder)
    run = finetune.run(config).run
    assert read_json(run / "best" / "tokenizer.json", "")["kind"] == "r2gen"
    model = read_json(run / "best" / "config.json", "")["model"]["decoder"]
    assert (model["kind"], model["memory"]["top_k"]) == (kind, 4)
    image = next((work / "ingest" / "images").rglob("*.png"))
    texts = set()
    for search in (SearchConfig(), SearchConfig(cached=False), SearchConfig(beam=1, sample=True)):
        texts.add(
            report.run(report.ReportConfig(image=image, work=tmp_path, checkpoint=run, search=search)).text
        )
    assert len(texts) == 2


def test_an_encoder_given_beside_a_checkpoint_is_noted(work: Path, shapes: SimpleNamespace) -> None:
    for name, encoder, wanted in (("same", shapes.vit, False), ("deep", {**shapes.vit, "depth": 7}, True)):
        notes = Notes()
        finetune.run(shapes.config(work, "classify", init="", steps=1, name=name, encoder=encoder), notes)
        found = [note for note in notes.notes if "the checkpoint decides" in note]
        assert bool(found) is wanted
        assert all("depth 2 (given: 7);" in note and "width" not in note for note in found)


def test_a_finished_run_is_not_touched_and_says_its_scores_again(work: Path, shapes: SimpleNamespace) -> None:
    config = shapes.config(work, "report", steps=4, name="again", validate_every=2)
    first = finetune.run(config)

    def marks() -> list[tuple[str, int, int, int]]:  # without the time of access: reading is allowed
        files = [(path.name, path.stat()) for path in sorted((first.run / "best").iterdir())]
        return [(name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in files]

    before = marks()
    again = finetune.run(config)
    assert marks() == before
    assert again.best_step == first.best_step
    assert again.validation == read_json(first.run / "best.json", "")["metrics"]
    (first.run / "best" / "model.safetensors").unlink()
    finetune.run(config)
    assert (first.run / "best" / "model.safetensors").is_file()


def test_best_of_other_weights_is_written_anew(work: Path, shapes: SimpleNamespace) -> None:
    """The same step of a run that was deleted but for its ``best`` is not taken for this one's."""
    config = shapes.config(work, "classify", steps=1, name="anew")
    finetune.run(config)
    old = load_file(config.folder / "best" / "model.safetensors")
    shutil.rmtree(config.folder / "step-00000001")
    finetune.run(dataclasses.replace(config, seed=1))
    new = load_file(config.folder / "best" / "model.safetensors")
    assert any(not torch.equal(old[name], new[name]) for name in old)


def test_a_batch_of_more_than_all_images_is_refused(work: Path, shapes: SimpleNamespace) -> None:
    with pytest.raises(UsageError, match=r"(?s)batch 17 is more than the 16 training images.*batch=16"):
        finetune.run(shapes.config(work, "classify", batch=17, name="big"))


def test_shards_that_cannot_be_read_are_not_taken_for_no_validation_split(
    work: Path, shapes: SimpleNamespace, tmp_path: Path
) -> None:
    config, notes = shapes.config(work, "classify"), Notes()
    learner = finetune._learner(config, SkipList(), notes)
    with pytest.raises(DataError, match="shard"):
        finetune._validation(dataclasses.replace(config, shards=tmp_path), learner, SkipList(), notes)
    assert notes.notes == []


def test_values_out_of_range_are_refused(shapes: SimpleNamespace, tmp_path: Path) -> None:
    for key, value in (("langs", ["fr"]), ("batch", 0), ("epochs", 0.0), ("name", "a/b")):
        with pytest.raises(UsageError, match=key):
            shapes.config(tmp_path, "report", **{"steps": 0, key: value})


@pytest.mark.usefixtures("forks")
@pytest.mark.slow
def test_processes_whose_images_have_reports_in_other_languages_end_together(
    shapes: SimpleNamespace, tmp_path: Path
) -> None:
    """A step may give one process losses of a language that the other has none of."""
    from xraytk import shard
    from xraytk.data import manifest

    work = shapes.write(tmp_path, {"train": 16, "val": 4})
    rows = [
        {"image_id": f"{i:016x}", "en": "Clear." * (i % 2), "zh": "未见异常。" * (1 - i % 2)}
        for i in range(20)
    ]
    manifest.write_table(work / "ingest" / "reports.parquet", manifest.REPORTS, rows)
    shard.run(shard.ShardConfig(work=work, workers=1))
    config = shapes.config(work, "report", steps=6, batch=2, log_every=1)
    machine = dataclasses.replace(config.machine, gpus=2, micro_batch=1)
    result = finetune.run(dataclasses.replace(config, machine=machine))
    assert result.steps == 6
    lines = [json.loads(line) for line in (result.run / "log.jsonl").read_text().splitlines()]
    assert {part for line in lines for part in line if part.startswith("loss_") or part == "parts"}


def test_broken_samples_are_left_out_when_told_to(shapes, tmp_path):
    work = shapes.write(tmp_path, {"train": 16, "val": 4})
    index = ShardIndex.load(work / "shards")
    for split in ("train", "val"):
        row = int(index.rows(split)[1])
        path = work / "shards" / index.shards[int(index.shard[row])].name
        data = bytearray(path.read_bytes())
        data[int(index.offset[row, 0]) + 170] ^= 1
        path.write_bytes(data)
    few = {"steps": 4, "validate_every": 2}
    with pytest.raises(DataError, match="is broken at image"):
        finetune.run(shapes.config(work, "classify", **few))
    result = finetune.run(shapes.config(work, "classify", data={"skip_bad": True}, **few, resume="auto"))
    assert result.skipped == 2
    assert len((result.run / "skipped.jsonl").read_text().splitlines()) == 2
