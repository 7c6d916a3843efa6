"""Radiographs with text burned in.

Used by `burned_in.py` (measurement) and `burned_in_train.py`. Fonts are those of the machine:
DejaVu comes with matplotlib; Liberation, Noto CJK and WenQuanYi are used where installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Image16 = NDArray[np.uint16]
Rng = np.random.Generator

REFERENCE_PX = 2500
"""Sizes of letters are given for images of this long side."""
WHERE = ("corner", "anatomy", "border")
LATIN = (
    "WANG^WEI", "Doe, John", "MUELLER ANNA", "ID: 4471902", "PID 00382716", "1987-03-12", "15.04.1950 M",
    "Saint Aurelia Hospital", "Northfield Clinic", "Garcia Maria F 056Y", "12:34:56", "Acc# A2104430021",
    "DOB 03/11/1962", "Dr. Kowalski", "kV 125 mAs 2.1", "S/N 88213", "Johansson^Erik", "Ward 7B", "20210907",
    "Okafor", "Chest PA 2021/09/07", "portable 06:15 AM", "EXI 1850 DI -0.4", "Novak, Elena", "MRN 99127",
)  # fmt: skip
CHINESE = (
    "王伟", "李秀英", "张建国", "滨江市第二人民医院", "姓名：陈敏", "性别：女 年龄：56岁", "检查号：20231123",
    "放射科 胸部正位", "住院号 0098213", "周磊 男 34岁", "黄芳", "出生日期 1967年03月12日",
)  # fmt: skip
_FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", str(Path.home() / ".fonts"))
_CJK = ("NotoSansCJK", "NotoSerifCJK", "wqy-", "simsun", "msyh")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text and how it was drawn; box in pixels of the final image."""

    box: tuple[float, float, float, float]
    where: str
    cap_px: float
    script: str
    contrast: float
    style: str
    rotated: bool
    jpeg: bool
    ink: float = 1.0


@lru_cache(maxsize=1)
def fonts() -> dict[str, list[str]]:
    """Font files: {"latin": [...], "chinese": [...]}; the second may be empty."""
    found = sorted(
        str(p) for f in _FONT_FOLDERS if Path(f).is_dir() for p in Path(f).rglob("*.tt[fc]") if p.is_file()
    )
    own = sorted(str(p) for p in (Path(mpl.get_data_path()) / "fonts" / "ttf").glob("DejaVu*.ttf"))
    latin = [f for f in found if "Liberation" in f] + [f for f in own if "Display" not in f]
    return {"latin": latin, "chinese": [f for f in found if any(name in f for name in _CJK)]}


@lru_cache(maxsize=256)
def _font(path: str, size: int) -> Any:
    return ImageFont.truetype(path, size)


def glyphs(text: str, cap_px: float, rng: Rng) -> NDArray[np.float32]:
    """Text in a font drawn by chance: coverage (h, w) in [0, 1], cropped to the ink."""
    chinese = any(ord(c) > 0x2E00 for c in text)
    if not chinese and rng.random() < 0.15:
        kind = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX]))
        scale, thick = cap_px / 21, max(1, round(cap_px * rng.uniform(0.07, 0.16)))
        (width, height), below = cv2.getTextSize(text, kind, scale, thick)
        canvas = np.zeros((height + below + 2 * thick + 8, width + 2 * thick + 8), np.uint8)
        cv2.putText(canvas, text, (thick + 4, height + thick + 4), kind, scale, 255, thick, cv2.LINE_AA)
    else:
        files = fonts()["chinese" if chinese else "latin"]
        font = _font(
            files[int(rng.integers(len(files)))], max(6, round(cap_px / (0.86 if chinese else 0.73)))
        )
        left, top, right, bottom = font.getbbox(text)
        image = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
        pen = ImageDraw.Draw(image)
        pen.fontmode = "1" if rng.random() < 0.25 else "L"
        pen.text((4 - left, 4 - top), text, fill=255, font=font)
        canvas = np.asarray(image)
    ys, xs = np.flatnonzero(canvas.max(1) > 60), np.flatnonzero(canvas.max(0) > 60)
    if not ys.size:
        return np.ones((4, 4), np.float32)
    return canvas[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1].astype(np.float32) / 255


