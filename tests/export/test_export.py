from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from xraytk import export
from xraytk.errors import DataError, RunConflictError, UsageError
from xraytk.export import verify
from xraytk.models.pretrained import find_trained
from xraytk.models.vit import Vit, VitConfig

HEADER = "xraytk.encoder"


def write(path: Path, shape: dict[str, object], seed: int = 0) -> Vit:
    """A plain file of an encoder's weights, as a run would write it."""
    torch.manual_seed(seed)
    encoder = Vit(VitConfig(**shape)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        encoder.cls_token.normal_()
        for block in encoder.blocks:
            block.norm1.bias.normal_(std=0.3)
            block.attn.qkv.bias.normal_(std=0.3)
    tensors = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    save_file(tensors, path, {HEADER: json.dumps(shape), "xraytk.encoder_prefix": "encoder."})
    return encoder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, export.ExportResult]:
    """A run of a pretraining and its export."""
    work = tmp_path_factory.mktemp("export")
    step = work / "runs" / "Mueller" / "step-00000010"
    step.mkdir(parents=True)
    shape = {"image_px": 64, "patch_px": 16, "width": 32, "depth": 2, "heads": 4, "mlp_ratio": 2.0}
    write(step / "model.safetensors", shape)
    (step / "state.json").write_text('{"format": 1, "step": 10}')
    (step.parent / "config.toml").write_text(
        'objective = "mae"\nbatch = 8\nshards = "/secret/shards"\n[options]\nmask = "contour"\n'
        'table = "/secret/table"\n[data]\nfit = "letterbox"\n'
    )
    (step.parent / "metrics.json").write_text('{"images": 40, "loss_last": 0.25}')
    result = export.run(
        export.ExportConfig(work=work, license="cc-by-nc-4.0", about="Phantoms | only\nof one seed.")
    )
    return work, result.out, result


@pytest.mark.parametrize("channels", [1, 3])
def test_timm_and_transformers_give_our_tokens(tmp_path: Path, channels: int) -> None:
    shape = {"image_px": 48, "patch_px": 16, "width": 32, "depth": 2, "heads": 4, "channels": channels}
    write(tmp_path / "encoder.safetensors", shape)
    config = export.ExportConfig(
        checkpoint=tmp_path / "encoder.safetensors", work=tmp_path, out=tmp_path / "out"
    )
    result = export.run(config)
    assert set(result.differences) == {"timm", "transformers"}
    assert max(result.differences.values()) < 1e-5
    assert result.image_px == (48, 48)


