"""Probing untrusted files: what is a video, and what must never be followed."""

import contextlib
import io
import pickle
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from operators.core.decode import probe, samples
from operators.core.media import MediaError
from schemas.reasons import Reason
from tests.videos import counting, write_video


def reason_of(data: bytes, **limits) -> Reason:
    with pytest.raises(MediaError) as caught:
        probe(io.BytesIO(data), **limits)
    return caught.value.reason


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("media") / "clip.mp4"
    options = {"movflags": "faststart"}
    return write_video(path, counting(24), container_options=options, audio=True).read_bytes()


def test_a_video_is_described(clip):
    info = probe(io.BytesIO(clip))
    assert "mp4" in info.container
    assert (info.codec, info.has_audio, info.start_ticks) == ("h264", True, 0)
    assert info.duration_seconds == pytest.approx(1.0)
    assert info.frame_rate == pytest.approx(24)


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mkv", "libx264"), ("ts", "libx264"), ("mpg", "mpeg2video")]
)
@pytest.mark.parametrize("audio", [False, True])
def test_the_duration_is_the_videos_where_the_container_does_not_say(
    tmp_path, suffix, codec, audio
):
    film, sound = counting(36), "mp2" if suffix == "mpg" else "aac"
    data = write_video(
        tmp_path / f"x.{suffix}", film, codec=codec, audio=audio and sound == "aac"
    ).read_bytes()
    info = probe(io.BytesIO(data))
    assert info.duration_seconds == pytest.approx(1.5, abs=0.05)
    # Nothing but the packets to go by:
    stripped = data.replace(b"DURATION", b"DORATION")
    assert probe(io.BytesIO(stripped)).duration_seconds == pytest.approx(1.5, abs=0.05)


def test_a_live_recording_that_nobody_finished_still_has_a_duration(tmp_path):
    data = write_video(
        tmp_path / "live.webm", counting(36), codec="libvpx-vp9", container_options={"live": "1"}
    ).read_bytes()
    info = probe(io.BytesIO(data))
    assert info.duration_seconds == pytest.approx(1.5, abs=0.05)
    assert len(list(samples(io.BytesIO(data), info, 0.5, 1.0, None, None))) == 12


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "AVIF", "TIFF", "BMP"])
def test_a_picture_is_no_video(form):
    file = io.BytesIO()
    Image.fromarray(counting(1)[0]).save(file, form)
    assert reason_of(file.getvalue()) is Reason.NO_VIDEO


def test_text_sound_and_nothing_are_no_video(tmp_path):
    import av

    assert reason_of(b"") is Reason.EMPTY
    assert reason_of(b"minutes of the meeting\n" * 200) is Reason.NO_VIDEO
    assert reason_of(bytes(5000)) is Reason.NO_VIDEO
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert reason_of(path.read_bytes()) is Reason.NO_VIDEO


