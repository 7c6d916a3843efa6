"""Draw what each masking policy leaves visible, on the same images.

    python examples/masking_policies.py OUT.jpg [IMAGE ...]

IMAGE are ingested PNGs; without any, four phantoms are drawn. One row an image: the image with its
contour, then every policy at the paper's ratios (0.95 inside, 0.85 outside), on a grid of 20 x 20.
All images of a column show the same number of patches, as a batch needs it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from xraytk.chance import Chance
from xraytk.data import augment, contour, pictures
from xraytk.data.phantoms.phantom import make_phantom
from xraytk.objectives.masking import Policy, draw, share_map, visible_count
from xraytk.tasks import lungs

GRID, SIDE = 20, 640


def images_of(paths: list[str]) -> list[NDArray[np.uint16]]:
    """The images that are given, or phantoms."""
    if paths:
        return [pictures.read_png(Path(path)) for path in paths]
    made = [make_phantom(seed, size_px=SIDE).pixels for seed in range(4)]
    return [np.rint(np.clip(pixels, 0, 1) * 65535).astype(np.uint16) for pixels in made]


def main() -> None:
    """Draw."""
    out, *paths = sys.argv[1:]
    images = images_of(paths)
    found = [lungs.find(image).polygons for image in images]
    placed = [augment.place(pictures.to_8bit(image), SIDE, "letterbox", augment.NONE) for image in images]
    shares = [
        contour.share_grid(p, i.shape[1], i.shape[0], GRID, GRID) for p, i in zip(found, images, strict=True)
    ]
    patch = SIDE // GRID
    valid = np.stack([v.reshape(GRID, patch, GRID, patch).all((1, 3)).ravel() for _, v in placed])
    tiles, captions = [], []
    visible = {}
    for policy in get_args(Policy):
        has_contour = torch.tensor([bool(p) for p in found])
        where = share_map(policy, torch.from_numpy(np.stack(shares)), has_contour, (GRID, GRID))
        count = visible_count(policy, (GRID, GRID), 0.95, 0.85)
        visible[policy] = draw(where, torch.from_numpy(valid), 0.95, 0.85, Chance(0), count).numpy()
    for i, (grey, _) in enumerate(placed):
        boxed = contour.letterbox_polygons(found[i], *images[i].shape, SIDE)
        tiles.append(pictures.draw_polygons(grey, boxed))
        captions.append("contour")
        for policy, ids in visible.items():
            shown = np.zeros(GRID * GRID, np.uint8)
            shown[ids[i]] = 1
            seen = cv2.resize(shown.reshape(GRID, GRID), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
            tiles.append(np.where(seen > 0, grey, grey // 5))
            captions.append(f"{policy}: {ids.shape[1]} visible")
    sheet = pictures.montage(tiles, captions, columns=1 + len(visible), tile_px=200)
    cv2.imwrite(out, sheet)


if __name__ == "__main__":
    main()
