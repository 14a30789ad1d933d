"""Read the packets of a container, past what PyAV trips over."""

from collections.abc import Iterator

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream


def demux(container: InputContainer, *streams: Stream) -> Iterator[Packet]:
    """The packets of some streams, or of all, to the end of the file; the last ones flush.

    Transport streams and Flash video may begin a stream, sound for one, long after the file was
    opened. PyAV skips its packets, but at the end of the file it looks that stream up among those
    it knows and raises IndexError. All others have been flushed by then, so this is the end.
    """
    try:
        yield from container.demux(*streams)
    except IndexError:
        return
