"""Do the report decoders learn the language of reports? Perplexity on held-out texts, without images.

    python benchmarks/language.py reports.jsonl [--lang zh] [--out FOLDER] [--seeds 3] [--steps 3000]

The decoders of `xraytk finetune report` (plain, r2gen, cmn) learn the reports of Indiana University
(Open-i): findings and impression in English, or the machine-made Chinese captions. They see one
image token that is always the same. A report is a patient here; 80 % are learned from, 10 % choose
the best state of a run, 10 % are scored, by the SHA-256 of their number. The peers learn the same
80 %: n-grams with interpolated Kneser-Ney smoothing, one discount an order.

All sides write with one vocabulary: the words (Chinese: characters) that training reports have at
least twice, one sign for every other word, and the end. Perplexity is over these, the end counted as
a word. For bits per character the signs of unknown words are spelled too: by a trigram over the
UTF-8 bytes of the unknown words of the training reports, the same for all sides. Case and white space
are no part of it; a space between English words counts as a character.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from ngrams import NGrams
from torch import Tensor

from xraytk.files import checkpoints, read_json
from xraytk.models.language import DecoderConfig
from xraytk.models.r2gen import MemoryConfig
from xraytk.models.search import SearchConfig
from xraytk.models.tokens import Vocabulary, units
from xraytk.models.vit import VitConfig
from xraytk.models.weights import load_model
from xraytk.progress import Lines
from xraytk.records import Batch
from xraytk.tasks.findings import FINDINGS, label_many
from xraytk.tasks.held_out import loss_of
from xraytk.tasks.metrics.bootstrap import summarise
from xraytk.tasks.metrics.values import Floats
from xraytk.tasks.reporting import ReportTask
from xraytk.train.launch import MachineConfig
from xraytk.train.loop import FitPlan, fit
from xraytk.train.optim import OptimConfig

LONGEST = 320
DECODER = DecoderConfig(
    width=64,
    depth=2,
    heads=4,
    max_tokens=LONGEST,
    min_count=2,
    dropout=0.1,
    memory=MemoryConfig(slots=3, rows=64, top_k=8, image_dropout=0.0),
)
EYE = VitConfig(image_px=16, patch_px=16, width=16, depth=1, heads=1)
"""Shape of an encoder that nobody asks."""
OPTIM = OptimConfig(lr=3e-3, weight_decay=0.05, beta2=0.98, warmup_share=0.05)
BATCH = 8
ORDERS = {"unigram": 1, "trigram": 3, "5-gram": 5}
KINDS = ("plain", "r2gen", "cmn")


def main() -> None:
    """Train, score, print."""
    args = _arguments()
    torch.set_num_threads(1)
    parts = read(args.reports, args.lang)
    vocabulary = Vocabulary.build({args.lang: parts["train"]}, DECODER.min_count)
    numbers = {name: [vocabulary.encode(t, args.lang, LONGEST) for t in p] for name, p in parts.items()}
    symbols = len(vocabulary) - 3  # padding and the two starts are never written
    costs = {
        name: [NGrams(numbers["train"], order, symbols).cost(numbers["test"])]
        for name, order in ORDERS.items()
    }
    written: dict[str, list[str]] = {}
    for kind in args.kinds:
        for seed in range(args.seeds):
            task = trained(args, kind, seed, vocabulary, parts)
            costs.setdefault(kind, []).append(cost_of(task, numbers["test"]))
            if seed == 0 and args.write:
                written[kind] = write(args, task)
    spelled = spelling(vocabulary, args.lang, parts)
    rows = scored(costs, parts, spelled, args)
    copies = [looked(name, texts, parts["train"], args.lang) for name, texts in written.items()]
    copies += [looked("held-out reports", parts["test"], parts["train"], args.lang)] if written else []
    tree = {"facts": _facts(parts, vocabulary, args.lang), "rows": rows, "texts": copies}
    print(json.dumps(tree) if args.json else "\n".join(_lines(tree)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("reports", type=Path, help="reports.jsonl of Open-i")
    parser.add_argument("--lang", choices=("en", "zh"), default="en")
    parser.add_argument("--out", type=Path, default=Path("language"), help="for runs, which go on")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--write", type=int, default=300, help="texts that each kind writes by chance")
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def read(path: Path, lang: str) -> dict[str, list[str]]:
    """Texts of each part; reports without a text are left out."""
    parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for line in path.read_text("utf-8").splitlines():
        report = json.loads(line)
        keys = ("findings", "impression") if lang == "en" else ("caption_zh_chatgpt",)
        text = "\n".join(report[key].strip() for key in keys if report[key].strip())
        tenth = int.from_bytes(hashlib.sha256(report["uid"].encode()).digest()[:8], "big") % 10
        if text:
            parts[{0: "test", 1: "val"}.get(tenth, "train")].append(text)
    return parts


def spelling(vocabulary: Vocabulary, lang: str, parts: dict[str, list[str]]) -> Floats:
    """(n,) bits that spell the unknown words of each held-out report."""

    def unknown(text: str) -> list[list[int]]:
        return [[256, *w.encode(), 257] for w in units(text, lang) if w not in known]

    known = set(vocabulary.tokens)
    learnt = NGrams([word for text in parts["train"] for word in unknown(text)], 3, 257)
    return np.array([learnt.cost(unknown(text)).sum() for text in parts["test"]])


class Blind(ReportTask):
    """The report task with one image token that is always the same."""

    def look(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, 1, D) ones."""
        count = len(batch.image_id)
        return torch.ones(count, 1, EYE.width), torch.ones(count, 1, dtype=torch.bool)


