"""Ingest from and to object storage, on a local S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xraytk import ingest
from xraytk.data import synthetic
from xraytk.ingest import IngestConfig
from xraytk.progress import Silent

moto = pytest.importorskip("moto.server", reason="needs a local S3 server: pip install 'moto[server]' s3fs")
pytest.importorskip("s3fs", reason="needs the extra: pip install 'xraytk[s3]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import fsspec

    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").mkdir("archive")
    yield "s3://archive"
    server.stop()


def content(out: str) -> dict[str, bytes]:
    import fsspec

    system, root = fsspec.url_to_fs(out)
    system.invalidate_cache()
    return {path[len(root) + 1 :]: system.cat_file(path) for path in sorted(system.find(root))}


class Stopping(Silent):
    def task(self, name: str, total: int | None, unit: str = "images") -> Any:
        task = super().task(name, total, unit)

        def update(done: int, **facts: object) -> None:
            if name == "ingest" and done == 7:
                raise KeyboardInterrupt

        task.update = update  # type: ignore[method-assign]
        return task


def test_object_storage_gives_what_a_folder_gives(bucket: str, tmp_path: Path) -> None:
    import fsspec

    archive = synthetic.write_archive(tmp_path / "phantoms", patients=8, seed=5, size_px=160, workers=1)
    settings: dict[str, Any] = {"key": tmp_path / "key", "max_px": 96}
    local = tmp_path / "local"
    ingest.run(IngestConfig(**settings, source=archive.folder, out=local, workers=-1))
    fsspec.filesystem("s3").put(str(archive.folder), f"{bucket}/dicom", recursive=True)

    remote = IngestConfig(
        **settings, source=f"{bucket}/dicom", out=f"{bucket}/out", work=tmp_path / "work", workers=1
    )
    with pytest.raises(KeyboardInterrupt):
        ingest.run(remote, Stopping())
    result = ingest.run(remote)
    assert result.out == f"{bucket}/out"
    made = content(f"{bucket}/out")
    wanted = {k: v for k, v in content(str(local)).items() if k != "journal.sqlite"}
    assert made.keys() == wanted.keys()
    same = {k for k in made if made[k] == wanted[k]}
    assert {k for k in made if k.startswith("images/")} <= same
    assert made["contact-sheet.png"] == wanted["contact-sheet.png"]
    again = ingest.run(remote)
    assert (again.images, again.rejected) == (result.images, result.rejected)
    assert content(f"{bucket}/out") == made
