from __future__ import annotations

import importlib.resources
import json
import tomllib
from dataclasses import replace
from typing import Any

import pytest
import torch

from xraytk import config as configs
from xraytk import plan
from xraytk.data.augment import AugmentConfig
from xraytk.errors import UsageError
from xraytk.finetune import FinetuneConfig
from xraytk.models.vit import Vit
from xraytk.objectives import OBJECTIVES
from xraytk.objectives.mae import MaeObjective
from xraytk.plan import PlanConfig
from xraytk.pretrain import PretrainConfig, make_objective, resolved

FOLDER = importlib.resources.files("xraytk.presets")
NAMES = sorted(p.name[:-5] for p in FOLDER.iterdir() if p.name.endswith(".toml"))
DOWNSTREAM = ("r2gen", "r2gen-cmn")  # for finetune alone
SIZED = ["paper", "recommended", "vit-s", "vit-b", "vit-l"]
IMAGE_ONLY = [
    name for name in NAMES if name not in ("clip", "maco", "mrm", "m3ae", *DOWNSTREAM)
]  # those read reports


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def by_hand(width: int, depth: int) -> int:
    """Blocks of 12 D^2 + 13 D, projection of 4096 pixels, class token, last norm."""
    return depth * (12 * width**2 + 13 * width) + 4096 * width + width + 3 * width


@pytest.mark.parametrize("name", NAMES)
def test_every_table_of_a_preset_is_a_config(name: str) -> None:
    kinds: dict[str, type] = {"pretrain": PretrainConfig, "finetune": FinetuneConfig, "plan": PlanConfig}
    tables = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    assert ("finetune" if name in DOWNSTREAM else "pretrain") in tables
    assert set(tables) <= set(kinds)
    for verb in tables:
        configs.load(kinds[verb], preset=name)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in DOWNSTREAM])
def test_options_of_a_preset_stand_under_the_name_of_their_objective(name: str) -> None:
    tables = configs.read_preset(name, "pretrain")
    assert tables.get("objective", "mae") in tables["options"]
    for objective, options in tables["options"].items():
        configs.build(configs.resolve(OBJECTIVES[objective]).options, options, "options.")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_can_be_tried_tiny(objective: str) -> None:
    config = configs.load(PretrainConfig, preset="tiny", flags={"objective": objective})
    made = resolved(config)
    assert {"mask", "text"} & made.options.keys()  # also what nobody has given
    assert resolved(made) == made
    wrong = configs.load(
        PretrainConfig, preset="tiny", flags={"objective": objective}, sets=["options.maks=1"]
    )
    with pytest.raises(UsageError, match=r"unknown key options\.maks"):
        resolved(wrong)


@pytest.mark.parametrize("name", IMAGE_ONLY)
def test_a_preset_builds_without_memory(name: str) -> None:
    with torch.device("meta"):
        made = make_objective(configs.load(PretrainConfig, preset=name))
    assert isinstance(made, MaeObjective)
    assert parameters(made.encoder) < 310e6


@pytest.mark.parametrize(
    ("name", "shape", "millions", "projection"),
    [
        ("vit-s", (384, 12, 6), 22.9, 0.069),
        ("vit-b", (768, 12, 12), 88.2, 0.036),
        ("vit-l", (1024, 24, 16), 306.5, 0.014),
        ("recommended", (1024, 24, 16), 306.5, 0.014),
        ("paper", (1024, 24, 16), 306.5, 0.014),
    ],
)
def test_encoders_have_the_parameters_that_their_comments_say(
    name: str, shape: tuple[int, int, int], millions: float, projection: float
) -> None:
    vit = configs.load(PretrainConfig, preset=name).vit
    assert (vit.width, vit.depth, vit.heads) == shape
    assert (vit.size, vit.patch_px, vit.grid) == ((1280, 1280), 64, (20, 20))
    with torch.device("meta"):
        encoder = Vit(vit)
    count = parameters(encoder)
    assert count == by_hand(shape[0], shape[1])
    assert round(count / 1e6, 1) == millions
    assert round(parameters(encoder.project) / count, 3) == projection
    assert f"{millions} M" in (FOLDER / f"{name}.toml").read_text(encoding="utf-8")


