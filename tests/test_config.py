from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraytk import config as configs
from xraytk.errors import UsageError
from xraytk.pretrain import PretrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Optim:
    lr: float = 1e-3
    warmup_share: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleConfig:
    source: Path = Path("here")
    out: Path | None = None
    steps: int = 10
    mode: Literal["fast", "exact"] = "fast"
    langs: tuple[str, ...] = ("en", "zh")
    shares: tuple[float, float] = (0.5, 0.5)
    quiet: bool = False
    optim: Optim = field(default_factory=Optim)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UsageError(f"steps must not be negative, found {self.steps}")


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('steps = 20\nmode = "exact"\n[optim]\nlr = 0.5\n')
    made = configs.load(
        SampleConfig, file=file, sets=["steps=30", "optim.lr=1e-4"], flags={"steps": 40, "mode": None}
    )
    assert (made.steps, made.mode, made.optim.lr) == (40, "exact", 1e-4)
    assert made.optim.warmup_share == 0.05


def test_unknown_key_names_the_nearest_and_all_problems_are_shown_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        configs.load(SampleConfig, sets=["stepz=3", "optim.lrr=1", "mode=slow", "quiet=1", "steps=many"])
    text = str(caught.value)
    assert "5 problems" in text
    assert "did you mean steps?" in text
    assert "did you mean optim.lr?" in text
    assert "one of fast, exact" in text
    assert "quiet must be true or false" in text
    assert "steps must be a whole number, found 'many'" in text


def test_a_check_between_fields_is_reported_as_a_problem() -> None:
    with pytest.raises(UsageError, match="steps must not be negative"):
        configs.load(SampleConfig, sets=["steps=-1"])


def test_set_without_equals_sign_is_refused() -> None:
    with pytest.raises(UsageError, match="key=value"):
        configs.load(SampleConfig, sets=["steps"])


def test_text_needs_no_quotes_and_no_is_not_false() -> None:
    made = configs.load(SampleConfig, sets=["source=./a b", 'langs=["no", "zh"]', "options.mask=random"])
    assert made.source == Path("./a b")
    assert made.langs == ("no", "zh")
    assert made.options == {"mask": "random"}


@pytest.mark.parametrize(
    "text", ["shares=[0.1]", "shares=0.1", "optim=3", "out=3", "optim.lr=nan", "optim.lr=inf"]
)
def test_wrong_shapes_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        configs.load(SampleConfig, sets=[text])


@given(
    st.builds(
        SampleConfig,
        steps=st.integers(0, 10**9),
        mode=st.sampled_from(["fast", "exact"]),
        langs=st.lists(st.text(max_size=5), max_size=3).map(tuple),
        quiet=st.booleans(),
        out=st.none() | st.just(Path("x/y")),
        optim=st.builds(Optim, lr=st.floats(0, 1)),
    )
)
def test_toml_reads_back_as_the_same_config(made: SampleConfig) -> None:
    import tomllib

    assert configs.build(SampleConfig, tomllib.loads(configs.to_toml(made))) == made


def test_differences_name_the_dotted_key() -> None:
    old, new = {"a": 1, "optim": {"lr": 1, "x": 2}}, {"a": 1, "optim": {"lr": 3, "x": 2}, "b": 4}
    assert configs.differences(old, new) == ["b: None -> 4", "optim.lr: 1 -> 3"]


def test_missing_or_broken_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        configs.load(SampleConfig, file=tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = 3")
    with pytest.raises(UsageError, match="not TOML"):
        configs.load(SampleConfig, file=tmp_path / "bad.toml")


def test_of_a_presets_options_those_of_the_chosen_objective_count(tmp_path: Path) -> None:
    def options(**more: Any) -> dict[str, Any]:
        return configs.load(PretrainConfig, preset="tiny", **more).options

    assert options() == options(flags={"objective": "mae"})
    assert options()["decoder_width"] == 96
    clip = options(flags={"objective": "clip"}, sets=["options.text.depth=1", "options.mask=random"])
    assert clip == {  # what a user says stands, right or wrong
        "width": 64,
        "mask": "random",
        "text": {"width": 96, "depth": 1, "heads": 4, "max_tokens": 160, "min_count": 1, "dropout": 0.0},
    }
    (tmp_path / "mine.toml").write_text('objective = "mrm"\n[options]\nhidden_words = 0.4\n')
    mine = options(file=tmp_path / "mine.toml")
    assert (mine["hidden_words"], mine["pixels"]["width"]) == (0.4, 96)
    assert options(flags={"objective": "mine:Mine"}) == {}


def test_unknown_preset_lists_what_there_is() -> None:
    with pytest.raises(UsageError, match="no preset 'huge'"):
        configs.read_preset("huge", "pretrain")


def test_resolve_imports_a_name_and_explains_a_wrong_one() -> None:
    assert configs.resolve("xraytk.errors:UsageError") is UsageError
    for wrong in ("xraytk.errors", "xraytk.errors:Nothing", "xraytk.nothing:X"):
        with pytest.raises(UsageError):
            configs.resolve(wrong)
