"""What parent and child process say to each other, over a socket pair.

Messages are one tag byte and a body:
  parent to child  b"S" pickled steps · b"B" Arrow batch · b"D" bytes asked for · b"X" read failed
  child to parent  b"R" offset, length · b"T" Arrow result · b"E" where it failed, without content
"""

import struct

import pyarrow as pa

#: The most that the parent takes of the child at once, and it of the parent: a minute of 32 faces
#: at 224 px is half of it. More than that counts as too much memory.
LONGEST_ANSWER_BYTES = 1 << 31
LONGEST_RANGE_BYTES = 1 << 24
#: Offset and length of a range of the video.
RANGE = struct.Struct("<qq")


def to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def from_ipc(body: bytes) -> pa.Table:
    with pa.ipc.open_stream(body) as reader:
        return reader.read_all()
