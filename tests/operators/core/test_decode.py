"""Decoding: the same samples, however the video is cut; exact times; damage costs its own span."""

import io
import itertools
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
from av.container import InputContainer

from operators.core.decode import MediaError, Pixels, Reader, probe, rgb, rgb_fit, samples
from operators.core.packets import demux
from schemas.reasons import Reason
from tests.media.clips import FRAMES as FRAMES_CLOCKED
from tests.media.kinds_time import clocked
from tests.videos import counting, number, paste, portraits, write_video

FRAMES = 72
UNEVEN_MS = [0, *np.cumsum([20, 33, 41, 80, 120, 17, 300, 40] * 9).tolist()][:FRAMES]
#: Name of the clip: what `write_video` needs beyond the frames.
CLIPS = {
    "h264-bframes.mp4": {"options": {"g": "24", "bf": "3"}},
    "h264-open-gop.ts": {"options": {"x264-params": "open-gop=1:keyint=48:bframes=4:b-adapt=0"}},
    "h264-gradual-refresh.mkv": {"options": {"x264-params": "intra-refresh=1:keyint=30:bframes=0"}},
    "h264-bframes.avi": {"options": {"g": "24", "bf": "3"}},
    "h264-uneven.mkv": {"options": {"g": "24", "bf": "2"}, "pts": UNEVEN_MS},
    "h264.flv": {"options": {"g": "24", "bf": "2"}, "audio": True},
    "hevc-open-gop.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=24:bframes=3"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "24", "cpu-used": "8"}},
    "mpeg4-bframes.avi": {"codec": "mpeg4", "options": {"g": "24", "bf": "2"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}},
}


@lru_cache
def frames() -> list[np.ndarray]:
    return counting(FRAMES)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clips")
    return {n: write_video(folder / n, frames(), **how).read_bytes() for n, how in CLIPS.items()}


def read(data: bytes, start, end, link=None, score=None) -> tuple[list[tuple], Reader]:
    """Times, marks and a hash of the pixels of every sample."""
    file = io.BytesIO(data)
    info = probe(file)
    reader = samples(file, info, start, end, link, score)
    pixels = Pixels(info.rotation_degrees)
    seen = [(s.pts_ticks, s.scored, s.cut, hash(pixels.rgb(s.frame).tobytes())) for s in reader]
    return seen, reader


@pytest.fixture
def any_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut wherever both pictures say so by chance: it shows which pictures were compared."""

    def chance(previous: np.ndarray, current: np.ndarray) -> bool:
        return int(previous.sum() + 3 * current.sum()) % 4 > 1

    monkeypatch.setattr("operators.core.decode.is_cut", chance)


@pytest.mark.usefixtures("any_cut")
@pytest.mark.parametrize("name", CLIPS)
def test_any_cutting_yields_the_same_samples(clips, name):
    data = clips[name]
    duration = probe(io.BytesIO(data)).duration_seconds
    rates = [(None, None, Fraction(2, 3)), (Fraction(8), Fraction(4), Fraction(7, 4))]
    if "uneven" in name:
        rates += [
            (Fraction(1), Fraction(1, 2), Fraction(2, 3)),
            (None, Fraction(4), Fraction(1, 3)),
        ]
    for link, score, length in rates:
        whole, reader = read(data, 0, duration, link, score)
        assert (reader.complete, reader.reason) == (True, None)
        parts = []
        for k in range(int(duration / length) + 1):
            part, reader = read(data, k * length, (k + 1) * length, link, score)
            assert (reader.complete, reader.reason) == (True, None)
            parts += part
        assert parts == whole


@pytest.mark.usefixtures("any_cut")
@pytest.mark.parametrize("name", CLIPS)
def test_every_frame_comes_once_in_order_at_its_own_time(clips, name):
    file = io.BytesIO(clips[name])
    info = probe(file)
    assert (info.width_px, info.height_px, info.rotation_degrees) == (160, 120, 0)
    seen = list(samples(file, info, 0, info.duration_seconds, None, None))
    assert [number(rgb(s.frame, 0)) for s in seen] == list(range(FRAMES))
    uneven = "pts" in CLIPS[name]
    times = [UNEVEN_MS[i] / 1000 if uneven else i / 24 for i in range(FRAMES)]
    assert [s.pts_seconds for s in seen] == pytest.approx(times, abs=0.001)
    assert all(s.pts_seconds == float(s.pts_ticks * info.time_base) for s in seen)
    assert all(s.scored for s in seen)


@pytest.mark.usefixtures("any_cut")
@pytest.mark.parametrize("rates", [(8, 4), (10, 10), (3, 1)])
@pytest.mark.parametrize("name", ["h264-uneven.mkv", "h264-bframes.mp4"])
def test_the_first_frame_of_every_bucket_is_sampled(clips, name, rates):
    link, score = map(Fraction, rates)
    file = io.BytesIO(clips[name])
    info = probe(file)
    every = [s.pts_ticks * info.time_base for s in samples(file, info, 0, 99, None, None)]

    def firsts(fps):
        return [next(group) for _, group in itertools.groupby(every, lambda t: t * fps // 1)]

    seen = list(samples(file, info, 0, 99, link, score))
    assert [s.pts_ticks * info.time_base for s in seen] == firsts(link)
    assert [s.pts_ticks * info.time_base for s in seen if s.scored] == firsts(score)


def test_rates_that_do_not_nest_are_refused(clips):
    info = probe(io.BytesIO(clips["h264-bframes.mp4"]))
    with pytest.raises(ValueError, match="multiple"):
        samples(io.BytesIO(b""), info, 0, 1, Fraction(8), Fraction(3))


class Counting(io.BytesIO):
    """Counts what is read, and how often it is jumped."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.bytes_read = 0

    def read(self, size=-1):
        data = super().read(size)
        self.bytes_read += len(data)
        return data