class Named(io.BytesIO):
    """A file object with a name, as an opened file has."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def test_nothing_that_a_file_refers_to_is_opened(clip, tmp_path, monkeypatch):
    """Playlists, manifests and concat scripts would read other files, or the network."""
    monkeypatch.chdir(tmp_path)
    asked: list[str] = []

    class Trap(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(clip)

        def log_message(self, format, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Trap)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/clip.mp4"
    local = tmp_path / "clip.mp4"
    local.write_bytes(clip)
    try:
        for target in (url, str(local), local.as_uri(), local.name):
            playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n"
            concat = f"ffconcat version 1.0\nfile '{target}'\n"
            sdp = f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nu={target}\nm=video 5004 RTP/AVP 96\n"
            dash = (
                '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
                f'<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
                f"<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>"
            )
            texts = {"m3u8": playlist, "ffconcat": concat, "sdp": sdp, "mpd": dash}
            for suffix, text in texts.items():
                with pytest.raises(MediaError) as caught:
                    probe(Named(text.encode(), f"list.{suffix}"))
                assert caught.value.reason is Reason.NO_VIDEO
    finally:
        server.shutdown()
        server.server_close()
    assert asked == []


def test_a_container_without_its_index_is_truncated(tmp_path):
    path = write_video(tmp_path / "x.mp4", counting(24))
    data = path.read_bytes()  # the index is written last
    assert reason_of(data[: len(data) // 2]) is Reason.TRUNCATED


def test_a_raw_stream_has_no_timestamps(tmp_path):
    data = write_video(tmp_path / "x.h264", counting(12)).read_bytes()
    assert reason_of(data) is Reason.NO_TIMESTAMPS


def test_frames_beyond_the_limit_are_refused_before_they_are_decoded(clip):
    assert reason_of(clip, max_frame_px=160 * 120 - 1) is Reason.TOO_LARGE
    assert probe(io.BytesIO(clip), max_frame_px=160 * 120).width_px == 160


def test_an_error_survives_pickling_and_names_no_file(clip):
    with pytest.raises(MediaError) as caught:
        probe(Named(b"ftypftyp" + clip[:3000], "/archive/patient-1234.mp4"))
    error = caught.value
    assert pickle.loads(pickle.dumps(error)).reason is error.reason
    assert "patient" not in repr(error)
    assert error.__context__ is None or error.__suppress_context__
    assert error.__cause__ is None


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_damage_raises_anything_but_a_media_error(clip, data):
    """Cut off, overwritten, or both: a file is described or refused, and read to some end."""
    broken = bytearray(clip[: data.draw(st.integers(1, len(clip)))])
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(broken) - 1))
        broken[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
    file = io.BytesIO(bytes(broken))
    with contextlib.suppress(MediaError):
        info = probe(file, max_frame_px=1 << 20)
        reader = samples(file, info, 0, 2, None, None)
        assert sum(1 for _ in reader) <= 30


@pytest.mark.parametrize("tag", [b"00:00:1/0", b"00:00:9e999999999", b"99999:00:00.000000"])
def test_a_duration_that_is_no_time_is_measured_instead(tmp_path, tag):
    """Read as a fraction, the first divides by zero and the second takes hours to compute."""
    data = write_video(tmp_path / "x.mkv", counting(36)).read_bytes()
    at = data.rindex(b"DURATION") + len(b"DURATION") + 3
    data = data[:at] + tag.ljust(18, b"\0") + data[at + 18 :]
    assert probe(io.BytesIO(data)).duration_seconds == pytest.approx(1.5, abs=0.05)


def test_a_clock_that_leaps_by_years_is_refused_before_it_is_planned(tmp_path):
    """Every minute of 54 years would be a segment: the driver would run out of memory."""
    times = [40 * i + (i > 20) * 54 * 365 * 86_400_000 for i in range(36)]
    data = write_video(tmp_path / "x.mkv", counting(36), pts=times).read_bytes()
    stripped = data.replace(b"DURATION", b"DORATION")
    assert reason_of(stripped) is Reason.NO_TIMESTAMPS
    hours = [40 * i + (i > 20) * 3_600_000 for i in range(36)]
    data = write_video(tmp_path / "y.mkv", counting(36), pts=hours).read_bytes()
    assert probe(io.BytesIO(data)).duration_seconds == pytest.approx(3601.4, abs=0.1)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_index_in_front_that_is_cut_short_is_truncated_not_no_video(tmp_path, share):
    """FFmpeg opens it, for what is there, and finds no stream."""
    path = write_video(
        tmp_path / "x.mp4", counting(24), container_options={"movflags": "faststart"}
    )
    data = path.read_bytes()
    start, end = data.index(b"moov") - 4, data.index(b"mdat") - 12
    assert reason_of(data[: int(start + share * (end - start))]) is Reason.TRUNCATED


def test_a_file_that_ends_in_its_first_frame_is_truncated_not_corrupt(clip):
    assert reason_of(clip[: clip.index(b"mdat") + 400]) is Reason.TRUNCATED


def test_a_whole_index_that_cannot_be_read_is_corrupt_not_truncated():
    """Nothing is missing: to copy the file again, as TRUNCATED advises, would not help."""
    nested = b""
    for _ in range(100):
        nested = (len(nested) + 8).to_bytes(4, "big") + b"moov" + nested
    brand = b"\0\0\0\x14ftypisom\0\0\0\0isom"
    assert reason_of(brand + nested) is Reason.CORRUPT
    assert reason_of(brand + nested[:-8]) is Reason.TRUNCATED