def test_vit_l_on_small_patches_of_colour_has_its_known_303_million() -> None:
    vit = replace(configs.load(PretrainConfig, preset="paper").vit, patch_px=16, image_px=224, channels=3)
    with torch.device("meta"):
        assert round(parameters(Vit(vit)) / 1e6) == 303


@pytest.mark.parametrize("name", ["recommended", "vit-s", "vit-b", "vit-l"])
def test_the_recipe_is_the_recommended_one(name: str) -> None:
    made = configs.load(PretrainConfig, preset=name)
    assert (made.batch, made.epochs, made.objective) == (1024, 83, "mae")
    assert (made.data.fit, made.data.crop_scale, made.data.rotate_deg, made.data.flip) == (
        ("letterbox", (0.5, 1.0), 5.0, 0.0)
    )
    optim = made.optim
    assert (optim.beta1, optim.beta2, optim.weight_decay) == (0.9, 0.95, 0.05)
    assert (optim.warmup_share, optim.clip, optim.lr) == (0.05, 1.0, 6e-4)
    options = made.options
    assert (options["mask"], options["inside"], options["outside"]) == ("contour", 0.95, 0.85)
    assert options["norm_pix"] is True


def test_recommended_is_vit_l_today() -> None:
    kinds: tuple[type, ...] = (PretrainConfig, FinetuneConfig, PlanConfig)
    for kind in kinds:
        assert configs.load(kind, preset="recommended") == configs.load(kind, preset="vit-l")


def test_the_paper_has_no_augmentation_and_the_pixels_as_they_are() -> None:
    paper = configs.load(PretrainConfig, preset="paper")
    assert not paper.data.moves
    nothing = AugmentConfig()
    assert all(
        getattr(paper.data, n) == getattr(nothing, n) for n in ("brightness", "contrast", "gamma", "flip")
    )
    assert paper.options["norm_pix"] is False


@pytest.mark.parametrize("name", SIZED)
def test_finetuning_and_planning_are_for_the_encoder_that_is_pretrained(name: str) -> None:
    made = configs.load(PretrainConfig, preset=name)
    assert configs.load(FinetuneConfig, preset=name).encoder == made.vit
    model = configs.load(PlanConfig, preset=name).model
    assert (model.image_px, model.patch_px) == (made.vit.image_px, made.vit.patch_px)
    assert (model.width, model.depth) == (made.vit.width, made.vit.depth)
    assert (model.decoder_width, model.decoder_depth) == (
        (made.options["decoder_width"], made.options["decoder_depth"])
    )
    assert model.visible == 46


class Own(MaeObjective):
    """An objective of one's own, with the options of another."""


def test_an_objective_of_ones_own_has_the_options_of_the_one_it_is_made_of() -> None:
    own = configs.load(PretrainConfig, preset="tiny", flags={"objective": f"{__name__}:Own"})
    assert own.options == configs.load(PretrainConfig, preset="tiny").options


@pytest.mark.parametrize(
    ("name", "gflop", "hours"),
    [
        ("paper", 53.3, 3.9),
        ("recommended", 53.3, 3.9),
        ("vit-l", 53.3, 3.9),
        ("vit-b", 32.7, 2.4),
        ("vit-s", 9.4, 0.7),
    ],
)
def test_a_plan_says_what_the_comment_does(name: str, gflop: float, hours: float, tmp_path: Any) -> None:
    given = {"images": 1_053_791, "work": str(tmp_path), "cores": 512, "disk_mb_s": 2e4}
    made = plan.run(configs.load(PlanConfig, preset=name, flags=given))
    assert round(made.gflop_forward, 1) == gflop
    assert round(made.hours, 1) == hours
    json.dumps(made.lines())


def test_medical_mae_finetunes_as_its_authors_do() -> None:
    made = configs.load(FinetuneConfig, preset="medical-mae", flags={"task": "classify"})
    assert (made.epochs, made.drop_path, made.data["randaug"]) == (75, 0.2, 6.0)
    assert (made.optim.layer_decay, made.optim.weight_decay, made.optim.min_lr) == (0.55, 0.05, 1e-5)
    assert made.optim.lr == 2.5e-4 * made.batch / 256
    assert (made.head.kind, made.head.weight) == ("linear", "none")
    assert made.encoder == configs.load(PretrainConfig, preset="medical-mae").vit