def trained(
    args: argparse.Namespace, kind: str, seed: int, vocabulary: Vocabulary, parts: dict[str, list[str]]
) -> Blind:
    """A decoder in the best state of its run, by the loss on the reports for choosing."""
    torch.manual_seed(seed)
    decoder = dataclasses.replace(DECODER, kind=kind)  # type: ignore[arg-type]
    task = Blind(EYE, decoder, vocabulary, [args.lang], frozen=True)
    folder = args.out / args.lang / f"{kind}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    chosen = list(_batches(parts["val"], args.lang))

    def validate(model: torch.nn.Module) -> dict[str, float]:
        return {"score": -float(np.mean([loss_of(model, batch) for batch in chosen]))}

    plan = FitPlan(
        steps=args.steps,
        batch=BATCH,
        optim=OPTIM,
        save_every=250,
        log_every=50,
        validate_every=250,
        seed=seed,
        machine=MachineConfig(device="cpu", micro_batch=BATCH),
    )
    last = (checkpoints(folder) or [None])[-1]
    fit(
        task,
        _training(parts["train"], args.lang, seed),
        plan,
        folder,
        config={},
        name=folder.name,
        progress=Lines(),
        resume_from=last,
        validate=validate,
    )
    best = read_json(folder / "best.json", "the training")["step"]
    load_model(task, folder / f"step-{best:08d}" / "model.safetensors")
    return task.eval()  # type: ignore[return-value]


