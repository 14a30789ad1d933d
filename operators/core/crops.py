"""Crops between Arrow and NumPy."""

import math

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.core.operator import flatten


def flatten_crops(column: pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.uint8]]:
    """Offsets `(rows + 1,)` and all crops of a batch as `(N, P, P, 3) uint8`, without a copy."""
    offsets, values = flatten(column)
    pixels = values.type.list_size
    side_px = math.isqrt(pixels // 3)
    flat = values.flatten().to_numpy(zero_copy_only=True)
    return offsets, flat.reshape(len(values), side_px, side_px, 3)


def crops_to_array(crops: NDArray[np.uint8], type: pa.FixedSizeListType) -> pa.Array:
    """`(N, P, P, 3) uint8` as an Arrow array of one fixed-size list a crop, without a copy."""
    flat = pa.array(np.ascontiguousarray(crops).reshape(-1), pa.uint8())
    return pa.FixedSizeListArray.from_arrays(flat, type=type)
