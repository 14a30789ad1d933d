"""The detector's file with free input shapes, for the runtime that insists on the declared ones."""

from operators.core.centerface import INPUT, OUTPUTS
from operators.core.detect import weights_path
from operators.core.onnx_shape import GRAPH, GRAPH_INPUT, GRAPH_OUTPUT, _fields, free_shapes
from operators.core.openvino_core import openvino_core


def shapes(model: bytes) -> list[bytes]:
    graph = next(payload for number, _, _, payload in _fields(model) if number == GRAPH)
    return [p for number, _, _, p in _fields(graph) if number in (GRAPH_INPUT, GRAPH_OUTPUT)]


def test_only_the_declared_shapes_change(tmp_path):
    import numpy as np

    original = weights_path().read_bytes()
    freed = free_shapes(original, (INPUT, *OUTPUTS))
    changed = [b for a, b in zip(shapes(original), shapes(freed), strict=True) if a != b]
    assert len(changed) == 1 + len(OUTPUTS)
    assert all(b"batch" in shape for shape in changed)

    path = tmp_path / "free.onnx"
    path.write_bytes(freed)
    core = openvino_core()
    model = core.read_model(path)
    assert [d.is_dynamic for d in model.input().partial_shape] == [True, False, True, True]
    model.reshape([1, 3, 64, 96])
    fixed = core.read_model(weights_path())
    fixed.reshape([1, 3, 64, 96])
    image = np.random.default_rng(0).integers(0, 255, (1, 3, 64, 96)).astype(np.float32)
    options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    results = [core.compile_model(m, "CPU", options)(image) for m in (model, fixed)]
    for a, b in zip(results[0].values(), results[1].values(), strict=True):
        assert np.array_equal(a, b)
