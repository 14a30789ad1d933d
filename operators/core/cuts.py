"""Shot cuts between two consecutive samples, on small luma pictures.

A cut is content that cannot be found again: most textured blocks of either picture have no like
in the other, within reach. Motion moves blocks and a light change scales them, so both are found
by normalised correlation; a difference of pixels or histograms would take the first for a cut and
miss two persons who stand at the same place against one wall.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Luma = NDArray[np.uint8]
Floats = NDArray[np.float32]

#: Sides of a block and of the grid of blocks, and how far a block may have moved, in pixels of the
#: luma picture: at 64 x 36 a sixth of the width from one sample to the next.
BLOCK_PX, GRID_PX, REACH_PX = 10, 5, 10
#: Least contrast (standard deviation of luma) of a block that says anything.
MIN_CONTRAST = 6.0
#: Contrast beyond which a block weighs no more.
FULL_CONTRAST = 30.0
#: Share of the blocks' weight that must be lost, in both directions. Ordinary footage at 6 samples
#: a second stays below 0.14; other people at the same place reach 0.18 and more.
LOST_SHARE = 0.16
#: With this little texture in one picture beside the other, the comparison takes both together.
FEW_BLOCKS = 0.1
#: A picture of less luma range than this is blank: nothing can be followed across it.
BLANK_RANGE = 16
#: A pixel differs if it lies this far outside the range of its neighbours in the other picture;
#: if fewer than this share differ, nothing has changed and the blocks need not be compared.
CHANGED_LUMA, CHANGED_SHARE = 12, 0.004
#: OpenBLAS computes products of up to this many multiplications in the calling thread.
SLICE_PRODUCTS = 1 << 18
NEIGHBOURS = np.ones((5, 5), np.uint8)


def is_cut(previous: Luma, current: Luma) -> bool:
    """Whether a shot cut lies between two luma pictures of equal shape, (h, w) uint8.

    A blank picture (fade, lens covered) counts as one. Cross-fades are not found.
    """
    if int(current.max()) - int(current.min()) < BLANK_RANGE:
        return True
    if not _changed(previous, current):
        return False
    lost, weight = np.transpose([_lost(previous, current), _lost(current, previous)])
    if weight.min() <= FEW_BLOCKS * weight.max():
        return bool(lost.sum() > LOST_SHARE * weight.sum())
    return bool((lost > LOST_SHARE * weight).all())


def _changed(previous: Luma, current: Luma) -> bool:
    """Whether more than a few pixels differ by more than a small motion explains."""
    outside = np.zeros_like(current)
    for a, b in ((previous, current), (current, previous)):
        above = cv2.subtract(b, cv2.dilate(a, NEIGHBOURS))
        below = cv2.subtract(cv2.erode(a, NEIGHBOURS), b)
        outside = cv2.max(outside, cv2.max(above, below))
    return float(np.mean(np.asarray(outside) > CHANGED_LUMA)) > CHANGED_SHARE


def _lost(source: Luma, target: Luma) -> tuple[float, float]:
    """Weight of the source's textured blocks without a like in the target, and of them all."""
    source_units, contrast = _patches(source)
    target_units, _ = _patches(target)
    blocks, in_reach = _reach(source.shape[0], source.shape[1])
    textured = contrast[blocks] >= MIN_CONTRAST
    chosen = blocks[textured]
    if not len(chosen):
        return 0.0, 0.0
    likeness = np.where(in_reach[textured], _products(source_units[chosen], target_units), -1)
    weight = np.minimum(contrast[chosen], FULL_CONTRAST)
    lost = weight * (1 - np.clip(likeness.max(axis=1), 0, 1))
    return float(lost.sum()), float(weight.sum())


def _products(a: Floats, b: Floats) -> Floats:
    """a @ b.T in slices so small that no BLAS wakes its threads, which cost more than they do."""
    step = max(1, SLICE_PRODUCTS // a.size)
    slices = [a @ b[start : start + step].T for start in range(0, len(b), step)]
    return np.concatenate(slices, axis=1)


def _patches(luma: Luma) -> tuple[Floats, Floats]:
    """Every patch as a unit vector, (n, BLOCK_PX ** 2), and its contrast, (n,)."""
    windows = sliding_window_view(luma.astype(np.float32), (BLOCK_PX, BLOCK_PX))
    patches = windows.reshape(-1, BLOCK_PX**2)
    patches = patches - patches.mean(axis=1, keepdims=True)
    norms = np.sqrt(np.einsum("ij,ij->i", patches, patches))
    return patches / np.maximum(norms, 1e-3)[:, None], norms / BLOCK_PX


@lru_cache(maxsize=4)
def _reach(height: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Indices of the grid's blocks among all patches, and which patches each may have come from."""
    ys, xs = np.mgrid[0 : height - BLOCK_PX + 1, 0 : width - BLOCK_PX + 1].reshape(2, -1)
    blocks = np.flatnonzero((ys % GRID_PX == 0) & (xs % GRID_PX == 0))
    near_y = np.abs(ys[blocks, None] - ys) <= REACH_PX
    near_x = np.abs(xs[blocks, None] - xs) <= REACH_PX
    return blocks, near_y & near_x
