"""Run a backbone's image tower over crops of any number, at one fixed batch shape.

A kernel may sum in another order when the batch has another size. So every pass has exactly
`batch_shape` images, padded with zeros at the end: one crop's embedding is then equal to the bit,
on a CPU, however the crops were ordered, split or counted.
"""

import warnings
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from operators.core.openvino_core import openvino_core


class ImageTextModel(Protocol):
    """What the tower needs of a backbone."""

    @property
    def image_size_px(self) -> int: ...
    @property
    def embedding_dim(self) -> int: ...
    @property
    def mean(self) -> tuple[float, float, float]: ...
    @property
    def std(self) -> tuple[float, float, float]: ...
    @property
    def model(self) -> nn.Module: ...


class ImageTower:
    """Embed crops: `(N, P, P, 3) uint8 RGB`, any P, to `(N, D) float32` rows of unit length.

    On the CPU the tower is compiled by OpenVINO, in bf16 where the processor computes bf16; on
    CUDA it runs in torch under bf16 autocast. `threads` counts the CPU threads it may use.
    """

    def __init__(
        self, backbone: ImageTextModel, device: str = "cpu", batch_shape: int = 64, threads: int = 1
    ) -> None:
        if batch_shape < 1 or threads < 1:
            raise ValueError("batch_shape and threads are at least 1")
        self.image_size_px = backbone.image_size_px
        self.embedding_dim = backbone.embedding_dim
        self.batch_shape = batch_shape
        self.device = device
        graph = _Graph(backbone).eval()
        shape = (batch_shape, self.image_size_px, self.image_size_px, 3)
        self._run = (
            _compile_openvino(graph, shape, threads) if device == "cpu" else _Cuda(graph, device)
        )

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Embed `(N, P, P, 3) uint8 RGB`: `(N, D) float32`.

        Raises:
            ValueError: not square uint8 RGB.
        """
        if crops.ndim != 4 or crops.dtype != np.uint8 or crops.shape[3] != 3:
            raise ValueError(f"crops are (N, P, P, 3) uint8 RGB, not {crops.shape} {crops.dtype}")
        if crops.shape[1] != crops.shape[2]:
            raise ValueError(f"crops are square, not {crops.shape[1]} x {crops.shape[2]} px")
        size, step = self.image_size_px, self.batch_shape
        out = np.empty((len(crops), self.embedding_dim), np.float32)
        for start in range(0, len(crops), step):
            part = resize_crops(crops[start : start + step], size)
            if len(part) < step:
                padding = np.zeros((step - len(part), size, size, 3), np.uint8)
                part = np.concatenate([part, padding])
            rows = min(step, len(crops) - start)
            out[start : start + rows] = self._run(np.ascontiguousarray(part))[:rows]
        # outside the graph: a norm summed in bf16 would leave lengths off by a thousandth
        out /= np.maximum(np.sqrt(np.square(out).sum(axis=1, keepdims=True)), 1e-12)
        return out


def resize_crops(crops: np.ndarray, size_px: int) -> np.ndarray:
    """Resize `(N, P, P, 3) uint8 RGB` to `size_px`: bicubic, antialiased, in fixed point.

    Integer arithmetic makes a crop's pixels independent of its neighbours in the batch.
    """
    if crops.shape[1] == size_px:
        return crops
    images = torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2)
    resized = nn.functional.interpolate(
        images, (size_px, size_px), mode="bicubic", antialias=True, align_corners=False
    )
    return resized.permute(0, 2, 3, 1).contiguous().numpy()


class _Graph(nn.Module):
    """Pixels to image features: (B, S, S, 3) uint8 -> (B, D)."""

    def __init__(self, backbone: ImageTextModel) -> None:
        super().__init__()
        self.model = backbone.model
        # one multiply and one add instead of two divisions
        mean, std = torch.tensor(backbone.mean), torch.tensor(backbone.std)
        self.gain = nn.Buffer((1 / (255 * std)).view(1, 3, 1, 1), persistent=False)
        self.offset = nn.Buffer((-mean / std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        images = pixels.permute(0, 3, 1, 2).float() * self.gain + self.offset
        return self.model.encode_image(images)  # type: ignore[operator]


class _Cuda:
    """The graph in torch, channels last, under bf16 autocast."""

    def __init__(self, graph: nn.Module, device: str) -> None:
        self.device = torch.device(device)
        self.graph = graph.to(self.device).to(memory_format=torch.channels_last)  # type: ignore

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16):
            return self.graph(torch.from_numpy(pixels).to(self.device)).float().cpu().numpy()


class _OpenVino:
    """One compiled network and its one request."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return self._request.infer([pixels], share_inputs=True)[0]


def _compile_openvino(
    graph: nn.Module, shape: tuple[int, int, int, int], threads: int
) -> _OpenVino:
    """Trace and compile for the CPU at a static shape.

    The frontend is called directly: `openvino.convert_model` reports its use over the network.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.inference_mode(), warnings.catch_warnings():
        # the frontend traces: torch calls that deprecated, and shapes are meant to be constants
        warnings.simplefilter("ignore")
        decoder = TorchScriptPythonDecoder(
            graph,
            example_input=(torch.zeros(shape).byte(),),
            trace_kwargs={"check_trace": False},  # it would trace again, and pass twice more
        )
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    model.reshape(list(shape))
    core = openvino_core()
    bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    return _OpenVino(core.compile_model(model, "CPU", settings))
