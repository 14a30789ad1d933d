"""Free the batch and picture size that an ONNX file declares, without the `onnx` package.

ONNX Runtime refuses inputs of another shape than declared; CenterFace's file declares a small one.
"""

from collections.abc import Callable, Collection, Iterator
from functools import partial

#: Field numbers of onnx.proto, from the file down to a dimension.
GRAPH, GRAPH_INPUT, GRAPH_OUTPUT, VALUE_NAME, VALUE_TYPE = 7, 11, 12, 1, 2
TENSOR_TYPE, TENSOR_SHAPE, DIM, DIM_PARAM = 1, 2, 1, 2
LENGTH_DELIMITED = 2


def free_shapes(model: bytes, names: Collection[str]) -> bytes:
    """The same model, in which the named inputs and outputs take any batch, height and width.

    Dimension 1, the channels, stays as it is. Old files list their weights as inputs too: these
    are not to be named.
    """
    wanted = {name.encode() for name in names}
    return _rewrite(model, (GRAPH,), lambda graph: _free_graph(graph, wanted))


def _free_graph(graph: bytes, wanted: set[bytes]) -> bytes:
    for end, side in ((GRAPH_INPUT, "in"), (GRAPH_OUTPUT, "out")):
        graph = _rewrite(graph, (end,), partial(_free_value, side=side, wanted=wanted))
    return graph


def _free_value(value: bytes, side: str, wanted: set[bytes]) -> bytes:
    name = next((payload for number, _, _, payload in _fields(value) if number == VALUE_NAME), b"")
    if name not in wanted:
        return value
    return _rewrite(value, (VALUE_TYPE, TENSOR_TYPE, TENSOR_SHAPE), partial(_free_dims, side=side))


def _free_dims(shape: bytes, side: str) -> bytes:
    out = bytearray()
    for axis, (number, _, raw, _) in enumerate(_fields(shape)):
        free = _record(DIM_PARAM, b"batch" if axis == 0 else f"{side}{axis}".encode())
        out += raw if number != DIM or axis == 1 else _record(DIM, free)
    return bytes(out)


def _rewrite(message: bytes, path: tuple[int, ...], change: Callable[[bytes], bytes]) -> bytes:
    if not path:
        return change(message)
    out = bytearray()
    for number, wire, raw, payload in _fields(message):
        if number == path[0] and wire == LENGTH_DELIMITED:
            out += _record(number, _rewrite(payload, path[1:], change))
        else:
            out += raw
    return bytes(out)


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Number, wire type, raw bytes and payload of each field of a protobuf message."""
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        wire = key & 7
        if wire == LENGTH_DELIMITED:
            size, at = _varint(message, at)
            payload = message[at : at + size]
            at += size
        elif wire == 0:
            _, at = _varint(message, at)
            payload = message[start:at]
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
            payload = message[start:at]
        else:
            raise ValueError(f"not an ONNX file: wire type {wire}")
        yield key >> 3, wire, message[start:at], payload


def _record(number: int, payload: bytes) -> bytes:
    return _encode(number << 3 | LENGTH_DELIMITED) + _encode(len(payload)) + payload


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            return value, at


def _encode(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))