@pytest.mark.usefixtures("any_cut")
def test_a_span_is_reached_by_seeking_not_by_reading(tmp_path):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (120, 160, 3), dtype=np.uint8) for _ in range(40)]
    film = [noise[i % 40] for i in range(480)]
    options = {"g": "24", "bf": "2", "preset": "ultrafast"}
    data = write_video(tmp_path / "long.mp4", film, options=options, audio=True).read_bytes()
    info = probe(io.BytesIO(data))
    file = Counting(data)
    reader = samples(file, info, 15, 16, None, None)
    assert len(list(reader)) == 24
    # One second, one before it to look for cuts, one key interval, and the decoder's delay.
    assert reader.frames_decoded < 80
    assert file.bytes_read < len(data) / 3


def test_a_cut_is_seen_once_wherever_the_video_is_cut(tmp_path):
    wall = np.full((180, 320, 3), 120, np.uint8)
    shots = [paste(wall, face, 90, 5, 165) for face in portraits()]
    path = write_video(tmp_path / "cut.mp4", [shots[0]] * 48 + [shots[1]] * 24, options={"g": "20"})
    data = path.read_bytes()
    for link, score in ((None, None), (Fraction(8), Fraction(4))):
        for borders in ([0, 3], [0, 2, 3], [0, 1.9, 2.1, 3], [0, 2.04, 3]):
            parts = [read(data, a, b, link, score)[0] for a, b in itertools.pairwise(borders)]
            flags = [(ticks, cut) for part in parts for ticks, _, cut, _ in part]
            assert [ticks for ticks, cut in flags if cut] == [2 * 12288]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_pictures_are_upright(tmp_path, rotation):
    upright = cv2.resize(portraits()[0], (160, 192), interpolation=cv2.INTER_AREA)
    coded = np.rot90(upright, -rotation // 90)
    file = io.BytesIO(write_video(tmp_path / "r.mp4", [coded] * 3, rotation=rotation).read_bytes())
    info = probe(file)
    assert (info.width_px, info.height_px, info.rotation_degrees) == (160, 192, rotation)
    frame = next(iter(samples(file, info, 0, 1, None, None))).frame
    assert np.abs(rgb(frame, rotation).astype(float) - upright).mean() < 8
    small = cv2.resize(upright, (40, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(rgb_fit(frame, rotation, 40, 48).astype(float) - small).mean() < 8


def test_a_phones_portrait_video_is_turned_clockwise(tmp_path):
    """The matrix that phones write, as the ISO base media format defines it: (x, y) -> (-y, x)."""
    import av

    picture = np.full((96, 128, 3), 90, np.uint8)
    picture[:, :32] = (255, 0, 0)
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.set_display_matrix([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30])
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    file = io.BytesIO(path.read_bytes())
    info = probe(file)
    shown = rgb(next(iter(samples(file, info, 0, 1, None, None))).frame, info.rotation_degrees)
    assert shown.shape == (128, 96, 3)
    assert shown[:28, :, 0].min() > 200  # the left edge went to the top
    assert shown[40:, :, 0].max() < 130


def test_odd_sizes_keep_their_last_row_and_column(tmp_path):
    film = counting(4, 161, 121)
    file = io.BytesIO(write_video(tmp_path / "odd.mp4", film, options={"crf": "1"}).read_bytes())
    info = probe(file)
    assert (info.width_px, info.height_px) == (161, 121)
    shown = rgb(next(iter(samples(file, info, 0, 1, None, None))).frame, 0)
    assert np.abs(shown.astype(float) - film[0]).max() < 40


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    """As on a PAL DVD in wide screen: coded narrow, shown wide."""
    import av

    wide = cv2.resize(portraits()[0], (256, 144), interpolation=cv2.INTER_AREA)
    path = tmp_path / "dvd.mpg"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 180, 144, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)
        coded = cv2.resize(wide, (180, 144), interpolation=cv2.INTER_AREA)
        for _ in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(coded, "u1"), "rgb24")))
        out.mux(stream.encode(None))
    file = io.BytesIO(path.read_bytes())
    info = probe(file)
    assert (info.width_px, info.height_px) == (256, 144)
    shown = rgb(next(iter(samples(file, info, 0, 1, None, None))).frame, 0)
    assert shown.shape == wide.shape
    assert np.abs(shown.astype(float) - wide).mean() < 8


