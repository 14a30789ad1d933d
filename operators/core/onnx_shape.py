"""Free the batch and picture size that an ONNX file declares, without the `onnx` package.

ONNX Runtime refuses inputs of another shape than declared; CenterFace's file declares a small one.
"""

from collections.abc import Iterator

#: Field numbers of onnx.proto, from the file down to a dimension.
GRAPH, GRAPH_INPUT, GRAPH_OUTPUT, VALUE_TYPE, TENSOR_TYPE, TENSOR_SHAPE, DIM = 7, 11, 12, 2, 1, 2, 1
DIM_VALUE, DIM_PARAM = 1, 2
LENGTH_DELIMITED = 2


def free_shapes(model: bytes) -> bytes:
    """The same model, whose inputs and outputs take any batch size, height and width.

    Dimension 1, the channels, stays as it is.
    """
    return _rewrite(model, (GRAPH,), _free_graph)


def _free_graph(graph: bytes) -> bytes:
    for end in (GRAPH_INPUT, GRAPH_OUTPUT):
        path = (end, VALUE_TYPE, TENSOR_TYPE, TENSOR_SHAPE)
        graph = _rewrite(graph, path, lambda shape, end=end: _free_dims(shape, end))
    return graph


def _free_dims(shape: bytes, end: int) -> bytes:
    out = bytearray()
    for axis, (number, wire, _, payload) in enumerate(_fields(shape)):
        if number == DIM and axis != 1:
            side = "in" if end == GRAPH_INPUT else "out"
            name = "batch" if axis == 0 else f"{side}{axis}"
            payload = _record(DIM_PARAM, name.encode())
        out += _record(number, payload) if wire == LENGTH_DELIMITED else payload
    return bytes(out)


def _rewrite(message: bytes, path: tuple[int, ...], change) -> bytes:
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
