"""Files made to do harm: bombs, and headers that ask for the impossible."""

import struct
import zlib
from functools import cache
from functools import partial as bind

from schemas.reasons import Reason
from tests.media import clips
from tests.media.clips import FRAMES, encode
from tests.media.kinds import Outcome, declare, ok, refused
from tests.media.kinds_time import pictures
from tests.media.surgery import (
    box,
    element,
    find,
    matroska,
    number,
    packets,
    patch,
    replace,
)

BOMBS = "bombs"
HEADERS = "impossible headers"

corrupt: Outcome = refused(Reason.CORRUPT)


# --- bombs ---------------------------------------------------------------------------------------


def many_tracks(count: int) -> bytes:
    """An index with as many copies of its one track, each with a number of its own."""
    data = clips.mp4()
    track = find(data, "moov/trak")
    copy = data[track.start : track.end]
    at = find(data, "moov/trak/tkhd").body - track.start + 12
    copies = [patch(copy, at, struct.pack(">I", number)) for number in range(2, count + 1)]
    return replace(data, "moov/trak", copy + b"".join(copies))


def many_tracks_mkv(count: int) -> bytes:
    entry = b"".join(
        element(
            0xAE,
            number(0xD7, track),
            number(0x73C5, track),
            number(0x83, 2),
            element(0x86, b"A_PCM/INT/LIT"),
        )
        for track in range(2, count + 1)
    )
    data = matroska("V_MJPEG", 64, 48, [(40 * i, p) for i, p in enumerate(pictures())])
    at = data.index(element(0x86, b"V_MJPEG"))
    start = data.rindex(b"\xae", 0, at)
    tracks = data.rindex(b"\x16\x54\xae\x6b", 0, start)
    size = int.from_bytes(data[tracks + 4 : tracks + 12], "big") - (1 << 56)
    segment = data.index(b"\x18\x53\x80\x67")
    whole = int.from_bytes(data[segment + 4 : segment + 12], "big") - (1 << 56)
    end = tracks + 12 + size
    data = data[:end] + entry + data[end:]
    for where, old in ((tracks, size), (segment, whole)):
        data = patch(data, where + 4, (1 << 56 | old + len(entry)).to_bytes(8, "big"))
    return data


def many_programs(count: int) -> bytes:
    """A table of programs that are announced and never come, before the real one."""
    whole = packets(clips.ts())
    body = b"".join(struct.pack(">HH", i + 2, 0xE000 | 4097 + i) for i in range(count))
    section = b"\x00" + struct.pack(">H", 0xB000 | 9 + len(body)) + b"\x00\x01\xc1\x00\x00" + body
    section += struct.pack(">I", crc32_mpeg(section))
    fakes = []
    for index in range(20):
        head = bytes([0x47, 0x40, 0x00, 0x10 | index % 16, 0x00])
        fakes.append((head + section).ljust(188, b"\xff"))
    return b"".join(fakes) + b"".join(whole)


def crc32_mpeg(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 1 << 31 else crc << 1) & 0xFFFFFFFF
    return crc


@cache
def vp8_key_frame() -> bytes:
    data = encode("ivf", "libvpx")
    size = int.from_bytes(data[32:36], "little")
    return data[44 : 44 + size]


def huge_frame(declared: int) -> bytes:
    """A few hundred bytes of VP8 that ask for 16383x16383 pixels."""
    frame = patch(vp8_key_frame(), 6, struct.pack("<HH", 0x3FFF, 0x3FFF))
    return matroska("V_VP8", declared, declared, [(40 * i, frame) for i in range(10)])


def many_samples(count: int) -> bytes:
    """An index that claims `count` frames of one byte each, all in one place."""
    data = clips.simple_mp4()
    stbl = "moov/trak/mdia/minf/stbl/"
    data = replace(data, stbl + "stss", b"")
    tables = {
        "stsz": struct.pack(">III", 0, 1, count),
        "stts": struct.pack(">IIII", 0, 1, count, 1),
        "stsc": struct.pack(">IIIII", 0, 1, 1, count, 1),
        "stco": struct.pack(">III", 0, 1, find(data, "mdat").body),
    }
    for name, body in tables.items():
        data = replace(data, stbl + name, box(name.encode(), body))
    return data


def frames_of_nothing(count: int) -> bytes:
    """One picture, then `count` empty blocks."""
    return matroska(
        "V_MJPEG", 64, 48, [(0, pictures()[0]), *((10 * i, b"") for i in range(1, count))]
    )


def zlib_bomb() -> bytes:
    """Frames that each unpack to 300 MB."""
    packed = zlib.compress(bytes(300 << 20), 9)
    encodings = element(
        0x6D80, element(0x6240, number(0x5031, 0), element(0x5034, number(0x4254, 0)))
    )
    return matroska("V_MJPEG", 64, 48, [(40 * i, packed) for i in range(4)], encodings)


def nested(depth: int) -> bytes:
    body = b""
    for _ in range(depth):
        body = box(b"moov", body)
    return find_head() + body


