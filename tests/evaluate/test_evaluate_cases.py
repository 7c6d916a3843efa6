from __future__ import annotations

import dataclasses

import torch

from xraytk.evaluate.cases import SHOWN, Cases
from xraytk.models import vocabularies
from xraytk.models.language import DecoderConfig
from xraytk.models.vit import VitConfig
from xraytk.records import Batch, Prediction, SecondView
from xraytk.tasks.attention import AttentionConfig
from xraytk.tasks.reporting import ReportTask

GOOD, FAIR, BAD = "Left nodule.", "Left nodule nodule.", "Edema."
TEXTS = {"i03": BAD, "i17": BAD, "i08": GOOD, "i20": GOOD}


def one_batch(names: list[str]) -> Batch:
    """Images of 32 x 16 in a frame of 32."""
    count = len(names)
    valid = torch.zeros(count, 32, 32, dtype=torch.bool)
    valid[:, :, 8:24] = True
    return Batch(
        image=(valid * 100).to(torch.uint8)[:, None],
        valid=valid,
        lung=torch.zeros_like(valid),
        has_contour=torch.zeros(count, dtype=torch.bool),
        labels=torch.zeros(count, 0),
        reports={"en": [GOOD] * count, "zh": [""] * count},
        image_id=names,
        patient_hash=names,
        view=["PA"] * count,
        shape=[(32, 16)] * count,
    )


def test_the_worst_come_first_the_best_last_and_both_have_maps_on_upright_images() -> None:
    torch.manual_seed(0)
    words = vocabularies.build("words", {"en": [GOOD, BAD]}, ("en",), 1)
    decoder = DecoderConfig(width=16, depth=1, heads=2, max_tokens=9, min_count=1)
    task = ReportTask(VitConfig(image_px=32, patch_px=8, width=16, depth=1, heads=2), decoder, words, ("en",))
    cases = Cases(task, 32, "letterbox", 2, AttentionConfig())
    names = [f"i{n:02}" for n in range(SHOWN + 6)]
    for at in range(0, len(names), 10):
        part = names[at : at + 10]
        texts = [TEXTS.get(name, FAIR) for name in part]
        made = [
            Prediction(image_id=n, patient_hash=n, text=t, reference=GOOD if n != "i05" else "")
            for n, t in zip(part, texts, strict=True)
        ]
        cases.add(one_batch(part), {"en": made})
    worst, best = cases.parts().values()
    assert [case.name for case in worst[:2]] == ["i03", "i17"]
    assert {case.name for case in best} == {"i08", "i20"}
    assert (len(worst), len(best), cases.count) == (SHOWN, 2, SHOWN + 6)
    assert "i05" not in {case.name for case in (*worst, *best)}  # nothing to compare with
    assert [len(case.maps.get("en", ())) for case in (*worst[:3], *best)] == [1, 1, 0, 1, 1]
    assert {case.image.shape for case in worst} == {(32, 16)}
    assert best[0].maps["en"][0].image.shape == (32, 16, 3)
    assert cases.thumbs["i00"].min() == 100  # nothing of the letterbox is left


def test_a_study_of_two_images_shows_both_beside_each_other_with_one_map_over_both() -> None:
    torch.manual_seed(0)
    words = vocabularies.build("words", {"en": [GOOD]}, ("en",), 1)
    decoder = DecoderConfig(width=16, depth=1, heads=2, max_tokens=9, min_count=1)
    vit = VitConfig(image_px=32, patch_px=8, width=16, depth=1, heads=2)
    task = ReportTask(vit, decoder, words, ("en",), views=2)
    names, there = ["i0", "i1"], torch.tensor([True, False])
    wide = torch.zeros(2, 32, 32, dtype=torch.bool)  # an image of 16 x 32 in a frame of 32
    wide[0, 8:24] = True
    second = SecondView(
        (wide * 200).to(torch.uint8)[:, None], wide, there, ["s", ""], ["AP", ""], [(16, 32)] * 2
    )
    cases = Cases(task, 32, "letterbox", 2, AttentionConfig())
    made = [Prediction(image_id=n, patient_hash=n, text=GOOD, reference=GOOD) for n in names]
    cases.add(dataclasses.replace(one_batch(names), second=second), {"en": made})
    shown = {case.name: case for part in cases.parts().values() for case in part}
    assert {name: case.image.shape for name, case in shown.items()} == {"i0": (32, 48), "i1": (32, 16)}
    assert shown["i0"].image[:16].min() == 100
    assert shown["i0"].image[:16, 16:].min() == 200
    assert not shown["i0"].image[16:, 16:].any()
    assert shown["i0"].maps["en"][0].image.shape == (32, 48, 3)
    assert shown["i1"].maps["en"][0].image.shape == (32, 16, 3)
