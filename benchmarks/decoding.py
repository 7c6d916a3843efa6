"""How much faster a report is written when what is known of earlier words is kept.

    python benchmarks/decoding.py [--quick] [--json] [--kinds r2gen,cmn] [--batch 1] [--tokens 60] [--beam 3]

Three decoders of R2Gen's size (3 blocks of 512, 8 heads, 760 words; random weights, which never
end a text) look at the 401 image tokens of a ViT-B on 20 x 20 patches. Ours and the peer, the same
model with ``cached=False``, which computes every earlier word anew for each next one as R2Gen's
release does, write in turn (A B A B); both texts must be the same. Medians of processor time on one
thread, which other work on the machine moves little.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from dataclasses import replace
from typing import Any

import torch

from xraytk.models.language import DecoderConfig, ReportDecoder
from xraytk.models.search import SearchConfig
from xraytk.models.tokens import Vocabulary

WORDS = 760
IMAGE = (401, 768)


def decoder(kind: Any, tokens: int) -> ReportDecoder:
    """A decoder that never writes the end."""
    torch.manual_seed(0)
    words = Vocabulary.build({"en": [" ".join(f"word{i}" for i in range(WORDS))]})
    made = ReportDecoder(DecoderConfig(kind=kind, depth=3, max_tokens=tokens - 1), words, IMAGE[1]).eval()

    def endless(_: Any, __: Any, out: Any) -> None:
        out.logits[..., words.eos] = -1e4

    made.writer.register_forward_hook(endless)
    return made


def measure(kind: str, batch: int, search: SearchConfig, tokens: int, runs: int) -> dict[str, Any]:
    """Time both ways on one model."""
    made = decoder(kind, tokens)
    image = torch.randn(batch, *IMAGE, generator=torch.Generator().manual_seed(1))
    seen = torch.ones(batch, IMAGE[0], dtype=torch.bool)
    ways = {"ours": search, "peer": replace(search, cached=False)}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    texts = {}
    made.write(image[:1], seen[:1], "en", replace(search, beam=1))  # warm
    for _ in range(runs):
        for name, way in ways.items():
            began = time.process_time()
            texts[name] = made.write(image, seen, "en", way)
            spent[name].append(time.process_time() - began)
    ours, peer = (statistics.median(spent[name]) for name in ("ours", "peer"))
    return {
        "case": kind,
        "ours_ms": round(1000 * ours, 1),
        "peer": "the same model without a cache",
        "peer_ms": round(1000 * peer, 1),
        "ratio": round(peer / ours, 2),
        "runs": runs,
        "same_text": texts["ours"] == texts["peer"],
    }


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one run of each")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--kinds", default="plain,r2gen,cmn")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--beam", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    search, runs = SearchConfig(beam=given.beam), 1 if given.quick else 5
    rows = [measure(kind, given.batch, search, given.tokens, runs) for kind in given.kinds.split(",")]
    machine = {"processor": platform.machine(), "torch": torch.__version__, "threads": 1}
    if given.json:
        json.dump({"machine": machine, "rows": rows}, sys.stdout, indent=2)
        return
    print(
        f"batch {given.batch}, {given.tokens} tokens, beam {given.beam}, torch {torch.__version__}, 1 thread"
    )
    print(f"{'':8}{'cached ms':>12}{'uncached ms':>14}{'ratio':>8}  same text")
    for row in rows:
        times = f"{row['ours_ms']:12.0f}{row['peer_ms']:14.0f}{row['ratio']:8.1f}"
        print(f"{row['case']:8}{times}  {row['same_text']}")


if __name__ == "__main__":
    main()