def test_frames_of_another_size_in_mid_stream_come_at_the_first_size(tmp_path):
    first = write_video(tmp_path / "a.ts", counting(48), pts=[40 * i for i in range(48)])
    large = counting(96, 320, 240)[48:]
    second = write_video(tmp_path / "b.ts", large, pts=[40 * i for i in range(48, 96)])
    file = io.BytesIO(first.read_bytes() + second.read_bytes())
    info = probe(file)
    seen = list(samples(file, info, 0, 99, None, None))
    assert {(s.frame.width, s.frame.height) for s in seen} == {(160, 120)}
    assert number(rgb(seen[-1].frame, 0)) == 95
    assert len(seen) >= 92  # the seam itself is a break in the stream


def truncated(path: Path, share: float = 0.6) -> bytes:
    faststart = {"movflags": "faststart"} if path.suffix == ".mp4" else None
    # Without a lookahead x264 gives equal bytes for equal pictures: where the cut falls is settled.
    options = {"g": "12", "bf": "2", "rc-lookahead": "0"}
    whole = write_video(path, counting(120), options=options, container_options=faststart)
    return whole.read_bytes()[: int(whole.stat().st_size * share)]


@pytest.mark.usefixtures("any_cut")
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_truncated_file_yields_what_is_there_and_says_how_far_it_goes(tmp_path, suffix):
    data = truncated(tmp_path / f"cut.{suffix}")
    seen, reader = read(data, 0, 5)
    assert not reader.complete
    assert reader.reason is Reason.TRUNCATED
    assert 40 < len(seen) < 110
    assert reader.decoded_until_seconds == pytest.approx(len(seen) / 24, abs=0.1)
    early, before = read(data, 0, 1)
    assert (before.complete, before.reason) == (True, None)
    assert early == seen[:24]
    late, after = read(data, 4.5, 5)
    assert (late, after.complete, after.reason) == ([], False, Reason.TRUNCATED)
    assert after.decoded_until_seconds == 4.5


@pytest.mark.usefixtures("any_cut")
def test_damage_in_mid_stream_costs_its_own_span_only(tmp_path):
    data = bytearray(
        write_video(tmp_path / "d.mp4", counting(120), options={"g": "24", "bf": "0"}).read_bytes()
    )
    sound = read(bytes(data), 0, 5)[0]
    middle = data.index(b"mdat") + (data.index(b"moov") - data.index(b"mdat")) * 45 // 100
    data[middle : middle + 400] = np.random.default_rng(1).bytes(400)
    spans = [read(bytes(data), k, k + 1) for k in range(5)]
    reasons = [reader.reason for _, reader in spans]
    assert reasons[0] is None
    assert reasons[4] is None
    assert Reason.CORRUPT in reasons
    assert all(reader.complete for _, reader in spans)
    assert spans[0][0] == sound[:24]
    assert spans[4][0] == sound[96:]
    assert sum(len(seen) for seen, _ in spans) > 100