def _training(texts: Sequence[str], lang: str, seed: int) -> Callable[[int], Iterator[Batch]]:
    """What `fit` reads: all texts in a new order each time, those of a batch of similar length."""
    lengths = np.array([len(units(text, lang)) for text in texts])
    each = len(texts) // BATCH

    def batches(step: int) -> Iterator[Batch]:
        while True:
            rng = np.random.default_rng([seed, step // each])
            order = rng.permutation(len(texts))[: each * BATCH]
            for at in range(0, len(order), 20 * BATCH):
                part = order[at : at + 20 * BATCH]
                order[at : at + 20 * BATCH] = part[np.argsort(lengths[part], kind="stable")]
            turn = rng.permutation(each)
            for number in turn[step % each :]:
                yield _batch([texts[i] for i in order[number * BATCH : (number + 1) * BATCH]], lang)
                step += 1

    return batches


def _batches(texts: Sequence[str], lang: str) -> Iterator[Batch]:
    for at in range(0, len(texts), 4 * BATCH):
        yield _batch(texts[at : at + 4 * BATCH], lang)


def _batch(texts: Sequence[str], lang: str) -> Batch:
    """Texts without images."""
    count = len(texts)
    ids = [f"{i:016x}" for i in range(count)]
    nothing = torch.zeros(count, 1, 1, dtype=torch.bool)
    return Batch(
        image=torch.zeros(count, 1, 1, 1, dtype=torch.uint8),
        valid=nothing,
        lung=nothing,
        has_contour=nothing[:, 0, 0],
        labels=torch.zeros(count, 0),
        reports={lang: list(texts)},
        image_id=ids,
        patient_hash=ids,
        view=["UNKNOWN"] * count,
    )


@torch.no_grad()
def cost_of(task: Blind, sequences: Sequence[Sequence[int]]) -> Floats:
    """(n,) bits of each sequence after its start."""
    out = []
    for s in sequences:
        memory, seen = task.look(_batch([""], task.langs[0]))
        logits = task.decoder(torch.tensor([s[:-1]]), memory, seen)[0].double()
        out.append(float(F.cross_entropy(logits, torch.tensor(s[1:]), reduction="sum")) / math.log(2))
    return np.array(out)


def write(args: argparse.Namespace, task: Blind) -> list[str]:
    """Texts that a decoder writes by chance, each word by its probability."""
    drawn = SearchConfig(beam=1, sample=True)
    return [p.text for p in task.predict(_batch([""] * args.write, args.lang), args.lang, drawn)]


def looked(name: str, texts: Sequence[str], train: Sequence[str], lang: str) -> dict[str, Any]:
    """How much of some texts stands in the training reports as it is, and what they say."""
    whole = {tuple(units(text, lang)) for text in train}
    parts = {part for text in train for part in _sentences(text, lang)}
    found = [part for text in texts for part in _sentences(text, lang)]
    labels = [label.findings for label in label_many(texts, lang)]
    said = {f: float(np.mean([one[f] in (1, -1) for one in labels])) for f in FINDINGS}
    return {
        "of": name,
        "texts": len(texts),
        "words": float(np.mean([len(units(text, lang)) for text in texts])),
        "copied": float(np.mean([tuple(units(text, lang)) in whole for text in texts])),
        "copied_sentences": float(np.mean([part in parts for part in found])),
        "different": len({tuple(units(text, lang)) for text in texts}) / len(texts),
        "findings": said,
    }


def _sentences(text: str, lang: str) -> list[tuple[str, ...]]:
    out: list[list[str]] = [[]]
    for unit in units(text, lang):
        if unit in (".", "。"):
            out.append([])
        else:
            out[-1].append(unit)
    return [tuple(part) for part in out if part]


def scored(
    costs: dict[str, list[Floats]], parts: dict[str, list[str]], spelled: Floats, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Perplexity and bits per character, their intervals over reports, and what is gained on each peer.

    Args:
        costs: For each side the (n,) bits of the held-out reports, a seed.
        parts: The texts.
        spelled: (n,) bits for the unknown words of these.
        args: Of the command line.
    """
    tokens = [units(text, args.lang) for text in parts["test"]]
    words = np.array([len(t) + 1.0 for t in tokens])
    signs = np.array([len((" " if args.lang == "en" else "").join(t)) for t in tokens], np.float64)
    whole = {tuple(units(text, args.lang)) for text in parts["train"]}
    fresh = np.array([tuple(t) not in whole for t in tokens])
    peers = {name: costs[name][0] for name in ORDERS}
    rows = []
    for name, seeds in costs.items():
        mean = np.mean(seeds, axis=0)

        def score(weights: Floats, mean: Floats = mean) -> Floats:
            each = (weights @ words)[:, None]
            new = weights * fresh
            columns = [mean, *(mean - peer for peer in peers.values())]
            per_word = np.stack([weights @ c for c in columns], -1) / each
            per_word[:, 0] = 2 ** per_word[:, 0]
            per_sign = (weights @ (mean + spelled)) / (weights @ signs)
            unseen = 2 ** ((new @ mean) / (new @ words))
            return np.column_stack([per_word, per_sign, unseen])

        ids = [str(i) for i in range(len(words))]
        values = summarise(score, ids, resamples=args.bootstrap, seed=0)
        keys = (
            "perplexity",
            *(f"bits_over_{peer}" for peer in peers),
            "bits_per_character",
            "perplexity_fresh",
        )
        row: dict[str, Any] = {"side": name, "n": len(words), "fresh": int(fresh.sum())}
        row |= {key: [v.value, v.low, v.high] for key, v in zip(keys, values, strict=True)}
        rows.append(row | {"seeds": [float(2 ** (s.sum() / words.sum())) for s in seeds]})
    return rows


def _facts(parts: dict[str, list[str]], vocabulary: Vocabulary, lang: str) -> dict[str, Any]:
    """Sizes, and the share of unknown words in the held-out reports."""
    words = [vocabulary.encode(text, lang, LONGEST)[1:] for text in parts["test"]]
    flat = [number for text in words for number in text]
    return {
        "lang": lang,
        "reports": {name: len(texts) for name, texts in parts.items()},
        "training_words": sum(len(units(text, lang)) for text in parts["train"]),
        "vocabulary": len(vocabulary),
        "held_out_words": len(flat),
        "unknown": sum(number == vocabulary.unk for number in flat) / len(flat),
        "cut": sum(vocabulary.eos not in text for text in words),
    }


def _lines(tree: dict[str, Any]) -> list[str]:
    """Tables for people."""
    out = [json.dumps(tree["facts"]), ""]
    out.append(f"{'':9}{'perplexity':27}{'bits per character':27}{'of texts not in training':27}seeds")
    for row in tree["rows"]:
        numbers = "".join(
            f"{_text(row[k]):27}" for k in ("perplexity", "bits_per_character", "perplexity_fresh")
        )
        out.append(f"{row['side']:9}{numbers}{', '.join(f'{s:.2f}' for s in row['seeds'])}")
    out += ["", "bits per word more than the peer (below 0: better)"]
    out.append(f"{'':9}" + "".join(f"{name:25}" for name in ORDERS))
    for row in tree["rows"]:
        out.append(f"{row['side']:9}" + "".join(f"{_text(row[f'bits_over_{name}']):25}" for name in ORDERS))
    for text in tree["texts"]:
        out += ["", f"{text['of']}: {text['texts']} texts, {text['words']:.1f} words on average, "
                f"{text['different']:.1%} different, {text['copied']:.1%} a training report word by word, "
                f"{text['copied_sentences']:.1%} of the sentences in one"]  # fmt: skip
        out.append("  " + "  ".join(f"{f} {s:.3f}" for f, s in text["findings"].items()))
    return out


def _text(value: Sequence[float]) -> str:
    return f"{value[0]:.3f} [{value[1]:.3f}, {value[2]:.3f}]"


if __name__ == "__main__":
    main()
