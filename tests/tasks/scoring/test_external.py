from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import pytest

from xraytk.errors import UsageError
from xraytk.tasks.scoring import external

HYPS, REFS, PEOPLE = ["a", "b"], ["a", "c"], ["p", "q"]


def same(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
    return {"same": [float(h == r) for h, r in zip(hypotheses, references, strict=True)]}


def broken(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
    raise RuntimeError(f"Doe^Jane {hypotheses}")


def run(name: str) -> dict[str, external.Value]:
    return external.score([name], HYPS, REFS, PEOPLE, resamples=50, seed=0)


def test_a_function_of_ones_own_is_averaged_with_an_interval() -> None:
    found = run(f"{__name__}:same")["same"]
    assert (found.value, found.low, found.high) == (0.5, 0, 1)


def talkative(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
    print("42 %")
    return same(hypotheses, references)


def test_what_a_package_prints_is_kept_out_of_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    run(f"{__name__}:talkative")
    assert capsys.readouterr().out == ""


def test_every_pair_of_radeval_counts() -> None:
    if not importlib.util.find_spec("radeval"):
        pytest.skip("needs the package radeval")
    found = run("radeval:rouge")
    assert 0 < found["radeval rougeL"].value < 1


def test_a_failure_is_absent_and_says_no_text() -> None:
    (found,) = run(f"{__name__}:broken").values()
    assert "RuntimeError" in found.reason
    assert "Doe" not in found.reason


@pytest.mark.parametrize("name", ["radgraph", "green", "radeval:ratescore"])
def test_packages_that_are_not_there_are_absent_with_what_to_install(name: str) -> None:
    if importlib.util.find_spec(external.KNOWN[name].module):
        pytest.skip("it is installed")
    found = run(name)[name]
    assert found.reason.startswith("absent: no package")
    assert "pip install" in found.reason


def test_chexbert_that_is_not_there_says_what_to_install() -> None:
    if importlib.util.find_spec("f1chexbert"):
        pytest.skip("it is installed")
    found = external.chexbert(["a"])
    assert isinstance(found, str)
    assert "pip install f1chexbert" in found


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UsageError, match=r"radgraph, green, radeval:bertscore.*chexbert"):
        run("bleurt")
    with pytest.raises(UsageError, match="there is no score"):
        run("radeval:crimson")  # it would send reports to a server
    with pytest.raises(UsageError, match="cannot import"):
        run("nowhere:at_all")
