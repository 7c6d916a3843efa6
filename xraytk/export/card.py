"""The README.md of an exported encoder: what it is, how images must be made, how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xraytk
from xraytk.models.pretrained import Trained
from xraytk.records import RESEARCH_NOTICE
from xraytk.train.watch import public

TAGS = ("chest-x-ray", "radiology", "medical", "vision-transformer", "image-feature-extraction", "xraytk")
_TOLD = ("batch", "steps", "epochs", "seed", "task")
_TABLES = ("options", "optim", "head")
_TRANSFORMS = ("crop_scale", "rotate_deg", "shift", "zoom", "shear_deg", "brightness", "contrast", "flip")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a card is made of.

    Args:
        trained: The encoder.
        run: Of `pretrained.run_facts`.
        parameters: Numbers that were trained, of the encoder.
        sha256: Of the checkpoint's weights.
        formats: "timm", "transformers", or both.
        differences: Largest difference of a token by format; empty when nothing was compared.
        licence: As the user gives it; "" for none yet.
        about: What the images are, in the user's words; "" for nothing.
    """

    trained: Trained
    run: Mapping[str, Any]
    parameters: int
    sha256: str
    formats: Sequence[str]
    differences: Mapping[str, float]
    licence: str
    about: str


def card(facts: Facts) -> str:
    """Write the card: Markdown with the header that model hubs read, without paths and names of runs."""
    height, width = facts.trained.config.size
    parts = [
        _header(facts),
        f"# Encoder for chest radiographs, {width} × {height} pixels\n",
        "A vision transformer that turns a chest radiograph into tokens: a class token, then one for each "
        f"patch. Made with xraytk {xraytk.__version__}.\n",
        f"**{RESEARCH_NOTICE['en']}**\n\n**{RESEARCH_NOTICE['zh']}**\n",
        "## Shape\n",
        _table(_shape(facts)),
        "## Training\n",
        *([f"{_line(facts.about)}\n"] if facts.about else []),
        _table(training(facts.run)) or "Nothing is known but the weights.\n",
        "## Images\n",
        _images(facts.trained),
        "## Loading\n",
        *(_LOADING[name] for name in facts.formats),
        _XRAYTK,
        _compared(facts.differences),
        "## Limits\n",
        _LIMITS,
    ]
    return "\n".join(parts)


def _header(facts: Facts) -> str:
    lines = ["---"]
    if facts.licence:
        lines += [f"license: {facts.licence}"]
    else:
        lines += [
            "license: other",
            "license_name: to-be-filled-in  # the licence that you give these weights",
        ]
    library = "transformers" if facts.formats == ["transformers"] else "timm"
    lines += [f"library_name: {library}", "pipeline_tag: image-feature-extraction", "tags:"]
    lines += [f"- {name}" for name in (*TAGS, *facts.formats)]
    return "\n".join([*lines, "---\n"])


def _shape(facts: Facts) -> dict[str, Any]:
    config = facts.trained.config
    height, width = config.size
    rows, cols = height // config.patch_px, width // config.patch_px
    return {
        "image": f"{height} × {width} pixels (rows × columns), {config.channels} "
        f"channel{'s' * (config.channels > 1)}",
        "patch": f"{config.patch_px} pixels, {rows} × {cols} = {rows * cols} patches",
        "width, depth, heads": f"{config.width}, {config.depth}, {config.heads}",
        "parameters": f"{facts.parameters / 1e6:.1f} M",
        "weights": "moving average (EMA) of the training's" if facts.trained.ema else "as trained",
        "SHA-256 of the checkpoint": facts.sha256,
    }


def training(run: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a training for a card, without paths."""
    config = public(run.get("config", {}))
    out: dict[str, Any] = {}
    if "objective" in config:
        out["objective"] = config["objective"]
    unused = {"epochs"} if config.get("steps") else set()
    out |= {key: config[key] for key in _TOLD if config.get(key) and key not in unused}
    if "images" in run:
        out["training images"] = f"{run['images']:,}"
    if run.get("step") is not None:
        out["updates when written"] = f"{run['step']:,}"
    if "images" in run and config.get("batch") and run.get("step") is not None:
        out["passes over the images"] = f"{run['step'] * config['batch'] / max(1, run['images']):.1f}"
    for key, name in (("loss_first", "first logged loss"), ("loss_last", "last logged loss")):
        if isinstance(run.get(key), float):
            out[name] = f"{run[key]:.4g}"
    for table in _TABLES:
        flat = _flat(config.get(table, {}))
        out |= {f"{table}.{key}": value for key, value in flat.items()}
    data = config.get("data", {})
    out |= {f"data.{key}": data[key] for key in _TRANSFORMS if data.get(key)}
    return out


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {}
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def _table(rows: Mapping[str, Any]) -> str:
    if not rows:
        return ""
    lines = [f"| {_line(str(key))} | {_line(str(value))} |" for key, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines, ""])


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _images(trained: Trained) -> str:
    height, width = trained.config.size
    fit = {
        "letterbox": f"Shrink the image, proportions kept, until it fits into {height} rows and {width} "
        "columns (mean of areas, OpenCV's INTER_AREA); centre it and fill the rest with 0 (an odd pixel goes "
        "below or to the right). xraytk lets no token attend to patches that are nothing but this "
        "filling; timm and transformers do unless they are given a mask, so that the tokens of letterboxed "
        "images differ a little between them.",
        "stretch": f"Resize to {height} rows and {width} columns (mean of areas, OpenCV's INTER_AREA), "
        "proportions not kept.",
    }[trained.fit]
    channels = "" if trained.config.channels == 1 else " Repeat the grey channel three times."
    return (
        "1. Grey in the sense of MONOCHROME2: air dark, bone bright; modality LUT and window applied (or, "
        "without a window, the 0.5th to 99.5th percentile of the exposed part), 8 bits, long side at most "
        "1280 pixels.\n"
        f"2. {fit}\n"
        f"3. Grey levels 0 to 255 to [-1, 1]: `x / 127.5 - 1`.{channels}\n\n"
        "`xraytk ingest` and `xraytk embed` do all of this from DICOM.\n"
    )


def _compared(differences: Mapping[str, float]) -> str:
    if not differences:
        return ""
    said = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
    return (
        f"Largest difference to xraytk's own tokens on a synthetic phantom when this was written: {said}.\n"
    )


_LOADING = {
    "timm": """```python
import timm

model = timm.create_model("local-dir:timm", pretrained=True).eval()  # the folder beside this file
tokens = model.forward_features(image)  # (B, 1 + N, D), class token first
vector = model(image)  # (B, D), mean of the patches
```
""",
    "transformers": """```python
from transformers import AutoModel

model = AutoModel.from_pretrained("transformers").eval()  # the folder beside this file
tokens = model(image).last_hidden_state  # (B, 1 + N, D), class token first
```

The pooler is the identity: `pooler_output` is the class token. The image processor scales greys and does not
resize.
""",
}
_XRAYTK = """With xraytk: `xraytk finetune classify --init encoder.safetensors`, or
`xraytk embed FOLDER --checkpoint encoder.safetensors`; the folder of this file can be named instead.
"""
_LIMITS = """- Trained on the images that are named above, and on nothing else: other devices, countries,
  ages and diseases may look different to it.
- The tokens say nothing about a patient by themselves. What is built on them has to be validated where
  it is used.
- Weights of large models can hold traces of single training images. Ask who is responsible for the data
  before passing them on.
"""
