"""Cut, patch and forge containers byte by byte."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

TS_PACKET = 188


@dataclass(frozen=True)
class Box:
    """Where a box of an ISO file lies: `[start, end)`, its own header included."""

    type: bytes
    start: int
    end: int

    @property
    def body(self) -> int:
        return self.start + 8


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes side by side in a range."""
    at, end = start, len(data) if end is None else end
    while at + 8 <= end:
        size = int.from_bytes(data[at : at + 4], "big")
        yield Box(data[at + 4 : at + 8], at, at + size)
        at += size


def find(data: bytes, path: str) -> Box:
    """The first box at a path such as `moov/trak/tkhd`."""
    start, end = 0, len(data)
    found = None
    for name in path.split("/"):
        found = next(b for b in boxes(data, start, end) if b.type == name.encode())
        start, end = found.body, found.end
    assert found is not None
    return found


def box(type: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + type + body


def patch(data: bytes, at: int, new: bytes) -> bytes:
    """`data` with `new` written over it from `at` on."""
    assert 0 <= at <= len(data) - len(new)
    return data[:at] + new + data[at + len(new) :]


def replace(data: bytes, path: str, new: bytes) -> bytes:
    """Put another box (or none, or several) in the place of one, and measure its parents again.

    Only for files whose media lie before the index: their offsets stay true.
    """
    target = find(data, path)
    shift = len(new) - (target.end - target.start)
    out = data[: target.start] + new + data[target.end :]
    names = path.split("/")
    for depth in range(1, len(names)):
        parent = find(data, "/".join(names[:depth]))
        out = patch(out, parent.start, struct.pack(">I", parent.end - parent.start + shift))
    return out


def insert(data: bytes, path: str, new: bytes) -> bytes:
    """Put boxes before the one at `path`."""
    target = find(data, path)
    return replace(data, path, new + data[target.start : target.end])


def flip_bits(data: bytes, start: int, end: int, count: int, seed: int = 0) -> bytes:
    """Turn `count` bits over somewhere in a range."""
    rng = np.random.default_rng(seed)
    out = bytearray(data)
    for at, bit in zip(rng.integers(start, end, count), rng.integers(0, 8, count), strict=True):
        out[at] ^= 1 << int(bit)
    return bytes(out)


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def packets(data: bytes) -> list[bytes]:
    """The packets of an MPEG transport stream."""
    return [data[at : at + TS_PACKET] for at in range(0, len(data) - TS_PACKET + 1, TS_PACKET)]


def pid(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def renumbered(data: bytes) -> bytes:
    """A transport stream whose packets count on without a break, as if sent by one sender."""
    counts: dict[int, int] = {}
    out = []
    for packet in packets(data):
        if packet[3] & 0x10:
            counts[pid(packet)] = (counts.get(pid(packet), -1) + 1) % 16
        out.append(patch(packet, 3, bytes([packet[3] & 0xF0 | max(counts.get(pid(packet), 0), 0)])))
    return b"".join(out)


# --- Matroska ------------------------------------------------------------------------------------

EBML, SEGMENT, INFO, TRACKS, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675


def element(id: int, *body: bytes) -> bytes:
    """A Matroska element, its size always in eight bytes."""
    content = b"".join(body)
    return _id(id) + (1 << 56 | len(content)).to_bytes(8, "big") + content


def number(id: int, value: int) -> bytes:
    return element(id, value.to_bytes(8, "big"))


def real(id: int, value: float) -> bytes:
    return element(id, struct.pack(">d", value))


def _id(id: int) -> bytes:
    return id.to_bytes((id.bit_length() + 7) // 8, "big")


def matroska(
    codec: str,
    width: int,
    height: int,
    blocks: Sequence[tuple[int, bytes]],
    track: bytes = b"",
    duration: float | None = None,
    codec_private: bytes = b"",
) -> bytes:
    """A Matroska file of one video track. blocks: (time in milliseconds, bytes), all key frames. A
    time below zero, which a cluster cannot have, stands in its block.

    track: further elements of the track. duration: in milliseconds.
    """
    head = element(
        EBML,
        element(0x4282, b"matroska"),
        number(0x4287, 4),
        number(0x4285, 2),
    )
    info = element(
        INFO,
        number(0x2AD7B1, 1_000_000),
        real(0x4489, duration) if duration is not None else b"",
        element(0x4D80, b"forged"),
        element(0x5741, b"forged"),
    )
    private = element(0x63A2, codec_private) if codec_private else b""
    entry = element(
        0xAE,
        number(0xD7, 1),
        number(0x73C5, 1),
        number(0x83, 1),
        element(0x86, codec.encode()),
        private,
        element(0xE0, number(0xB0, width), number(0xBA, height)),
        track,
    )
    clusters = [
        element(
            CLUSTER,
            number(0xE7, max(time, 0)),
            element(0xA3, struct.pack(">BhB", 0x81, min(time, 0), 0x80) + body),
        )
        for time, body in blocks
    ]
    return head + element(SEGMENT, info, element(TRACKS, entry), *clusters)
