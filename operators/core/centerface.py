"""Run CenterFace's network: OpenVINO on CPU, ONNX Runtime on CUDA."""

import json
import platform
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.core.eight_bits import to_eight_bits
from operators.core.onnx_shape import free_shapes
from operators.core.openvino_core import openvino_core

INPUT = "input.1"
#: Heatmap, scale, offset, landmarks.
OUTPUTS = ("537", "538", "539", "540")
#: Compiled shapes kept at once: an archive may mix many frame sizes, memory may not.
MAX_SHAPES = 8
#: Between which values the inputs of the layers lie that run in 8 bits: {layer: [low, high]}.
INT8_BOUNDS = Path(__file__).with_name("centerface_int8.json")
PRECISIONS = ("auto", "f32", "int8")
#: On a GPU a batch of one leaves it idle.
CUDA_BATCH = 16

Maps = Sequence[NDArray[np.float32]]


def load(
    weights: Path, device: str, threads: int, batch: int | None, precision: str
) -> "OpenVinoBackend | OnnxRuntimeBackend":
    """The backend for a device: `cpu` or `cuda`. Raises ValueError for another name."""
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}: known are {', '.join(PRECISIONS)}")
    if device == "cpu":
        return OpenVinoBackend(weights, threads, batch or 1, precision)
    if device == "cuda":
        return OnnxRuntimeBackend(weights, threads, batch or CUDA_BATCH, "CUDAExecutionProvider")
    raise ValueError(f"unknown device {device!r}: known are cpu, cuda")


class OpenVinoBackend:
    """One compiled model for each input shape, with uint8 NHWC input."""

    def __init__(self, weights: Path, threads: int, batch: int, precision: str) -> None:
        self.batch = batch
        self._core = openvino_core()
        self._weights = weights
        able = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        rest = "bf16" if able and precision != "f32" else "f32"
        # x86 that computes bfloat16 multiplies bytes without overflow too; older ones may not
        self._bytes = able and precision == "int8" and platform.machine() in ("x86_64", "AMD64")
        self._rest = rest
        self._threads = threads
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self.name = f"openvino-cpu-{'int8' if self._bytes else rest}"

    def __call__(self, images: NDArray[np.uint8]) -> Maps:
        """(batch, H, W, 3) uint8 RGB -> four maps, valid until the next call."""
        shape = images.shape
        if shape not in self._requests:
            self._requests[shape] = self._compile(shape)
            if len(self._requests) > MAX_SHAPES:
                self._requests.popitem(last=False)
        self._requests.move_to_end(shape)
        request = self._requests[shape]
        request.infer([images], share_inputs=True, share_outputs=True)
        return [request.get_tensor(name).data for name in OUTPUTS]

    def _compile(self, shape: tuple[int, ...]) -> Any:
        from openvino import Layout, Type
        from openvino.preprocess import PrePostProcessor

        batch, height, width, channels = shape
        model = self._core.read_model(self._weights)
        model.reshape([batch, channels, height, width])
        if self._bytes:
            to_eight_bits(model, json.loads(INT8_BOUNDS.read_text()))
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
        steps.input().model().set_layout(Layout("NCHW"))
        options = {
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": self._rest,
            # Every process would pin its thread to the same first core.
            "ENABLE_CPU_PINNING": False,
        }
        return self._core.compile_model(steps.build(), "CPU", options).create_infer_request()


class OnnxRuntimeBackend:
    """One session for all shapes, of one batch size."""

    def __init__(self, weights: Path, threads: int, batch: int, provider: str) -> None:
        try:
            import onnxruntime as ort  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError("device cuda needs the package `onnxruntime-gpu`") from error

        if provider not in ort.get_available_providers():
            raise RuntimeError(f"ONNX Runtime offers no {provider} here: use device cpu")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        model = free_shapes(weights.read_bytes(), (INPUT, *OUTPUTS))
        session = ort.InferenceSession(model, options, providers=[provider])
        if provider not in session.get_providers():
            raise RuntimeError(f"ONNX Runtime could not start {provider}: use device cpu")
        self.batch = batch
        self.name = f"onnxruntime-{provider.removesuffix('ExecutionProvider').lower()}-f32"
        self._run: Callable[..., Maps] = session.run

    def __call__(self, images: NDArray[np.uint8]) -> Maps:
        """(batch, H, W, 3) uint8 RGB -> four maps."""
        planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
        return self._run(list(OUTPUTS), {INPUT: planes})
