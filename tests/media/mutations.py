"""Break a file as disks, networks and people do: each way is a function of bytes and of numbers."""

from collections.abc import Callable

from hypothesis import strategies as st

from tests.media import clips
from tests.media.surgery import flip_bits

#: What a length, count or time might be at its worst.
EXTREMES = [
    value.to_bytes(size, order)
    for size in (2, 4, 8)
    for value in (0, 1, (1 << 8 * size - 1) - 1, 1 << 8 * size - 1, (1 << 8 * size) - 1)
    for order in ("big", "little")
]
#: Headers stand at either end of a file, and are where a wrong bit asks for the impossible.
HEADER_BYTES = 1200

#: What stands before sizes, counts, rates and times in the headers of the containers below.
MARKS = [
    *(b"mvhd", b"tkhd", b"mdhd", b"elst", b"stsd", b"avcC", b"stts", b"ctts", b"stsz", b"stsc"),
    *(b"stco", b"trun", b"tfhd", b"tfdt", b"mehd", b"hdlr", b"DURATION", b"\x44\x89\x88"),
    *(b"\x2a\xd7\xb1", b"\x23\xe3\x83", b"\x1f\x43\xb6\x75", b"\xb0\x81", b"\xba\x81", b"avih"),
    *(
        b"strh",
        b"strf",
        b"idx1",
        b"duration",
        b"framerate",
        b"width",
        b"height",
        b"\x00\x00\x01\xb3",
    ),
    *(b"\x00\x00\x01\xba", b"\x00\x00\x01\xe0", b"\x40\x52\xd1\x86", b"\xa1\xdc\xab\x8c"),
]


def bases() -> dict[str, bytes]:
    """Small sound files of the common containers: a dozen frames each."""
    few = clips.film(12, 48, 32)
    settings = {"g": "6", "bf": "1"}
    return {
        "moov last": clips.encode("mp4", frames=few, options=settings),
        "moov first": clips.encode(
            "mp4", frames=few, options=settings, muxer={"movflags": "faststart"}, rotation=90
        ),
        "fragments": clips.encode(
            "mp4", frames=few, muxer={"movflags": "frag_keyframe+empty_moov"}
        ),
        "matroska": clips.encode("mkv", frames=few, options=settings),
        "transport stream": clips.encode("ts", frames=few, options=settings),
        "avi": clips.encode("avi", "mpeg4", frames=few),
        "webm": clips.encode("webm", "libvpx-vp9", frames=few),
        "flash": clips.encode("flv", frames=few, options=settings),
        "program stream": clips.encode("mpg", "mpeg2video", frames=few),
        "asf": clips.encode("wmv", "wmv2", frames=few),
    }


Change = Callable[[bytes], bytes]


def _at(data: bytes, place: float) -> int:
    return min(int(place * len(data)), max(len(data) - 1, 0))


def _flip(place: float, span: int, count: int, seed: int) -> Change:
    def change(data: bytes) -> bytes:
        start = _at(data, place)
        return flip_bits(data, start, min(len(data), start + span), count, seed)

    return change


def _cut(place: float) -> Change:
    return lambda data: data[: max(1, _at(data, place))]


def _remove(place: float, size: int) -> Change:
    return lambda data: data[: max(1, _at(data, place))] + data[_at(data, place) + size :]


def _repeat(place: float, size: int, times: int) -> Change:
    def change(data: bytes) -> bytes:
        start = _at(data, place)
        return data[:start] + data[start : start + size] * times + data[start + size :]

    return change


def _move(source: float, target: float, size: int) -> Change:
    def change(data: bytes) -> bytes:
        start = _at(data, source)
        block, rest = data[start : start + size], data[:start] + data[start + size :]
        place = _at(rest, target)
        return rest[:place] + block + rest[place:]

    return change


def _overwrite(place: float, new: bytes) -> Change:
    def change(data: bytes) -> bytes:
        start = _at(data, place)
        return (data[:start] + new + data[start + len(new) :])[: len(data)]

    return change


def _header(offset: int, at_the_end: bool, new: bytes) -> Change:
    def change(data: bytes) -> bytes:
        offset_here = offset % max(1, min(HEADER_BYTES, len(data)))
        start = max(0, len(data) - 1 - offset_here) if at_the_end else offset_here
        return (data[:start] + new + data[start + len(new) :])[: len(data)]

    return change


def _field(mark: int, offset: int, new: bytes) -> Change:
    """Overwrite what stands a little after one of the marks that the file has."""

    def change(data: bytes) -> bytes:
        places = [at for name in MARKS if (at := data.find(name)) >= 0]
        if not places:
            return data
        start = places[mark % len(places)] + 3 + offset
        return (data[:start] + new + data[start + len(new) :])[: len(data)]

    return change


def _append(other: bytes) -> Change:
    return lambda data: data + other


def changes(files: dict[str, bytes]) -> st.SearchStrategy[Change]:
    """One way to break a file."""
    place = st.floats(0, 1)
    size = st.integers(1, 4000)
    extreme = st.sampled_from(EXTREMES)
    return st.one_of(
        st.builds(_header, st.integers(0, HEADER_BYTES), st.booleans(), extreme),
        st.builds(_header, st.integers(0, HEADER_BYTES), st.booleans(), st.binary(min_size=1)),
        st.builds(_field, st.integers(0, 99), st.integers(0, 48), extreme),
        st.builds(_field, st.integers(0, 99), st.integers(0, 48), st.binary(min_size=1)),
        st.builds(_overwrite, place, extreme),
        st.builds(_flip, place, size, st.integers(1, 64), st.integers(0, 1 << 32)),
        st.builds(_cut, place),
        st.builds(_remove, place, size),
        st.builds(_repeat, place, size, st.integers(2, 20)),
        st.builds(_move, place, place, size),
        st.builds(_append, st.sampled_from(list(files.values()))),
    )
