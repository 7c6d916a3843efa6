from __future__ import annotations

import torch

from xraytk.evaluate.cases import SHOWN, Cases
from xraytk.models import vocabularies
from xraytk.models.language import DecoderConfig
from xraytk.models.vit import VitConfig
from xraytk.records import Batch, Prediction
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