def find_head() -> bytes:
    data = clips.mp4()
    return data[: find(data, "ftyp").end]


for file, about, expected, build in (
    ("300 tracks.mp4", "an index of 300 tracks", ok(FRAMES), bind(many_tracks, 300)),
    ("5000 tracks.mp4", "an index of 5000 tracks", corrupt, bind(many_tracks, 5000)),
    ("5000 tracks.mkv", "a header of 5000 tracks", ok(FRAMES), bind(many_tracks_mkv, 5000)),
    ("many programs.ts", "programs that are announced and never come", ok(FRAMES),
     bind(many_programs, 40)),
    ("huge frame.mkv", "VP8 that asks for 16383x16383 pixels", refused(Reason.TOO_LARGE),
     bind(huge_frame, 16383)),
    ("huge frame in secret.mkv", "the same under a header that says 64x64", corrupt,
     bind(huge_frame, 64)),
    ("million samples.mp4", "an index of a million frames in a file of 4 kB", corrupt,
     bind(many_samples, 1_000_000)),
    ("150 million samples.mp4", "an index that would take 3.6 GB", refused(Reason.TRUNCATED),
     bind(many_samples, 150_000_000)),
    ("a billion samples.mp4", "an index that no reader can build", refused(Reason.TRUNCATED),
     bind(many_samples, 1 << 30)),
    ("frames of nothing.mkv", "one picture and 20,000 empty blocks", ok(1),
     bind(frames_of_nothing, 20_000)),
    ("zlib bomb.mkv", "frames that unpack to 300 MB each: none of them counts",
     refused(Reason.TRUNCATED), zlib_bomb),
    ("nested boxes.mp4", "an index inside an index, 3000 deep", corrupt, bind(nested, 3000)),
):  # fmt: skip
    declare(BOMBS, file, about, expected, build)


# --- impossible headers --------------------------------------------------------------------------


def sized_box(size: int, large: int | None = None, keep: bool = False) -> bytes:
    """A box of an odd declared size before the index; `keep`: it is whole, only oddly told."""
    data = clips.simple_mp4()
    body = b"" if large is None else struct.pack(">Q", large)
    odd = struct.pack(">I", size) + b"free" + body
    moov = find(data, "moov")
    return data[: moov.start] + odd + (bytes(100) if keep else b"") + data[moov.start :]


def mdat_to_the_end() -> bytes:
    """Size 0: the box goes to the end of the file."""
    data = clips.faststart()
    return patch(data, find(data, "mdat").start, bytes(4))


def encrypted() -> bytes:
    """A sample entry that says its frames are encrypted."""
    data = clips.mp4()
    entry = find(data, "moov/trak/mdia/minf/stbl/stsd").body + 8
    data = patch(data, entry + 4, b"encv")
    media = find(data, "mdat")
    hidden = bytes(b ^ 0xA5 for b in data[media.body : media.end])
    return patch(data, media.body, hidden)


def unknown_codec() -> bytes:
    data = clips.mp4()
    return patch(data, find(data, "moov/trak/mdia/minf/stbl/stsd").body + 12, b"zzzz")


def offsets_beyond_the_end() -> bytes:
    data = clips.mp4()
    table = find(data, "moov/trak/mdia/minf/stbl/stco")
    return patch(data, table.body + 8, b"\x7f\xff\xff\xff")


def endless_void() -> bytes:
    """A Matroska element of padding that claims 2^55 bytes."""
    data = matroska("V_MJPEG", 64, 48, [(40 * i, p) for i, p in enumerate(pictures())])
    at = data.index(b"\x1f\x43\xb6\x75")
    return data[:at] + b"\xec\x01\x80\x00\x00\x00\x00\x00\x00" + data[at:]


for file, about, expected, build in (
    ("box of size 0.mp4", "media that go to the end of the file", ok(FRAMES), mdat_to_the_end),
    ("box of size 1.mp4", "a padding box with a 64-bit size", ok(FRAMES),
     bind(sized_box, 1, 116, True)),
    ("box of size 4.mp4", "a box smaller than its own header", refused(Reason.TRUNCATED),
     bind(sized_box, 4)),
    ("box of 2^63 bytes.mp4", "a box that claims 2^63 bytes", refused(Reason.TRUNCATED),
     bind(sized_box, 1, 1 << 63)),
    ("box of 2^64-1 bytes.mp4", "a box that claims all it can", refused(Reason.TRUNCATED),
     bind(sized_box, 1, (1 << 64) - 1)),
    ("encrypted.mp4", "a sample entry that says its frames are encrypted", corrupt, encrypted),
    ("unknown codec.mp4", "a codec that nobody knows", corrupt, unknown_codec),
    ("offsets beyond the end.mp4", "an index that points behind the file",
     refused(Reason.TRUNCATED), offsets_beyond_the_end),
    ("endless padding.mkv", "an element of padding that claims 2^55 bytes", ok(FRAMES),
     endless_void),
):  # fmt: skip
    declare(HEADERS, file, about, expected, build)