def write(image: NDArray[np.float32], mask: NDArray[np.float32], x: int, y: int, value: float) -> None:
    """Lay a value over an image, as far as the mask covers it."""
    part = image[y : y + mask.shape[0], x : x + mask.shape[1]]
    part += (value - part) * mask[: part.shape[0], : part.shape[1]]


def _line(
    image: NDArray[np.float32],
    mask: NDArray[np.float32],
    x: int,
    y: int,
    style: str,
    contrast: float,
    rng: Rng,
) -> bool:
    """Draw one line of text; False where it could not be read."""
    h, w = mask.shape
    part = image[y : y + h, x : x + w]
    pad = max(2, h // 5) if h < w else max(2, w // 5)
    wide = (slice(max(y - pad, 0), y + h + pad), slice(max(x - pad, 0), x + w + pad))
    if style == "faint":
        low, high = np.percentile(part, [2, 98])
        sign = 1.0 if high + contrast < 1 else -1.0
        if sign < 0 and low - contrast < 0:
            return False
        part += sign * contrast * mask
        return True
    mean = float(part.mean())
    white = 1.0 if rng.random() < 0.7 else rng.uniform(0.85, 0.99)
    if style == "black-on-white":
        image[wide] = white
        write(image, mask, x, y, 0.0 if rng.random() < 0.7 else rng.uniform(0, 0.2))
    elif style == "white-on-black":
        image[wide] = 0
        write(image, mask, x, y, white)
    elif style == "outline":
        d = max(1, round(min(h, w) * rng.uniform(0.05, 0.1)))
        around = cv2.copyMakeBorder(mask, d, d, d, d, cv2.BORDER_CONSTANT)
        around = cv2.dilate(around, np.ones((2 * d + 1, 2 * d + 1)))[max(0, d - y) :, max(0, d - x) :]
        write(image, around, max(0, x - d), max(0, y - d), 0.0)
        write(image, mask, x, y, white)
    elif style == "shadow":
        d = max(1, round(min(h, w) * rng.uniform(0.04, 0.12)))
        write(image, mask, x + d, y + d, 0.0)
        write(image, mask, x, y, white)
    else:
        dark = rng.random() < 0.15 or mean > 1 - 1.15 * contrast
        if (mean if dark else 1 - mean) < contrast:
            return False
        write(image, mask, x, y, 0.0 if dark else max(white, mean + contrast) if white < 1 else 1.0)
    return True


def add_text(
    image: Image16, rng: Rng, *, faint: float = 0.15, lines: tuple[int, int] = (1, 5)
) -> tuple[Image16, list[Line]]:
    """Burn one to three blocks of text into an image.

    Args:
        image: (H, W), over 0..65535.
        rng: What is drawn.
        faint: Share of blocks of 10 to 16 % contrast.
        lines: Least and most lines of a block.

    Returns:
        The image, maybe compressed by JPEG, or shrunk; and the lines that are in it.
    """
    canvas = image.astype(np.float32) / 65535
    made: list[Line] = []
    taken = np.zeros(image.shape, np.uint8)
    jpeg = int(rng.integers(50, 91)) if rng.random() < 0.3 else 0
    for _ in range(int(rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2]))):
        made += _block(canvas, taken, rng, int(rng.integers(lines[0], lines[1] + 1)), faint, jpeg > 0)
    out: Image16 = np.rint(np.clip(canvas, 0, 1) * 65535).astype(np.uint16)
    if rng.random() < 0.3:
        out = np.rint(np.rint(out / 65535 * 4095) * (65535 / 4095)).astype(np.uint16)
    if jpeg:
        _, data = cv2.imencode(".jpg", (out >> 8).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, jpeg])
        out = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE).astype(np.uint16) * 257
    if rng.random() < 0.2:
        scale = rng.uniform(0.5, 0.9)
        shape = (round(out.shape[1] * scale), round(out.shape[0] * scale))
        out = cv2.resize(out, shape, interpolation=cv2.INTER_AREA if rng.random() < 0.6 else cv2.INTER_LINEAR)
        sx, sy = shape[0] / image.shape[1], shape[1] / image.shape[0]
        made = [_scaled(line, sx, sy) for line in made]
    return out, made


