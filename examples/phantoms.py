"""Make phantom radiographs with a chosen finding, and look at them with the lungs drawn in.

    python examples/phantoms.py phantoms.png --finding "Pleural Effusion"

Writes one picture and prints the report of each phantom in both languages.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from xraytk.data import contour, pictures, synthetic


def main() -> None:
    """Draw phantoms in a row: the image, and the image with its true lung contours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--finding", choices=synthetic.LABELS[:-1], default=None)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--size-px", type=int, default=512)
    given = parser.parse_args()
    findings = None if given.finding is None else [given.finding]
    made = [
        synthetic.make_phantom(seed, size_px=given.size_px, findings=findings) for seed in range(given.count)
    ]
    plain = [np.rint(phantom.pixels * 255).astype(np.uint8) for phantom in made]
    drawn = [
        pictures.draw_polygons(image, contour.trace(phantom.left_lung | phantom.right_lung))
        for image, phantom in zip(plain, made, strict=True)
    ]
    sheet = pictures.montage([*plain, *drawn], columns=given.count, tile_px=320)
    pictures.write_png(given.out, sheet)
    for phantom in made:
        print(phantom.reports["en"])
        print(phantom.reports["zh"])


if __name__ == "__main__":
    main()
