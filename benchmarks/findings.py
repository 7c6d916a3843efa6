"""How well the rules label the fourteen findings, on reports that people have indexed.

    python benchmarks/findings.py [--data DIR] [--half held|seen] [--wrong FINDING] [--json]

The reports of Indiana University (Open-i) carry MeSH headings that two people gave them after
reading. A heading becomes a finding as `MESH` says. The headings are no gold: hedged and definite
findings look the same in them, old findings are often left out, and a finding may be indexed as an
opacity by one and as an infiltrate by another. Reports are split by the SHA-256 of their number; the
rules were written with one half ("seen") in view, and the other ("held") is scored. A keyword
labeller, which knows the same words but no negation, shows what the rest of the rules is worth.

For Chinese there are no indexed reports. The machine-made Chinese captions of the same reports are
labelled, and compared with the English labels of the English captions that they translate: this
measures translation and rules together, in a Chinese that no radiologist writes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xraytk.tasks.findings import FINDINGS, Labels, label, label_many

DATA = Path(__file__).parents[1] / ".." / "shared" / "data" / "reports_iu" / "reports.jsonl"
NAMED = FINDINGS[1:]

MESH: dict[str, tuple[str, ...]] = {
    # regular expression on a heading with its subheadings, in lower case: findings
    r"cardiomegaly|cardiac shadow.*/(?:enlarged|prominent|borderline)": ("Cardiomegaly",),
    r"heart/.*enlarged|heart (?:atria|ventricles)/.*enlarged": ("Cardiomegaly",),
    r"mediastinum/.*(?:enlarged|prominent|mass)|mass/mediastinum": ("Enlarged Cardiomediastinum",),
    r"opacity|infiltrate|airspace disease|density(?!.*bone)|markings.*(?:interstitial|lung)": (
        "Lung Opacity",
    ),
    r"lung diseases, interstitial|pulmonary fibrosis|cicatrix/lung|fibrosis/lung": ("Lung Opacity",),
    r"nodule(?!/pleura)|mass(?:/(?!mediastinum|breast)|$)|cavitation": ("Lung Lesion",),
    r"(?:opacity|density|infiltrate).*/round": ("Lung Lesion",),
    r"pulmonary edema|pulmonary congestion|heart failure": ("Edema",),
    r"consolidation": ("Consolidation",),
    r"pneumonia": ("Pneumonia",),
    r"pulmonary atelectasis": ("Atelectasis",),
    r"pneumothorax": ("Pneumothorax",),
    r"hydropneumothorax|hemopneumothorax": ("Pneumothorax", "Pleural Effusion"),
    r"pleural effusion|hemothorax|costophrenic angle.*blunted": ("Pleural Effusion",),
    r"(?:thickening|calcinosis|cicatrix|deformity|nodule|opacity)/pleura|pleura/": ("Pleural Other",),
    r"fractures, bone": ("Fracture",),
    r"catheters, indwelling|implanted medical device|medical device": ("Support Devices",),
    r"surgical instruments|tube, inserted|stents|sutures": ("Support Devices",),
}
_MESH = [(re.compile(pattern), findings) for pattern, findings in MESH.items()]
_DEVICES = "tube|catheter|pacemaker|wires|clips|picc|device|stent|valve|sternotomy|hardware"

KEYWORDS = {
    "Enlarged Cardiomediastinum": "mediastin",
    "Cardiomegaly": "cardiomegaly|heart|cardiac silhouette",
    "Lung Opacity": "opacit|infiltrate|air ?space disease|density|densities|scar|interstitial",
    "Lung Lesion": "nodul|mass|lesion",
    "Edema": "edema|congestion|failure",
    "Consolidation": "consolidat",
    "Pneumonia": "pneumonia|infect",
    "Atelectasis": "atelecta|collapse",
    "Pneumothorax": "pneumothora",
    "Pleural Effusion": "effusion|blunting",
    "Pleural Other": "pleural thick|pleural scar|pleural plaque",
    "Fracture": "fracture",
    "Support Devices": _DEVICES,
}


def held(number: str) -> bool:
    """Whether a report is in the half that is scored."""
    return hashlib.sha256(number.encode()).digest()[0] % 2 == 1


def indexed(headings: Iterable[str]) -> set[str]:
    """The findings that a report's MeSH headings stand for."""
    return {name for h in headings for pattern, names in _MESH if pattern.match(h.lower()) for name in names}


def by_keyword(text: str) -> set[str]:
    """The findings whose words occur at all."""
    low = text.lower()
    return {name for name, words in KEYWORDS.items() if re.search(words, low)}


def positive(labels: Labels, *, uncertain: bool) -> set[str]:
    """The findings that are present, or also those that may be."""
    return {name for name in NAMED if labels.findings[name] in ((1, -1) if uncertain else (1,))}


def scores(said: list[set[str]], wanted: list[set[str]], names: Iterable[str]) -> dict[str, float]:
    """Precision, recall and F1, pooled over some findings."""
    names = set(names)
    hits = sum(len(s & w & names) for s, w in zip(said, wanted, strict=True))
    n_said, n_wanted = sum(len(s & names) for s in said), sum(len(w & names) for w in wanted)
    return {
        "precision": hits / n_said if n_said else float("nan"),
        "recall": hits / n_wanted if n_wanted else float("nan"),
        "f1": 2 * hits / (n_said + n_wanted) if n_said + n_wanted else float("nan"),
        "wanted": n_wanted,
        "said": n_said,
    }