def _scaled(line: Line, sx: float, sy: float) -> Line:
    x0, y0, x1, y1 = line.box
    return Line((x0 * sx, y0 * sy, x1 * sx, y1 * sy), line.where, line.cap_px, line.script, line.contrast,
                line.style, line.rotated, line.jpeg)  # fmt: skip


def _block(
    canvas: NDArray[np.float32], taken: NDArray[np.uint8], rng: Rng, count: int, faint: float, jpeg: bool
) -> list[Line]:
    height, width = canvas.shape
    unit = max(height, width) / REFERENCE_PX
    cap = float(np.exp(rng.uniform(np.log(10), np.log(120))))
    where = str(rng.choice(WHERE, p=[0.45, 0.4, 0.15]))
    styles = ("plain", "faint", "black-on-white", "white-on-black", "outline", "shadow")
    style = str(rng.choice(styles, p=[0.6 - faint, faint, 0.1, 0.1, 0.1, 0.1]))
    contrast = float(rng.uniform(0.10, 0.16)) if style == "faint" else 0.3
    turn = int(rng.choice([0, 1, 3], p=[0.85, 0.09, 0.06]))
    chinese = bool(fonts()["chinese"]) and rng.random() < 0.3
    if rng.random() < 0.15:
        count = 1
    gap = cap * unit * rng.uniform(0.4, 1.0) + 1
    masks = [glyphs(_words(chinese, rng), cap * unit, rng) for _ in range(min(count, 1 + round(300 / cap)))]
    masks = [np.ascontiguousarray(np.rot90(m, turn)) for m in masks]
    masks = [m for m in masks if m.shape[0] < 0.9 * height and m.shape[1] < 0.9 * width]
    if not masks:
        return []
    axis = 1 if turn else 0
    total = sum(m.shape[axis] for m in masks) + gap * (len(masks) - 1)
    across = max(m.shape[1 - axis] for m in masks)
    block = (across, total) if axis == 0 else (total, across)  # width, height
    margin = rng.uniform(0, 4) if where == "border" else rng.uniform(0.005, 0.04) * width
    room = (width - block[0] - margin, height - block[1] - margin)
    if min(room) <= margin:
        return []
    if where == "anatomy":
        x, y = rng.uniform(margin, room[0]), rng.uniform(margin, room[1])
    else:
        x, y = (float(rng.choice([margin, room[i]])) for i in (0, 1))
        if where == "border" and rng.random() < 0.5:
            x = rng.uniform(margin, room[0])
    if taken[int(y) : int(y + block[1]) + 1, int(x) : int(x + block[0]) + 1].any():
        return []
    made = []
    for mask in masks:
        at = (int(x), int(y))
        h, w = mask.shape
        taken[max(0, at[1] - 9) : at[1] + h + 9, max(0, at[0] - 9) : at[0] + w + 9] = 1
        if _line(canvas, mask, *at, style, contrast, rng):
            box = (float(at[0]), float(at[1]), float(at[0] + w), float(at[1] + h))
            made.append(
                Line(box, where, cap, "chinese" if chinese else "latin", contrast, style, turn > 0, jpeg)
            )
        x, y = (x + w + gap, y) if axis else (x, y + h + gap)
    return made


def _words(chinese: bool, rng: Rng) -> str:
    if chinese:
        return str(rng.choice(CHINESE))
    if rng.random() < 0.4:
        letters = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-/.:"))
        return "".join(rng.choice(letters, int(rng.integers(4, 14)))).strip("-/.:") + "a7"
    text = str(rng.choice(LATIN))
    return text.upper() if rng.random() < 0.3 else text