@pytest.mark.usefixtures("any_cut")
def test_a_gradually_refreshed_picture_is_whole_before_it_is_used(tmp_path):
    """Such a stream has no key frame but its first: from any other point it starts half grey."""
    options = {"x264-params": "intra-refresh=1:keyint=48:bframes=0"}
    data = write_video(tmp_path / "g.mkv", counting(120), options=options).read_bytes()
    whole = read(data, 0, 5)[0]
    assert read(data, 3.5, 4)[0] == whole[84:96]
    assert read(data, 4, 4.5)[0] == whole[96:108]


@pytest.mark.usefixtures("any_cut")
def test_one_undecodable_packet_costs_one_frame_and_is_told(tmp_path):
    import av

    path = write_video(tmp_path / "p.mp4", counting(72), options={"g": "24", "bf": "0"})
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    assert packets[48].is_keyframe
    lost = packets[47]  # the last before a key frame: no other refers to it
    data = bytearray(path.read_bytes())
    assert lost.pos is not None
    data[lost.pos : lost.pos + lost.size] = b"\xff" * lost.size
    spans = [read(bytes(data), k, k + 1) for k in range(3)]
    assert [len(seen) for seen, _ in spans] == [24, 23, 24]
    assert [reader.reason for _, reader in spans] == [None, Reason.CORRUPT, None]
    assert all(reader.complete for _, reader in spans)


def test_what_the_file_object_raises_passes_through(clips):
    class Broken(io.BytesIO):
        left = 10

        def read(self, size=-1):
            self.left -= 1
            if self.left == 0:
                raise ConnectionResetError("the storage went away")
            return super().read(min(size, 2000))

    info = probe(io.BytesIO(clips["h264-bframes.mp4"]))
    for start in (0, 2.5):
        with pytest.raises(ConnectionResetError):
            list(samples(Broken(clips["h264-bframes.mp4"]), info, start, 3, None, None))


def test_a_reader_left_early_is_not_complete(clips):
    file = io.BytesIO(clips["h264-bframes.mp4"])
    reader = samples(file, probe(file), 0, 3, None, None)
    next(iter(reader))
    assert not reader.complete


def test_real_footage_is_the_same_however_cut(shared_media: Path):
    data = (shared_media / "WolfgangLanger_Pexels.mp4").read_bytes()
    whole, reader = read(data, 0, 9.5)
    assert len(whole) == 228
    assert reader.complete
    assert not any(cut for _, _, cut, _ in whole)
    borders = [0, 3.3, 6.006, 8.2, 9.5]
    parts = [read(data, a, b)[0] for a, b in itertools.pairwise(borders)]
    assert [s for part in parts for s in part] == whole


def test_a_video_that_cannot_be_opened_raises_when_read(clips):
    info = probe(io.BytesIO(clips["h264-bframes.mp4"]))
    with pytest.raises(MediaError) as caught:
        list(samples(io.BytesIO(b""), info, 0, 1, None, None))
    assert caught.value.reason is Reason.EMPTY


def test_a_clock_that_stands_is_told():
    """A frame or two at one time is how containers round; most of them lost must have a reason."""
    rounded, reader = read(clocked([20 * (i - (i % 4 == 3)) for i in range(FRAMES_CLOCKED)]), 0, 9)
    assert (len(rounded), reader.complete, reader.reason) == (36, True, None)
    standing, reader = read(clocked([20] * FRAMES_CLOCKED), 0, 9)
    assert (len(standing), reader.complete, reader.reason) == (1, True, Reason.NO_TIMESTAMPS)


def test_a_stream_that_begins_late_is_no_error(tmp_path):
    """PyAV raises IndexError at the end of a file that has more streams than it began with.

    Whether it does depends on a byte behind an array of its own: hence more than one try, and a
    container that always does.
    """
    times = [40 * i for i in range(48)]
    first = write_video(tmp_path / "a.ts", counting(24), pts=times[:24]).read_bytes()
    second = write_video(
        tmp_path / "b.ts", counting(48)[24:], pts=times[24:], audio=True
    ).read_bytes()
    for _ in range(3):
        assert len(read(first + second, 0, 9)[0]) >= 44  # the seam itself is a break

    class Late:
        def demux(self, *streams):
            yield from ("a packet", "a flush")
            raise IndexError("list index out of range")

    assert list(demux(cast(InputContainer, Late()))) == ["a packet", "a flush"]
