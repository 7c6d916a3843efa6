from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from xraytk import curate, embed
from xraytk.data import synthetic
from xraytk.data.embeddings import read_embeddings
from xraytk.errors import DataError, UsageError
from xraytk.models.features import features
from xraytk.models.pretrained import find_trained
from xraytk.models.vit import Vit, VitConfig
from xraytk.progress import Silent
from xraytk.train.launch import MachineConfig

ONE = MachineConfig(device="cpu", workers=1)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, shapes: SimpleNamespace) -> Path:
    """A workspace of 300 pictures with shards, and an encoder as a file."""
    work: Path = shapes.write(tmp_path_factory.mktemp("embed"), {"train": 290, "val": 6, "test": 4})
    torch.manual_seed(0)
    encoder = Vit(VitConfig(**shapes.vit))
    tensors = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    header = {"xraytk.encoder": json.dumps(shapes.vit), "xraytk.encoder_prefix": "encoder."}
    save_file(tensors, work / "encoder.safetensors", header)
    return work


def config(at: Path, out: Path, **more: object) -> embed.EmbedConfig:
    given = {"work": at, "checkpoint": at / "encoder.safetensors", "out": out, "machine": ONE, **more}
    return embed.EmbedConfig(**given)  # type: ignore[arg-type]


class StopAfter(Silent):
    """Ends the run with Ctrl-C after so many images."""

    def __init__(self, images: int) -> None:
        self._images = images

    def task(self, name: str, total: int | None, unit: str = "images"):  # type: ignore[no-untyped-def]
        return _Stop(self._images)


class _Stop:
    def __init__(self, images: int) -> None:
        self._images = images

    def __enter__(self) -> _Stop:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def update(self, done: int, **facts: object) -> None:
        if done >= self._images:
            raise KeyboardInterrupt


