"""`xraytk` commands in children of one process that has imported the heavy packages already.

A new process spends 5 to 12 s on importing torch, timm, transformers and the verbs, fifty times over
in the tests of the whole road. Here one process imports them once and forks for every command; what
runs in the child is ``python -m xraytk``. `Preloaded.shim` is an executable ``xraytk`` for scripts.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HEAVY = (
    "torch",
    "timm.models.vision_transformer",
    "transformers.generation",
    "scipy.stats",
    "pydicom",
    "cv2",
    "matplotlib.pyplot",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "xraytk.demo",  # most verbs
    "xraytk.curate",
    "xraytk.embed",
    "xraytk.export",
    "xraytk.plan",
    "xraytk.wrap",
)


class Preloaded:
    """The process, started with the first command.

    Args:
        folder: For its socket and shim.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = folder / "socket"
        self.server: subprocess.Popen[str] | None = None

    def __call__(
        self, *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``xraytk WORDS``, or Python code with the words ``-c CODE``."""
        self.start()
        given = [str(word) for word in words]
        said = ask(str(self.place), given, str(cwd or Path.cwd()), dict(os.environ if env is None else env))
        return subprocess.CompletedProcess(given, *said)

    def script(self, path: Path, *words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``python PATH WORDS``."""
        given = [str(path), *map(str, words)]
        code = (
            f"import runpy, sys; sys.argv = {given!r}; sys.path.insert(0, {str(path.parent)!r}); "
            "runpy.run_path(sys.argv[0], run_name='__main__')"
        )
        return self("-c", code, cwd=cwd)

    def start(self) -> None:
        """Start the process and wait until it listens."""
        if self.server is None:
            command = [sys.executable, __file__, str(self.place)]
            self.server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert self.server.stdout is not None
            assert self.server.stdout.readline() == "ready\n"

    def shim(self) -> Path:
        """A folder for PATH with an ``xraytk`` that asks the process."""
        self.start()
        path = self.folder / "bin" / "xraytk"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{__file__}" --ask "{self.place}" "$@"\n')
        path.chmod(0o755)
        return path.parent

    def close(self) -> None:
        """End the process."""
        if self.server is not None:
            self.server.terminate()
            self.server.wait()
            assert self.server.stdout is not None
            self.server.stdout.close()


def ask(place: str, words: Sequence[str], cwd: str, env: Mapping[str, str]) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of one command."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(place)
        with line.makefile("rw", encoding="utf-8") as stream:
            stream.write(json.dumps({"words": words, "cwd": cwd, "env": dict(env)}) + "\n")
            stream.flush()
            code, out, err = json.loads(stream.readline())
    return code, out, err


def serve(place: str) -> None:
    """Import, listen, and fork for each command, one after the other."""
    sys.path[0] = str(Path(__file__).parents[1])
    for name in HEAVY:
        __import__(name)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(place)
        door.listen()
        print("ready", flush=True)
        while True:
            line, _ = door.accept()
            with line, line.makefile("rw", encoding="utf-8") as stream:
                stream.write(json.dumps(in_child(json.loads(stream.readline()))) + "\n")


def in_child(asked: dict[str, Any]) -> tuple[int, str, str]:
    """Fork, run the command, and say what it said."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os._exit(command(asked))
        _, status = os.waitpid(child, 0)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode())
    return os.waitstatus_to_exitcode(status), texts[0], texts[1]


def command(asked: dict[str, Any]) -> int:
    """``python -m xraytk WORDS``, or ``python -W ignore -c CODE``, in this process; its exit status."""
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["xraytk", *asked["words"]]
    try:
        if asked["words"][:1] == ["-c"]:
            warnings.simplefilter("ignore")
            exec(asked["words"][1], {"__name__": "__main__"})
        else:
            runpy.run_module("xraytk", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    if sys.argv[1] == "--ask":
        code, out, err = ask(sys.argv[2], sys.argv[3:], str(Path.cwd()), os.environ)
        sys.stdout.write(out)
        sys.stderr.write(err)
        sys.exit(code)
    serve(sys.argv[1])
