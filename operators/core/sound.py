"""The sound of a video for its copy: as it is, or with nothing left of it but how loud it is."""

from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from typing import BinaryIO, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.stream import Discard
from numpy.typing import NDArray

from operators.core.media import VideoInfo, open_video
from operators.core.packets import demux

#: Codecs that an MP4 takes as they are; others are coded anew.
COPIED = ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac")
CODED_ANEW = "aac"
MASK_HZ = 16_000
#: Of masked sound one number is kept for so long: longer than any sound of speech.
MASK_SECONDS = 0.5


class Sound:
    """The first sound track of a video, on the clock of its picture. To be closed.

    mask: instead of what is heard, noise that is as loud: nobody's words, nobody's voice.
    """

    def __init__(self, file: BinaryIO, info: VideoInfo, mask: bool) -> None:
        self._mask = mask
        self._container, video = open_video(file)
        self._source = cast(AudioStream, self._container.streams.audio[0])
        self._source.discard, video.discard = Discard.default, Discard.all
        self._start = info.start_ticks * info.time_base
        self._target: AudioStream | None = None
        self._packets: Iterator[av.Packet] = iter(())
        self._waiting: av.Packet | None = None

    def close(self) -> None:
        self._container.close()

    def join(self, out: OutputContainer) -> None:
        """Add a stream to a container that nothing was written to yet."""
        copied = not self._mask and self._source.codec_context.name in COPIED
        if copied:
            self._target = out.add_stream_from_template(self._source)
            self._target.metadata.clear()
            self._packets = self._as_they_are()
        else:
            rate = MASK_HZ if self._mask else self._source.rate
            layout = "mono" if self._mask else self._source.layout.name
            stream = out.add_stream(CODED_ANEW, rate)
            self._target = cast(AudioStream, stream)
            self._target.codec_context.layout = layout
            self._packets = self._anew()

    def until(self, seconds: Fraction | None) -> Iterator[av.Packet]:
        """The packets that begin no later than so; all that are left where it is None."""
        while True:
            packet = self._waiting or next(self._packets, None)
            self._waiting = packet
            if packet is None or (seconds is not None and _begin(packet) > seconds):
                return
            self._waiting = None
            yield packet

    def _heard(self) -> Iterator[av.Packet]:
        """The track's packets, to where it breaks."""
        try:
            yield from demux(self._container, self._source)
        except FFmpegError:
            return

    def _as_they_are(self) -> Iterator[av.Packet]:
        assert self._target is not None
        for packet in self._heard():
            if not packet.size or packet.pts is None or packet.is_corrupt:
                continue
            shift = round(self._start / packet.time_base)
            packet.pts -= shift
            packet.dts = packet.pts  # no sound codec reorders
            packet.stream = self._target
            yield packet

    def _anew(self) -> Iterator[av.Packet]:
        assert self._target is not None
        frames = self._masked() if self._mask else self._decoded()
        try:
            for frame in frames:
                yield from self._target.encode(frame)
            yield from self._target.encode(None)
        except FFmpegError:
            return

    def _decoded(self) -> Iterator[av.AudioFrame]:
        for packet in self._heard():
            try:
                frames = self._source.decode(packet if packet.size else None)
            except FFmpegError:
                continue
            for frame in frames:
                if frame.pts is not None and frame.time_base:
                    frame.pts -= round(self._start / frame.time_base)
                    yield frame

    def _masked(self) -> Iterator[av.AudioFrame]:
        resampler = av.AudioResampler("fltp", "mono", MASK_HZ)
        noise = np.random.default_rng(0)
        held: list[NDArray[np.float32]] = []
        begin: int | None = None
        block = round(MASK_SECONDS * MASK_HZ)
        for frame in self._decoded():
            for part in resampler.resample(frame):
                if begin is None:
                    assert part.pts is not None
                    assert part.time_base is not None
                    begin = round(part.pts * part.time_base * MASK_HZ)
                held.append(part.to_ndarray()[0])
            if begin is not None and sum(map(len, held)) >= block:
                samples = np.concatenate(held)
                yield _noise(samples[:block], begin, noise)
                held, begin = [samples[block:]], begin + block
        if begin is not None and held:
            yield _noise(np.concatenate(held), begin, noise)


def _begin(packet: av.Packet) -> Fraction:
    assert packet.pts is not None
    assert packet.time_base is not None
    return packet.pts * packet.time_base


def _noise(samples: NDArray[np.float32], begin: int, random: np.random.Generator) -> av.AudioFrame:
    """Noise as loud as `samples` (n,), by their root mean square, from sample `begin` on."""
    loud = float(np.sqrt(np.mean(samples**2))) if len(samples) else 0.0
    sound = np.clip(random.standard_normal(len(samples)) * loud, -1, 1).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None]), "fltp", "mono")
    frame.sample_rate, frame.time_base, frame.pts = MASK_HZ, Fraction(1, MASK_HZ), begin
    return frame


def open_sound(file: BinaryIO, info: VideoInfo, mask: bool) -> closing[Sound]:
    """The sound of a video that has some; closes with its block."""
    return closing(Sound(file, info, mask))
