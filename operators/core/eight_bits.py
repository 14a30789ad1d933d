"""A network's convolutions in 8 bits: half the time of bfloat16 where the CPU multiplies bytes.

Weights are rounded for each output channel, inputs once for each layer, between bounds that were
measured before: `benchmarks.detector_int8` measures CenterFace's, and what is lost by them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: What OpenVINO's low precision passes take: unsigned inputs in 256 steps, symmetric weights.
INPUT_LEVELS, WEIGHT_LEVELS = 256, 255

Bounds = Mapping[str, tuple[float, float]]


def convolutions(model: Any) -> dict[str, Any]:
    """The convolutions of an OpenVINO model by what the ONNX file calls their results."""
    return {
        node.get_friendly_name().split("/")[0]: node
        for node in model.get_ordered_ops()
        if node.get_type_name() in ("Convolution", "GroupConvolution")
    }


def to_eight_bits(model: Any, bounds: Bounds) -> None:
    """Mark the convolutions that `bounds` names, with what goes into them, for 8 bits; in place.

    Raises KeyError where the model has no such convolution.
    """
    from openvino import opset13 as ops

    known = convolutions(model)
    for name, (low, high) in bounds.items():
        node = known[name]
        if low < 0:
            low, high = -max(-low, high), max(-low, high)
        ends = [ops.constant(np.full((1, 1, 1, 1), end, np.float32)) for end in (low, high)]
        rounded = ops.fake_quantize(node.input_value(0), *ends, *ends, INPUT_LEVELS)
        node.input(0).replace_source_output(rounded.output(0))
        weights = _constant(node.input_value(1))
        # (out, in, h, w), or (groups, out, in, h, w): all but the output channels
        inner = tuple(range(2 if node.get_type_name() == "GroupConvolution" else 1, weights.ndim))
        most = np.maximum(np.abs(weights).max(axis=inner, keepdims=True), 1e-12)
        sides = [ops.constant(-most), ops.constant(most)]
        rounded = ops.fake_quantize(ops.constant(weights), *sides, *sides, WEIGHT_LEVELS)
        node.input(1).replace_source_output(rounded.output(0))


def _constant(output: Any) -> NDArray[np.float32]:
    """Weights, through the reshapes between them and the layer."""
    node = output.get_node()
    while node.get_type_name() == "Reshape":
        node = node.input_value(0).get_node()
    return np.array(node.get_data(), np.float32).reshape(tuple(output.get_shape()))
