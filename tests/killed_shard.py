"""Kills `xraytk shard` at each of its renames, before and after, and lets it go on.

    python killed_shard.py WORK

Prints one line a kill: number of the rename, "before" or "after", whether there was an index
then, and whether the files are those of WORK/whole once it has run again.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from xraytk import shard
from xraytk.errors import DataError
from xraytk.files import sha256_of


def child(config: shard.ShardConfig, number: int, before: bool) -> bool:
    """Run in a fork that dies at its n-th rename; returns whether it died."""
    pid = os.fork()
    if pid == 0:
        rename, count = Path.replace, 0

        def deadly(self: Path, target: Path) -> Path:
            nonlocal count
            count += 1
            if count == number and before:
                os.kill(os.getpid(), signal.SIGKILL)
            made = rename(self, target)
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return made

        Path.replace = deadly  # type: ignore[method-assign]
        shard.run(config)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def tree(folder: Path) -> dict[str, str]:
    """SHA-256 of all files."""
    return {str(p.relative_to(folder)): sha256_of(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def is_whole(work: Path, out: Path) -> bool:
    """Whether there is an index and all is as it says."""
    try:
        shard.run(shard.ShardConfig(work=work, out=out, verify=True))
    except DataError:
        return False
    return True


def main(work: Path) -> None:
    """Print the table."""
    whole, out = work / "whole", work / "killed"
    child(shard.ShardConfig(work=work, out=whole, max_samples=5, workers=1), 0, False)
    wanted = tree(whole)
    number, died = 0, True
    while died:
        number += 1
        for when in ("before", "after"):
            shutil.rmtree(out, ignore_errors=True)
            config = shard.ShardConfig(work=work, out=out, max_samples=5, workers=1)
            died = child(config, number, when == "before")
            if died:
                index = (out / "index.json").exists()
                assert index == is_whole(work, out)
                child(config, 0, False)
                print(number, when, index, tree(out) == wanted)


main(Path(sys.argv[1]))
