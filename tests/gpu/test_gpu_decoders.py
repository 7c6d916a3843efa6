from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from xraytk.models.language import DecoderConfig, ReportDecoder
from xraytk.models.r2gen import MemoryConfig
from xraytk.models.search import SearchConfig
from xraytk.models.tokens import Vocabulary

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("kind", ["plain", "r2gen", "cmn"])
@pytest.mark.parametrize("search", [SearchConfig(), SearchConfig(beam=1, sample=True, top_p=0.9)])
def test_cached_decoding_equals_uncached_on_a_gpu(kind: Any, search: SearchConfig) -> None:
    torch.manual_seed(0)
    words = Vocabulary.build({"en": [" ".join(f"word{i}" for i in range(50))]})
    sizes = MemoryConfig(rows=64, top_k=4)
    config = DecoderConfig(kind=kind, width=32, depth=2, heads=4, max_tokens=20, memory=sizes)
    made = ReportDecoder(config, words, 24).eval().cuda()
    for weight in made.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)
    image, seen = torch.randn(3, 9, 24, device="cuda"), torch.ones(3, 9, dtype=torch.bool, device="cuda")
    texts = made.write(image, seen, "en", search)
    assert texts == made.write(image, seen, "en", replace(search, cached=False))
    with torch.autocast("cuda", torch.bfloat16):
        made.write(image, seen, "en", search)
        made(torch.full((3, 5), 7, device="cuda"), image, seen).float().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in made.parameters())