def test_the_table_has_every_image_with_its_facts_and_what_made_it(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.parquet"
    result = embed.run(config(work, out))
    assert (result.images, result.width, result.source, result.rejected) == (300, 32, "ingest", {})
    table = pq.read_table(out)
    assert table.column_names == ["image_id", "patient_hash", "split", "view", "embedding"]
    assert str(table.schema.field("embedding").type).startswith("fixed_size_list<")
    assert table["split"].to_pylist().count("train") == 290
    facts = table.schema.metadata
    assert facts[b"xraytk.pool"] == b"mean"
    assert (
        facts[b"xraytk.checkpoint_sha256"].decode()
        == find_trained(work / "encoder.safetensors", work).sha256()
    )
    assert json.loads(facts[b"xraytk.preprocessing"])["fit"] == "letterbox"
    assert str(tmp_path) not in str(facts)


def test_vectors_are_those_of_the_encoder_alone(work: Path, tmp_path: Path) -> None:
    from xraytk.data import augment, pictures

    embed.run(config(work, tmp_path / "e.parquet", pool="both"))
    table = pq.read_table(tmp_path / "e.parquet")
    encoder = find_trained(work / "encoder.safetensors", work).load()
    name = table["image_id"][17].as_py()
    picture = pictures.to_8bit(pictures.read_png(work / "ingest" / "images" / name[:2] / f"{name}.png"))
    image, valid = augment.place(picture, 32, "letterbox")
    wanted = features(encoder, torch.from_numpy(image)[None, None], torch.from_numpy(valid)[None], "both")
    np.testing.assert_allclose(table["embedding"][17].as_py(), wanted[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("source", ["ingest", "shards"])
def test_a_run_that_was_stopped_ends_with_the_same_bytes(work: Path, tmp_path: Path, source: str) -> None:
    given = {"source": str(work / source), "batch": 24}
    whole = embed.run(config(work, tmp_path / "whole.parquet", **given))
    out = tmp_path / "stopped.parquet"
    with pytest.raises(KeyboardInterrupt):
        embed.run(config(work, out, **given), StopAfter(290))
    assert not out.exists()
    machine = MachineConfig(device="cpu", workers=2)
    done = embed.run(config(work, out, **{**given, "machine": machine}))
    assert done.resumed == 264
    assert (done.source, done.images) == (source, whole.images)
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped.parquet", "whole.parquet"]
    assert embed.run(config(work, out, **given)).resumed == 300


def test_ingest_and_shards_give_the_same_vectors(work: Path, tmp_path: Path) -> None:
    tables = []
    for source in ("ingest", "shards"):
        embed.run(config(work, tmp_path / f"{source}.parquet", source=str(work / source)))
        tables.append(pq.read_table(tmp_path / f"{source}.parquet").sort_by("image_id"))
    one, other = (np.array(table["embedding"].to_pylist()) for table in tables)
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert tables[0].drop_columns(["embedding"]).equals(tables[1].drop_columns(["embedding"]))


def test_a_broken_image_is_listed_and_the_rest_goes_on(
    tmp_path: Path, work: Path, shapes: SimpleNamespace
) -> None:
    other = shapes.write(tmp_path / "w", {"train": 6})
    images = sorted((other / "ingest" / "images").rglob("*.png"))
    images[1].write_bytes(b"no picture")
    images[2].unlink()
    out = tmp_path / "e.parquet"
    result = embed.run(config(work, out, source=str(other / "ingest")))
    assert (result.images, result.rejected) == (4, {"image-broken": 1, "image-missing": 1})
    rows = pq.read_table(tmp_path / "e-rejected.parquet").to_pylist()
    assert [(row["place"], row["image_id"]) for row in rows] == [(1, images[1].stem), (2, images[2].stem)]
    for image in images:
        image.unlink(missing_ok=True)
    with pytest.raises(DataError, match="none of 6 images"):
        embed.run(config(work, tmp_path / "f.parquet", source=str(other / "ingest")))


def test_a_broken_sample_of_shards_is_listed(tmp_path: Path, work: Path, shapes: SimpleNamespace) -> None:
    other = shapes.write(tmp_path / "w", {"train": 6, "val": 2})
    shutil.rmtree(other / "ingest")
    tar = other / "shards" / "val-000000.tar"
    data = bytearray(tar.read_bytes())
    data[512:540] = b"x" * 28
    tar.write_bytes(bytes(data))
    result = embed.run(config(other, tmp_path / "e.parquet", checkpoint=work / "encoder.safetensors"))
    assert (result.source, result.images, result.rejected) == ("shards", 7, {"broken-sample": 1})


def test_files_are_named_by_their_content_and_nothing_of_a_patient_is_written(
    work: Path, tmp_path: Path
) -> None:
    import hashlib

    archive = synthetic.write_archive(tmp_path / "Mueller^Anna", patients=3, seed=1, size_px=96, workers=1)
    files = sorted(p for p in archive.folder.rglob("*") if p.is_file())
    (archive.folder / "again.dcm").write_bytes(files[0].read_bytes())
    (archive.folder / "notes.txt").write_text("Mueller")
    out = tmp_path / "e.parquet"
    result = embed.run(config(work, out, source=str(archive.folder)))
    table = pq.read_table(out)
    names = {hashlib.sha256(p.read_bytes()).hexdigest()[:16] for p in files}
    assert set(table["image_id"].to_pylist()) <= names
    assert result.images + sum(result.rejected.values()) == len(files) + 2
    assert result.rejected["not-dicom"] >= 1
    assert result.rejected["same-file"] == 1
    assert set(table["patient_hash"].to_pylist()) == {""}
    for path in (out, tmp_path / "e-rejected.parquet"):
        whole = path.read_bytes()
        assert b"Mueller" not in whole
        assert str(tmp_path).encode() not in whole


def test_curate_reads_the_table(work: Path, tmp_path: Path) -> None:
    embed.run(config(work, tmp_path / "e.parquet"))
    rows, found = read_embeddings(tmp_path / "e.parquet", pq.read_table(tmp_path / "e.parquet")["image_id"])
    assert found.all()
    assert rows.shape == (300, 32)
    settings = curate.CurateConfig(
        work=work, out=tmp_path / "c", embeddings=tmp_path / "e.parquet", duplicates="keep", prototypes=4
    )
    assert curate.run(settings).numbers == "embeddings"


def test_wrong_input_is_refused(work: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.parquet"):
        embed.EmbedConfig(out=Path("table.csv"))
    with pytest.raises(UsageError, match="is a workspace"):
        embed.run(config(work, tmp_path / "e.parquet", source=str(work)))
    with pytest.raises(DataError, match="neither an ingest folder nor shards"):
        embed.run(config(tmp_path, tmp_path / "e.parquet", checkpoint=work / "encoder.safetensors"))
    with pytest.raises(DataError, match="does not exist") as caught:
        embed.run(config(work, tmp_path / "e.parquet", source=str(tmp_path / "Mueller")))
    assert "Mueller" not in str(caught.value)
