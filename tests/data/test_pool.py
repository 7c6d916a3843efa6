from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xraytk.data.pool import each
from xraytk.errors import MachineError


def _square(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), 9)
    if number == 99:
        raise MachineError("the disk is full")
    return number * number


def _sleep_while_negative(number: int) -> int:
    if number < 0:
        time.sleep(60)
    return number


def _pid(_: int) -> int:
    return os.getpid()


def test_one_worker_is_this_process() -> None:
    assert list(each(_pid, [1], 1)) == [(1, os.getpid())]


def test_a_killed_worker_costs_one_item() -> None:
    items = [1, 2, -3, 4, 5, 6, 7, 8]
    assert dict(each(_square, items, 2)) == {n: (None if n < 0 else n * n) for n in items}


def test_an_item_that_never_ends_costs_its_time_only() -> None:
    items = [1, -2, 3, 4]
    made = dict(each(_sleep_while_negative, items, 2, limit_s=0.7, late=99))
    assert made == {1: 1, -2: 99, 3: 3, 4: 4}


def test_a_crash_is_not_called_late() -> None:
    assert list(each(_square, [-3], 2, late=99)) == [(-3, None)]


def test_workers_that_start_are_deaf_to_interrupts(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text(
        "import os, time\nfrom pathlib import Path\n"
        "if __name__ != '__main__':\n"
        f"    Path({str(tmp_path)!r}, 'started').touch()\n    time.sleep(4)\n"
        "from xraytk.data.pool import each\n"
        "if __name__ == '__main__':\n"
        "    try:\n        list(each(abs, range(100), 2))\n"
        "    except KeyboardInterrupt:\n        print('stopped')\n"
    )
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells let jobs ignore it
    )  # fmt: skip
    for _ in range(2400):
        if (tmp_path / "started").exists():
            break
        _sleep()
    os.killpg(parent.pid, signal.SIGINT)
    told = parent.communicate(timeout=60)
    assert (parent.returncode, *told) == (0, b"stopped\n", b"")


def test_interrupts_are_heard_again_after_the_start() -> None:
    list(each(abs, [1], 2))
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_items_are_taken_as_they_are_needed() -> None:
    taken = []
    made = each(_square, (taken.append(n) or n for n in range(100, 200)), 2)  # type: ignore[func-returns-value]
    next(made)
    made.close()
    assert len(taken) <= 8


def test_an_error_of_the_whole_batch_ends_it() -> None:
    with pytest.raises(MachineError, match="disk is full"):
        list(each(_square, [1, 99, 2], 2))


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text("from xraytk.data.pool import each\nimport os\nprint(list(each(abs, [-1], 2)))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "if __name__ == '__main__':" in done.stderr.splitlines()[-2]


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text(
        "import os, time\nfrom xraytk.data.pool import each\n"
        "def work(n):\n"
        f"    open({str(tmp_path)!r} + f'/{{os.getpid()}}', 'w').close()\n"
        "    time.sleep(30)\n"
        "if __name__ == '__main__':\n    list(each(work, [1, 2], 2))\n"
    )
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pids: list[int] = []
    for _ in range(400):
        pids = [int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()]
        if len(pids) == 2:
            break
        _sleep()
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    for _ in range(200):
        if not any(_alive(pid) for pid in pids):
            return
        _sleep()
    pytest.fail("workers outlived their parent")


def _alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return ") Z " not in status


def _sleep() -> None:
    time.sleep(0.05)


def _takes(gigabytes: float) -> str:
    try:
        return f"{len(bytearray(int(gigabytes * 2**30))) >> 20} MB"
    except MemoryError:
        return "too much"


def test_an_item_that_wants_too_much_memory_gets_none() -> None:
    made = dict(each(_takes, [0.1, 3.0, 0.2], 1, apart=True, memory_gb=1.0))
    assert made == {0.1: "102 MB", 3.0: "too much", 0.2: "204 MB"}


def test_one_worker_apart_is_another_process() -> None:
    ((_, pid),) = each(_pid, [1], 1, apart=True)
    assert pid != os.getpid()
