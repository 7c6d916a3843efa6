"""The words of a phantom's report: English and Chinese, stating exactly what is in the image.

Present findings first, then what was looked for and is absent; several wordings each. The
Chinese follows the usage of Chinese radiologists, it is no translation of the English.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xraytk.data.phantoms.lesions import Finding

_ORDER = ("Pneumothorax", "Pleural Effusion", "Consolidation", "Nodule", "Cardiomegaly")
_SIDE_ZH = {"right": "右", "left": "左"}
_ZONE_ZH = {"upper": "上", "middle": "中", "lower": "下"}
_ZONE_EN = {"upper": "upper", "middle": "mid", "lower": "lower"}


def describe(findings: Sequence[Finding], heart_ratio: float, rng: np.random.Generator) -> dict[str, str]:
    """Write the report.

    Args:
        findings: What is in the image; empty for a normal one.
        heart_ratio: Measured cardiothoracic ratio.
        rng: Chooses among wordings.

    Returns:
        {"en": ..., "zh": ...}, each with findings and impression.
    """
    ordered = sorted(findings, key=lambda f: _ORDER.index(f.name))
    return {"en": _english(ordered, heart_ratio, rng), "zh": _chinese(ordered, heart_ratio, rng)}


def _pick(rng: np.random.Generator, *choices: str) -> str:
    return choices[int(rng.integers(len(choices)))]


def _english(findings: list[Finding], heart_ratio: float, rng: np.random.Generator) -> str:
    names = {f.name for f in findings}
    said = [_finding_en(f, rng) for f in findings]
    if not names & {"Consolidation", "Nodule"}:
        where = "otherwise clear" if names & {"Pneumothorax", "Pleural Effusion"} else "clear"
        said.append(
            _pick(
                rng,
                f"The lungs are {where}.",
                f"The lungs are {where} without focal consolidation or nodule.",
            )
        )
    elif "Consolidation" not in names:
        said.append("No focal consolidation.")
    elif "Nodule" not in names:
        said.append("No pulmonary nodule.")
    absent = [
        w
        for n, w in (("Pleural Effusion", "pleural effusion"), ("Pneumothorax", "pneumothorax"))
        if n not in names
    ]
    if absent:
        said.append(_pick(rng, "No {}.", "There is no {}.").format(" or ".join(absent)))
    if hidden := _hidden_border(findings):
        said.append(f"The {hidden} heart border is obscured.")
    elif "Cardiomegaly" not in names:
        said.append(
            _pick(
                rng,
                "The heart size is normal.",
                "The cardiac silhouette is normal in size.",
                "Heart size is within normal limits.",
            )
        )
    if findings:
        impression = " ".join(_impression_en(f) for f in findings)
    else:
        impression = _pick(rng, "No acute cardiopulmonary abnormality.", "Normal chest radiograph.")
    return f"Findings: {' '.join(said)} Impression: {impression}"


def _finding_en(f: Finding, rng: np.random.Generator) -> str:
    side, zone, degree = f.side, _ZONE_EN.get(f.zone, ""), f.degree
    if f.name == "Pleural Effusion":
        sign = {
            "small": f"blunting of the {side} costophrenic angle",
            "moderate": f"obscuration of the {side} hemidiaphragm",
            "large": f"opacification of most of the {side} hemithorax",
        }[degree]
        return _pick(
            rng,
            f"There is a {degree} {side} pleural effusion with {sign}.",
            f"{_cap(degree)} {side} pleural effusion with {sign}.",
        )
    if f.name == "Pneumothorax":
        share = round(100 * f.ratio / 5) * 5
        return _pick(
            rng,
            f"There is a {degree} {side} pneumothorax, about {share}% of the hemithorax.",
            f"{_cap(degree)} {side} pneumothorax, about {share}% of the hemithorax, with a pleural line.",
        )
    if f.name == "Consolidation":
        return _pick(
            rng,
            f"There is patchy consolidation in the {side} {zone} lung zone.",
            f"Patchy airspace opacity in the {side} {zone} lung zone.",
        )
    if f.name == "Nodule":
        return _pick(
            rng,
            f"There is a {f.size_mm:.0f} mm nodule in the {side} {zone} lung zone.",
            f"A round {f.size_mm:.0f} mm nodule is seen in the {side} {zone} lung zone.",
        )
    return _pick(
        rng,
        f"The cardiac silhouette is enlarged, cardiothoracic ratio about {f.ratio:.2f}.",
        f"The heart is enlarged with a cardiothoracic ratio of about {f.ratio:.2f}.",
    )


def _impression_en(f: Finding) -> str:
    zone = _ZONE_EN.get(f.zone, "")
    return {
        "Pleural Effusion": f"{_cap(f.degree)} {f.side} pleural effusion.",
        "Pneumothorax": f"{_cap(f.degree)} {f.side} pneumothorax.",
        "Consolidation": f"{_cap(f.side)} {zone} zone consolidation, likely pneumonia.",
        "Nodule": f"{_cap(f.side)} {zone} zone pulmonary nodule.",
        "Cardiomegaly": "Cardiomegaly.",
    }[f.name]


def _hidden_border(findings: list[Finding]) -> str:
    """The side on which fluid covers the heart border, so that its size cannot be told; or ""."""
    wet = [f.side for f in findings if f.name == "Pleural Effusion" and f.degree != "small"]
    return wet[0] if wet else ""


def _cap(text: str) -> str:
    return text[:1].upper() + text[1:]


def _chinese(findings: list[Finding], heart_ratio: float, rng: np.random.Generator) -> str:
    names = {f.name for f in findings}
    said = ["胸廓对称，气管居中。"] if rng.random() < 0.5 else []
    said += [_finding_zh(f, rng) for f in findings if f.name != "Cardiomegaly"]
    if names - {"Cardiomegaly"}:
        said.append(_pick(rng, "余肺野清晰。", "余肺未见明显实质性病变。"))
    else:
        said.append(_pick(rng, "双肺纹理清晰，未见明显实质性病变。", "双肺野清晰，未见明显结节及实变影。"))
    enlarged = [f for f in findings if f.name == "Cardiomegaly"]
    if hidden := _hidden_border(findings):
        said.append(f"{_SIDE_ZH[hidden]}心缘显示不清。")
    else:
        said += [_finding_zh(f, rng) for f in enlarged] or [_pick(rng, "心影不大。", "心影大小、形态正常。")]
    effusions = [f.side for f in findings if f.name == "Pleural Effusion"]
    if not effusions:
        said.append(_pick(rng, "双侧膈面光整，肋膈角锐利。", "双膈面光滑，双侧肋膈角锐利。"))
    else:
        other = _SIDE_ZH["left" if effusions[0] == "right" else "right"]
        said.append(f"{other}侧膈面光整，肋膈角锐利。")
    if "Pneumothorax" not in names:
        said.append("未见气胸征象。")
    if findings:
        impression = "；".join(_impression_zh(f) for f in findings) + "。"
    else:
        impression = _pick(rng, "心肺膈未见明显异常。", "胸部正位片未见明显异常。")
    return f"影像所见：{''.join(said)}影像诊断：{impression}"


def _finding_zh(f: Finding, rng: np.random.Generator) -> str:
    side, zone = _SIDE_ZH.get(f.side, ""), _ZONE_ZH.get(f.zone, "")
    if f.name == "Pleural Effusion":
        return {
            "small": _pick(
                rng, f"{side}侧肋膈角变钝，见少量积液影。", f"{side}侧肋膈角变钝，提示少量胸腔积液。"
            ),
            "moderate": _pick(
                rng,
                f"{side}下肺野见大片致密影，上缘呈外高内低弧形，膈面显示不清。",
                f"{side}侧胸腔见中等量积液影，上缘呈外高内低弧形，膈面及肋膈角消失。",
            ),
            "large": _pick(
                rng,
                f"{side}侧胸腔大部呈均匀致密影，上缘呈外高内低弧形，膈面及肋膈角消失。",
                f"{side}侧胸腔见大量积液影，膈面及肋膈角消失。",
            ),
        }[f.degree]
    if f.name == "Pneumothorax":
        share = round(100 * f.ratio / 5) * 5
        return _pick(
            rng,
            f"{side}侧胸腔见无肺纹理透亮区，可见压缩肺边缘，肺组织压缩约{share}%。",
            f"{side}侧可见气胸带，其内无肺纹理，肺组织压缩约{share}%。",
        )
    if f.name == "Consolidation":
        return _pick(
            rng,
            f"{side}肺{zone}野见片状高密度影，边缘模糊。",
            f"{side}肺{zone}野见斑片状密度增高影，边界不清。",
        )
    if f.name == "Nodule":
        return _pick(
            rng,
            f"{side}肺{zone}野见一类圆形结节影，直径约{f.size_mm:.0f}mm，边界清楚。",
            f"{side}肺{zone}野见一直径约{f.size_mm:.0f}mm结节影，边缘光整。",
        )
    return _pick(rng, f"心影增大，心胸比约{f.ratio:.2f}。", f"心影呈普大型增大，心胸比约{f.ratio:.2f}。")


def _impression_zh(f: Finding) -> str:
    side, zone = _SIDE_ZH.get(f.side, ""), _ZONE_ZH.get(f.zone, "")
    amount = {"small": "少量", "moderate": "中等量", "large": "大量"}[f.degree] if f.degree else ""
    return {
        "Pleural Effusion": f"{side}侧胸腔{amount}积液",
        "Pneumothorax": f"{side}侧气胸，肺组织压缩约{round(100 * f.ratio / 5) * 5}%",
        "Consolidation": f"{side}肺{zone}野炎症可能",
        "Nodule": f"{side}肺{zone}野结节",
        "Cardiomegaly": "心影增大",
    }[f.name]
