"""Boxes and similarity transforms: closed forms on arrays, no state."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


def box_areas(xyxy: FloatArray) -> FloatArray:
    """Area of each box; zero where a side is not positive.

    xyxy: (N, 4) left, top, right, bottom. Returns (N,) in the square of their unit.
    """
    sides = np.maximum(xyxy[:, 2:4] - xyxy[:, 0:2], 0.0)
    return sides[:, 0] * sides[:, 1]


def iou_matrix(a_xyxy: FloatArray, b_xyxy: FloatArray) -> FloatArray:
    """Intersection over union of every pair: (N, 4) and (M, 4) -> (N, M) in 0..1.

    Two boxes without area have IoU 0, not NaN.
    """
    left_top = np.maximum(a_xyxy[:, None, 0:2], b_xyxy[None, :, 0:2])
    right_bottom = np.minimum(a_xyxy[:, None, 2:4], b_xyxy[None, :, 2:4])
    sides = np.maximum(right_bottom - left_top, 0.0)
    inter = sides[..., 0] * sides[..., 1]
    union = box_areas(a_xyxy)[:, None] + box_areas(b_xyxy)[None, :] - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def iou_pairs(a_xyxy: FloatArray, b_xyxy: FloatArray) -> FloatArray:
    """Intersection over union of the boxes of each row: (N, 4) and (N, 4) -> (N,) in 0..1."""
    left_top = np.maximum(a_xyxy[:, 0:2], b_xyxy[:, 0:2])
    inter = box_areas(
        np.concatenate([left_top, np.minimum(a_xyxy[:, 2:4], b_xyxy[:, 2:4])], axis=1)
    )
    union = box_areas(a_xyxy) + box_areas(b_xyxy) - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def clip_boxes(xyxy_px: FloatArray, width_px: int, height_px: int) -> FloatArray:
    """Boxes cut at the frame's border: (N, 4) -> (N, 4), same dtype."""
    limits = np.array([width_px, height_px, width_px, height_px], xyxy_px.dtype)
    return np.clip(xyxy_px, np.zeros(4, xyxy_px.dtype), limits)


def box_centers(xyxy: FloatArray) -> FloatArray:
    """Centre of each box: (N, 4) -> (N, 2)."""
    return (xyxy[:, 0:2] + xyxy[:, 2:4]) / 2


def pad_boxes(xyxy: FloatArray, fraction: float) -> FloatArray:
    """Boxes grown on each side by a fraction of their own width and height: (N, 4) -> (N, 4)."""
    grow = (xyxy[:, 2:4] - xyxy[:, 0:2]) * fraction
    return np.concatenate([xyxy[:, 0:2] - grow, xyxy[:, 2:4] + grow], axis=1)


def similarity(source: FloatArray, target: FloatArray) -> NDArray[np.float64]:
    """Least-squares rotation, scale and shift that takes each source shape to the target.

    source: (N, K, 2); target: (K, 2). Returns (N, 2, 3) float64 for `transform_points`. A source
    whose points coincide has no solution: its transform is NaN, for the caller to replace.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    PAMI 1991. In the plane, and without reflection, his solution is the complex regression
    a = <t, s> / <s, s> over centred points.
    """
    s = np.asarray(source, np.float64)
    t = np.asarray(target, np.float64)
    s_mean, t_mean = s.mean(axis=1), t.mean(axis=0)
    s_centred = (s - s_mean[:, None]) @ np.array([1.0, 1.0j])
    t_centred = (t - t_mean) @ np.array([1.0, 1.0j])
    power = (np.abs(s_centred) ** 2).sum(axis=1)
    size = np.abs(s).max(axis=(1, 2), initial=1.0)
    solvable = power > (1e-6 * size) ** 2
    a = np.full(len(s), complex(np.nan, np.nan))
    np.divide((t_centred * s_centred.conj()).sum(axis=1), power, out=a, where=solvable)
    linear = np.stack([np.real(a), -np.imag(a), np.imag(a), np.real(a)], axis=1).reshape(-1, 2, 2)
    shift = t_mean - np.einsum("nij,nj->ni", linear, s_mean)
    return np.concatenate([linear, shift[:, :, None]], axis=2)


def similarity_scale(transforms: FloatArray) -> FloatArray:
    """How much each similarity enlarges: (N, 2, 3) -> (N,)."""
    return np.hypot(transforms[:, 0, 0], transforms[:, 1, 0])


def transform_points(transforms: FloatArray, points: FloatArray) -> FloatArray:
    """Apply affine transforms: (N, 2, 3) on (N, K, 2) -> (N, K, 2)."""
    moved = np.einsum("nij,nkj->nki", transforms[:, :, :2], points)
    return moved + transforms[:, None, :, 2]


def boxes_to_square(xyxy: FloatArray, side_px: float) -> NDArray[np.float64]:
    """The similarity that takes each box's enclosing square to a square crop of `side_px`.

    xyxy: (N, 4). Returns (N, 2, 3) float64. A box without extent counts as one pixel wide.
    """
    boxes = np.asarray(xyxy, np.float64)
    scale = side_px / np.maximum((boxes[:, 2:4] - boxes[:, 0:2]).max(axis=1, initial=1.0), 1.0)
    transforms = np.zeros((len(boxes), 2, 3))
    transforms[:, 0, 0] = transforms[:, 1, 1] = scale
    transforms[:, :, 2] = side_px / 2 - box_centers(boxes) * scale[:, None]
    return transforms
