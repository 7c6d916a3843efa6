"""Starting from checkpoints in transformers' layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from xraytk.errors import DataError
from xraytk.models.load_report import LoadReport
from xraytk.models.vit import Vit
from xraytk.models.weights import encoder_config, load_encoder

TINY: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def theirs(kind: str, **changes: Any) -> Any:
    """A small encoder of transformers' whose parameters are drawn, and small as trained ones are."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**(TINY | {"intermediate_size": 128} | changes))
    model = getattr(transformers, f"{kind}Model")(config).eval()
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def write(folder: Path, model: Any) -> Path:
    model.save_pretrained(folder)
    grey = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(grey))
    return folder


def change(folder: Path, prefix: str = "", **more: Tensor) -> None:
    """Write the weights anew, with tensors more."""
    tensors = load_file(folder / "model.safetensors")
    save_file({prefix + n: t for n, t in tensors.items()} | more, folder / "model.safetensors")


def ours(folder: Path) -> tuple[Vit, LoadReport]:
    encoder = Vit(encoder_config(folder)).eval()
    return encoder, load_encoder(encoder, folder)


@torch.no_grad()
@pytest.mark.parametrize(("kind", "epsilon"), [("ViT", 1e-12), ("Dinov2", 1e-6)])
def test_our_tokens_are_those_of_transformers(tmp_path: Path, kind: str, epsilon: float) -> None:
    model = theirs(kind, layer_norm_eps=epsilon)
    encoder, report = ours(write(tmp_path, model))
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    wanted = model(pixel_values=image).last_hidden_state
    torch.testing.assert_close(encoder(image), wanted, rtol=0, atol=1e-4)
    said = [note for note in report.notes if "LayerNorm epsilon" in note]
    assert said == (
        [] if epsilon == 1e-6 else [f"config.json names the LayerNorm epsilon {epsilon:g}; it is 1e-06 here"]
    )


def test_a_large_epsilon_is_refused(tmp_path: Path) -> None:
    write(tmp_path, theirs("ViT", layer_norm_eps=1e-5))
    with pytest.raises(DataError, match=r"another epsilon(.|\n)*1e-05"):
        ours(tmp_path)


def test_parts_that_our_encoder_lacks_are_refused(tmp_path: Path) -> None:
    registers = write(tmp_path / "a", theirs("Dinov2WithRegisters"))
    with pytest.raises(DataError, match=r"has parts that ours lacks\n *found embeddings\.register_tokens\n"):
        encoder_config(registers)
    beit = write(tmp_path / "b", theirs("ViT"))
    name = "encoder.layer.0.attention.attention.relative_position_bias_table"
    change(beit, **{name: torch.zeros(3, 2)})
    with pytest.raises(DataError, match=rf"found {name}\n"):
        encoder_config(beit)


def test_parts_beside_the_encoder_are_left_alone(tmp_path: Path) -> None:
    alone = write(tmp_path / "a", theirs("Dinov2"))
    change(alone, **{"head.weight": torch.zeros(3, 64)})
    assert set(ours(alone)[1].ignored) == {"head.head.weight", "head.embeddings.mask_token"}
    beside = write(tmp_path / "b", theirs("ViT"))
    change(beside, "vit.", **{"encoder.layer.0.strange.weight": torch.zeros(2)})
    assert "head.encoder.layer.0.strange.weight" in ours(beside)[1].ignored
