"""Frames in presentation order from any time on: seek, decode, survive damage."""

from collections.abc import Generator, Iterator
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.packet import Packet
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from operators.core.media import DTS_CONTAINERS, VideoInfo, open_video
from operators.core.packets import demux

#: How much further back each attempt seeks, until a frame at or before the target is decoded.
#: Containers with an index need the first only; MPEG-TS, which has none, needs its key interval.
BACK_OFF_SECONDS = (0, 2, 6, 14, 30, 62, 126, 254)
#: Refresh points that a gradually refreshed picture needs to be whole, whatever came before.
GRADUAL_REFRESHES = 2
#: Attempts that may find no packet at all before the file counts as cut short there.
EMPTY_ATTEMPTS = 2
#: Errors of the demuxer in a row after which the rest of the file counts as lost.
MAX_READ_ERRORS = 32

Timed = tuple[int, av.VideoFrame]


class FrameSource:
    """One pass over the frames of a span, told by ticks since the video's start.

    decoded, skipped: frames seen; skipped ones went backwards in time, had no time, or were marked
    as broken by the decoder. damage_ticks: latest time before the span's end at which a packet or
    frame was lost or broken; None if all was sound. cut_short: the last packet is incomplete, or
    the file holds nothing where its index says it does.
    """

    def __init__(self, file: BinaryIO, info: VideoInfo, threads: int = 1) -> None:
        self._file, self._info, self._threads = file, info, threads
        turned = info.rotation_degrees % 180 != 0
        self._coded_wh = (info.width_px, info.height_px)[:: -1 if turned else 1]
        self._scaler = VideoReformatter()
        self.decoded = self.skipped = 0
        self._stop: int | None = None
        self._restart()

    def _restart(self) -> None:
        """Forget what an attempt that is not used has found."""
        self.damage_ticks: int | None = None
        self.cut_short = False
        self._packets = 0
        self._repeated = self._distinct = 0
        self._last: int | None = None

    @property
    def mostly_repeated(self) -> bool:
        """Whether more frames had the time of the one before than had a time of their own.

        A frame or two at one time is how containers round; most of them is a clock that stands.
        """
        return self._repeated > self._distinct

    def frames(self, target_ticks: int, stop_ticks: int | None = None) -> Generator[Timed]:
        """(ticks, frame), rising, from the last reachable frame at or before the target.

        The first frame is later than the target only where the video has none before it. Damage at
        or after `stop_ticks` is not noted. Frames of another size than `info` gives are scaled to
        it: those of a stream that changes size, and all where pixels are not square. Ends at the
        end of the file; close the iterator to end earlier.
        """
        self._stop = stop_ticks
        container, stream = open_video(self._file, self._threads)
        try:
            empty = 0
            for seconds in BACK_OFF_SECONDS if target_ticks > 0 else ():
                ticks = target_ticks - int(seconds / self._info.time_base)
                if ticks <= 0:
                    break
                frames = self._sought(container, stream, ticks)
                first = next(frames, None)
                if first is not None and first[0] <= target_ticks:
                    yield first
                    yield from frames
                    return
                empty += self._packets == 0
                if empty == EMPTY_ATTEMPTS:
                    self.cut_short = True
                    return
            if target_ticks > 0:  # seeking moved it: begin again
                container.close()
                container, stream = open_video(self._file, self._threads)
                self._restart()
            yield from self._rising(container, stream, after_seek=False)
        finally:
            container.close()

    def forgive_damage(self, ticks: int) -> None:
        """Forget damage before a key frame at `ticks`: nothing after it refers to what was lost."""
        if self.damage_ticks is not None and self.damage_ticks < ticks:
            self.damage_ticks = None

    def _sought(
        self, container: InputContainer, stream: VideoStream, ticks: int
    ) -> Iterator[Timed]:
        self._restart()
        try:
            container.seek(self._info.start_ticks + ticks, stream=stream)
        except FFmpegError:
            self._packets = 1  # seeking failed: that says nothing about what the file holds
            return
        yield from self._rising(container, stream, after_seek=True)

    def _rising(
        self, container: InputContainer, stream: VideoStream, after_seek: bool
    ) -> Iterator[Timed]:
        """Decode from where the container stands; after a seek, from the next key frame.

        Pictures before that key frame in time refer to what was not decoded: they are dropped. A
        stream that refreshes its picture bit by bit has no key frame to start from: there, what
        comes before two more of its refresh points is dropped.
        """
        keys: list[int] = []
        needed: int | None = None if after_seek else 0
        for packet in self._demux(container, stream):
            if after_seek and packet.is_keyframe and (needed is None or len(keys) <= needed):
                keys.append(self._packet_ticks(packet))
            if after_seek and not keys:
                continue
            for frame in self._decode(stream, packet):
                self.decoded += 1
                ticks = self._frame_ticks(frame)
                if ticks is None:
                    self._lose(None)
                    continue
                if after_seek:
                    if needed is None and ticks >= keys[0]:
                        needed = 0 if frame.key_frame else GRADUAL_REFRESHES
                    if needed is None or len(keys) <= needed or ticks < keys[needed]:
                        continue
                if frame.is_corrupt or (self._last is not None and ticks < self._last):
                    self._lose(ticks)
                elif ticks == self._last:
                    self.skipped += 1
                    self._repeated += 1
                else:
                    self._last = ticks
                    self._distinct += 1
                    yield ticks, self._as_described(frame)

    def _frame_ticks(self, frame: av.VideoFrame) -> int | None:
        """A frame's time since the video's start; None if it has none."""
        if self._info.container not in DTS_CONTAINERS:
            time = frame.dts if frame.pts is None else frame.pts
        elif frame.dts is None:  # flushed at the end of the file: one tick is one frame
            return 0 if self._last is None else self._last + 1
        else:
            time = frame.dts
        return None if time is None else time - self._info.start_ticks

    def _packet_ticks(self, packet: Packet) -> int:
        """A key packet's time since the video's start; at the start where it has none."""
        time = packet.dts if self._info.container in DTS_CONTAINERS else packet.pts
        return 0 if time is None else time - self._info.start_ticks

    def _demux(self, container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
        """Packets to the end of the file, past errors of the demuxer; the last one flushes."""
        errors = 0
        while errors < MAX_READ_ERRORS:
            try:
                for packet in demux(container, stream):
                    if packet.size:
                        errors = 0
                        self._packets += 1
                        self.cut_short = packet.is_corrupt
                    yield packet
                return
            except FFmpegError:
                errors += 1
                self._note_damage(None)
        self.cut_short = True

    def _decode(self, stream: VideoStream, packet: Packet) -> list[av.VideoFrame]:
        if packet.is_corrupt:
            self._note_damage(packet.pts)
        try:
            return stream.decode(packet if packet.size else None)
        except EndOfFile:
            return []
        except FFmpegError:
            self._note_damage(packet.pts)
            return []

    def _lose(self, ticks: int | None) -> None:
        self.skipped += 1
        self._note_damage(None if ticks is None else ticks + self._info.start_ticks)

    def _note_damage(self, pts: int | None) -> None:
        if pts is None:
            ticks = 0 if self._last is None else self._last + 1
        else:
            ticks = pts - self._info.start_ticks
        if self._stop is None or ticks < self._stop:
            self.damage_ticks = max(ticks, self.damage_ticks or 0)

    def _as_described(self, frame: av.VideoFrame) -> av.VideoFrame:
        width, height = self._coded_wh
        if (frame.width, frame.height) == (width, height):
            return frame
        how = int(Interpolation.AREA)
        return self._scaler.reformat(frame, width, height, interpolation=how, threads=1)