def test_nothing_is_initialised_at_random_and_the_pooler_is_the_identity(
    made: tuple[Path, Path, export.ExportResult],
) -> None:
    from transformers import AutoModel

    folder = made[1] / "transformers"
    model, info = AutoModel.from_pretrained(str(folder), output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    image = verify.phantom(find_trained(None, made[0]).config)
    with torch.no_grad():
        out = model.eval()(image)
    torch.testing.assert_close(out.pooler_output, out.last_hidden_state[:, 0], rtol=0, atol=1e-6)


def test_the_image_processor_only_scales_greys(made: tuple[Path, Path, export.ExportResult]) -> None:
    import numpy as np
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(str(made[1] / "transformers"))
    grey = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    found = processor(grey[:, :, None], return_tensors="pt", input_data_format="channels_last").pixel_values
    torch.testing.assert_close(found[0, 0], torch.from_numpy(grey) / 127.5 - 1, rtol=0, atol=1e-6)


def test_timms_own_forward_is_the_mean_of_the_patches(made: tuple[Path, Path, export.ExportResult]) -> None:
    import timm

    model = timm.create_model(f"local-dir:{made[1] / 'timm'}", pretrained=True).eval()
    data = timm.data.resolve_model_data_config(model)
    assert (data["input_size"], data["mean"], data["crop_mode"]) == ((1, 64, 64), [0.5], "border")
    encoder = find_trained(None, made[0]).load()
    image = verify.phantom(encoder.config)
    with torch.no_grad():
        wanted = encoder(image)[:, 1:].mean(1)
        torch.testing.assert_close(model(image), wanted, rtol=0, atol=1e-5)


def test_the_card_states_the_training_and_no_path_or_name(
    made: tuple[Path, Path, export.ExportResult],
) -> None:
    _, out, result = made
    text = (out / "README.md").read_text(encoding="utf-8")
    for wanted in (
        "license: cc-by-nc-4.0",
        "library_name: timm",
        "| training images | 40 |",
        "x / 127.5 - 1",
    ):
        assert wanted in text
    for wanted in ("passes over the images | 2.0", "options.mask | contour", "0.25", "本软件仅供科研"):
        assert wanted in text
    assert r"Phantoms \| only of one seed." in text
    everything = text + (out / "export.json").read_text() + (out / "timm" / "config.json").read_text()
    for secret in ("secret", "Mueller", str(made[0])):
        assert secret not in everything
    assert result.step == 10
    assert result.files == (*sorted(result.files[:-1]), "export.json")


def test_our_own_file_starts_a_training_and_exports_again_as_the_same(
    made: tuple[Path, Path, export.ExportResult], tmp_path: Path
) -> None:
    own = made[1] / "encoder.safetensors"
    again = export.run(export.ExportConfig(checkpoint=own, work=tmp_path, out=tmp_path / "x", format="timm"))
    assert again.fit == "letterbox"
    one, other = (load_file(folder / "timm" / "model.safetensors") for folder in (made[1], tmp_path / "x"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not (tmp_path / "x" / "transformers").exists()


@pytest.mark.parametrize("form", ["", "timm", "transformers"])
def test_every_form_of_an_export_starts_a_training(tmp_path: Path, form: str) -> None:
    shape = {"image_px": [48, 32], "patch_px": 16, "width": 32, "depth": 2, "heads": 2, "mlp_ratio": 2.0}
    encoder = write(tmp_path / "encoder.safetensors", shape)
    run = tmp_path / "config.toml"
    run.write_text('[data]\nfit = "stretch"\n')
    done = export.run(
        export.ExportConfig(checkpoint=tmp_path / "encoder.safetensors", out=tmp_path / "x", verify=False)
    )
    run.unlink()
    found = find_trained(done.out / form, tmp_path)
    assert (found.fit, found.config.heads, found.config.size) == ("stretch", 2, (48, 32))
    again = found.load().state_dict()
    for name, tensor in encoder.state_dict().items():
        if name != "positions":  # a row for the class token, which ours keeps too
            torch.testing.assert_close(again[name], tensor, rtol=0, atol=1e-6)
    image = verify.phantom(encoder.config)
    with torch.no_grad():
        torch.testing.assert_close(found.load()(image), encoder(image), rtol=0, atol=1e-5)


def test_a_folder_that_is_no_export_stays(
    made: tuple[Path, Path, export.ExportResult], tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    config = export.ExportConfig(work=made[0], out=tmp_path, format="timm", verify=False)
    with pytest.raises(RunConflictError, match="is no export"):
        export.run(config)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_an_export_does_not_replace_the_one_it_is_made_of(
    made: tuple[Path, Path, export.ExportResult],
) -> None:
    before = sorted(made[2].out.rglob("*"))
    with pytest.raises(RunConflictError, match="holds the encoder that is to be exported"):
        export.run(export.ExportConfig(checkpoint=made[2].out, work=made[0], format="timm"))
    assert sorted(made[2].out.rglob("*")) == before


def test_tokens_that_differ_are_refused(tmp_path: Path) -> None:
    shape = {"image_px": 32, "patch_px": 16, "width": 32, "depth": 1, "heads": 4}
    encoder = write(tmp_path / "e.safetensors", shape)
    config = export.ExportConfig(
        checkpoint=tmp_path / "e.safetensors", out=tmp_path / "out", format="timm", verify=False
    )
    assert export.run(config).differences == {}
    weights = load_file(tmp_path / "out" / "timm" / "model.safetensors")
    weights["blocks.0.norm1.bias"] += 0.01
    save_file(weights, tmp_path / "out" / "timm" / "model.safetensors")
    with pytest.raises(DataError, match="timm gives other tokens"):
        verify.refuse_other_tokens(tmp_path / "out", encoder, ["timm"])


def test_wrong_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="license"):
        export.ExportConfig(license="do what: you want")
    save_file({"x": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(DataError, match="does not say what its encoder is"):
        export.run(export.ExportConfig(checkpoint=tmp_path / "bare.safetensors"))
    with pytest.raises(DataError, match="no checkpoint of a pretraining"):
        export.run(export.ExportConfig(work=tmp_path))
