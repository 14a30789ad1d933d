"""Which layers are rounded to 8 bits, and between what."""

import json

import numpy as np
import pytest

from operators.core.centerface import INT8_BOUNDS
from operators.core.detect import weights_path
from operators.core.eight_bits import convolutions, to_eight_bits
from operators.core.openvino_core import openvino_core


def small_model():
    """Two convolutions in one: `a` of two channels, each with weights of its own size."""
    from openvino import Model
    from openvino import opset13 as ops

    pixels = ops.parameter([1, 1, 4, 4], np.float32)
    weights = np.array([0.3, 30], np.float32).reshape(2, 1, 1, 1)
    node = ops.convolution(pixels, ops.constant(weights), [1, 1], [0, 0], [0, 0], [1, 1])
    node.set_friendly_name("a/WithoutBiases")
    return Model([ops.result(node)], [pixels], "small")


def run(model, value: float) -> np.ndarray:
    compiled = openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([np.full((1, 1, 4, 4), value, np.float32)])[0][0, :, 0, 0]


@pytest.mark.parametrize(("bounds", "value"), [((0, 255), 77), ((-4, 8), -4)])
def test_a_value_within_the_bounds_comes_through_and_each_channel_has_its_own_scale(bounds, value):
    model = small_model()
    to_eight_bits(model, {"a": bounds})
    assert run(model, value) == pytest.approx(np.array([0.3, 30]) * value, rel=0.01)


def test_what_lies_outside_the_bounds_is_cut():
    model = small_model()
    to_eight_bits(model, {"a": (0, 2)})
    assert run(model, 9) == pytest.approx([0.6, 60], rel=0.01)
    assert run(model, -9) == pytest.approx([0, 0], abs=1e-6)


def test_a_layer_that_the_model_lacks_is_an_error():
    with pytest.raises(KeyError, match="b"):
        to_eight_bits(small_model(), {"b": (0, 1)})


def test_all_layers_of_the_detector_have_bounds_but_the_two_that_are_kept():
    model = openvino_core().read_model(weights_path())
    assert convolutions(model).keys() - json.loads(INT8_BOUNDS.read_text()).keys() == {"366", "369"}
