"""The same ingest on a Ray cluster that loses a node on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xraytk import ingest
from xraytk.data import synthetic
from xraytk.ingest import IngestConfig
from xraytk.progress import Silent

ray = pytest.importorskip("ray", reason="needs the extra: pip install 'xraytk[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def content(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


class Losing(Silent):
    """Takes a node away when five files are done."""

    def __init__(self, cluster: Any, node: Any) -> None:
        self.cluster, self.node = cluster, node

    def task(self, name: str, total: int | None, unit: str = "images") -> Any:
        task = super().task(name, total, unit)

        def update(done: int, **facts: object) -> None:
            if name == "ingest" and done == 5 and self.node is not None:
                self.cluster.remove_node(self.node)
                self.node = None

        task.update = update  # type: ignore[method-assign]
        return task


def test_a_lost_node_changes_nothing(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    archive = synthetic.write_archive(tmp_path / "phantoms", patients=12, seed=5, size_px=160, workers=1)
    settings: dict[str, Any] = {"source": archive.folder, "key": tmp_path / "key", "max_px": 96}
    ingest.run(IngestConfig(**settings, out=tmp_path / "local", workers=-1))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        node = cluster.add_node(num_cpus=1)
        progress = Losing(cluster, node)
        config = IngestConfig(**settings, out=tmp_path / "cluster", engine="ray", address=cluster.address)
        ingest.run(config, progress)
        assert progress.node is None
    finally:
        cluster.shutdown()
    assert content(tmp_path / "cluster") == content(tmp_path / "local")
