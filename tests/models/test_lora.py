from __future__ import annotations

from pathlib import Path

import pytest
import torch

from xraytk.errors import DataError, UsageError
from xraytk.models import lora
from xraytk.models.vit import Vit, VitConfig

pytest.importorskip("peft", reason="needs the extra lora")

VIT = VitConfig(image_px=16, patch_px=8, width=16, depth=2, heads=2)


def changed(config: lora.LoraConfig) -> tuple[Vit, Vit, torch.Tensor]:
    """An encoder, and the same one with adapters that do something."""
    torch.manual_seed(0)
    plain, adapted = Vit(VIT).eval(), Vit(VIT).eval()
    adapted.load_state_dict(plain.state_dict())
    lora.adapt(adapted, config, seed=1)
    image = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(adapted(image), plain(image))  # nothing at first
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return plain, adapted, image


def test_merged_adapters_give_the_same_answers() -> None:
    plain, adapted, image = changed(lora.LoraConfig(rank=2, mlp=True))
    before = adapted(image)
    assert not torch.allclose(before, plain(image), atol=1e-3)
    lora.merge(adapted)
    assert adapted.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(adapted(image), before)


def test_only_adapters_learn_and_they_are_counted() -> None:
    _, adapted, _ = changed(lora.LoraConfig(rank=2))
    per_block = 2 * (16 + 48) + 2 * (16 + 16)  # qkv and proj: rank x (in + out)
    assert lora.trained(adapted)[0] == 2 * per_block
    assert all(("lora_" in n) == p.requires_grad for n, p in adapted.named_parameters())


def test_saved_adapters_fit_the_encoder_that_they_were_trained_beside(tmp_path: Path) -> None:
    plain, adapted, image = changed(lora.LoraConfig(rank=2, alpha=4.0))
    lora.save(adapted, lora.LoraConfig(rank=2, alpha=4.0), tmp_path / "adapter.safetensors")
    lora.load(plain, tmp_path / "adapter.safetensors")
    torch.testing.assert_close(plain(image), adapted(image))
    other = Vit(VitConfig(image_px=16, patch_px=8, width=16, depth=3, heads=2))
    with pytest.raises(DataError, match="do not fit the encoder"):
        lora.load(other, tmp_path / "adapter.safetensors")


def test_a_file_without_adapters_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(DataError, match="holds no adapters"):
        lora.load(Vit(VIT), tmp_path / "a.safetensors")


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"rank": -1}, {"alpha": 0.0}, {"dropout": 1.0}):
        with pytest.raises(UsageError, match=r"lora\."):
            lora.LoraConfig(**wrong)  # type: ignore[arg-type]