def english(reports: list[dict[str, Any]], wrong: str) -> list[dict[str, Any]]:
    """Rows of the table against the MeSH headings."""
    texts = [report_text(r) for r in reports]
    wanted = [indexed(r["mesh_major"]) for r in reports]
    labels = label_many(texts, "en")
    ways = {
        "rules, uncertain = present": [positive(x, uncertain=True) for x in labels],
        "rules, uncertain = absent": [positive(x, uncertain=False) for x in labels],
        "keywords": [by_keyword(t) for t in texts],
    }
    for report, text, said, want in zip(
        reports, texts, ways["rules, uncertain = present"], wanted, strict=True
    ):
        if wrong in said ^ want:
            how = "said" if wrong in said else "not said"
            print(f"{report['uid']} {how} | {report['mesh_major']}\n    {text}")
    cases = [*((name, [name]) for name in NAMED), ("micro", NAMED)]
    rows = [
        {"case": case, "way": way, **scores(said, wanted, names)}
        for case, names in cases
        for way, said in ways.items()
    ]
    for way in ways:
        f1 = [r["f1"] for r in rows if r["way"] == way and r["case"] in NAMED and r["wanted"] >= 10]
        rows.append({"case": "macro of those with 10 or more", "way": way, "f1": sum(f1) / len(f1)})
    return rows


def chinese(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Agreement of the labels of the Chinese captions with those of the English ones."""
    pairs = [
        (label(r["caption_zh_chatgpt"], "zh"), label(r["caption_en_chatgpt"], "en"))
        for r in reports
        if r["caption_zh_chatgpt"] and r["caption_en_chatgpt"]
    ]
    rows = []
    for name in NAMED:
        said = [{name} & positive(zh, uncertain=True) for zh, _ in pairs]
        wanted = [{name} & positive(en, uncertain=True) for _, en in pairs]
        both = sum(zh.findings[name] == en.findings[name] for zh, en in pairs)
        rows.append({"case": name, "way": "zh", "same": both / len(pairs), **scores(said, wanted, [name])})
    said = [positive(zh, uncertain=True) for zh, _ in pairs]
    wanted = [positive(en, uncertain=True) for _, en in pairs]
    return [*rows, {"case": "micro", "way": "zh", "reports": len(pairs), **scores(said, wanted, NAMED)}]


def report_text(report: dict[str, Any]) -> str:
    """Findings and impression, with headings where there is something below them."""
    parts = [(name.upper(), report[name].strip()) for name in ("findings", "impression")]
    return "\n".join(f"{name}: {text}" for name, text in parts if text)


def speed(texts: list[str], lang: str) -> dict[str, Any]:
    """Reports labelled in a second of one processor; sentences that come again are cached."""
    started = time.process_time()
    label_many(texts, lang)
    seconds = time.process_time() - started
    return {
        "case": f"speed, {lang}",
        "way": "rules",
        "reports_per_s": len(texts) / seconds,
        "reports": len(texts),
    }


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, help="reports.jsonl of Open-i")
    parser.add_argument("--half", choices=("held", "seen"), default="held")
    parser.add_argument("--wrong", default="", help="list the disagreements on this finding")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    lines = args.data.read_text("utf-8").splitlines()
    reports = [r for r in map(json.loads, lines) if held(r["uid"]) == (args.half == "held")]
    usable = [r for r in reports if r["mesh_major"] and r["mesh_major"] != ["No Indexing"] and report_text(r)]
    timed = [speed([report_text(r) for r in usable], "en")]
    timed.append(speed([r["caption_zh_chatgpt"] for r in reports if r["caption_zh_chatgpt"]], "zh"))
    rows, zh = english(usable, args.wrong), chinese(reports)
    if args.json:
        print(json.dumps({"machine": platform.machine(), "rows": rows + zh + timed}))
        return
    print(f"# {len(usable)} English reports of the {args.half} half against their MeSH headings")
    for row in rows:
        numbers = "  ".join(f"{k[0].upper()} {row[k]:.3f}" for k in ("precision", "recall", "f1") if k in row)
        counts = f"  indexed {row['wanted']:4d}  said {row['said']:4d}" if "wanted" in row else ""
        print(f"{row['case']:32s}{row['way']:28s}{numbers}{counts}")
    print(f"# {zh[-1]['reports']} machine-made Chinese captions against the English ones they translate")
    for row in zh:
        same = f"  same label {row['same']:.3f}" if "same" in row else ""
        print(f"{row['case']:32s}P {row['precision']:.3f}  R {row['recall']:.3f}  F {row['f1']:.3f}"
              f"  en {row['wanted']:4d}  zh {row['said']:4d}{same}")  # fmt: skip
    for row in timed:
        print(f"# {row['case']}: {row['reports_per_s']:.0f} reports/s over {row['reports']} reports")


if __name__ == "__main__":
    main()
