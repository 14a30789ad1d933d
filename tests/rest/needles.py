"""Finds planted bytes in gigabytes: any run of `RUN` of them, at any offset."""

import base64
import re
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

STRIDE = 128
_WORD = 8
_CONFIRM = 32
#: The shortest run of planted noise that is found.
RUN = STRIDE + _WORD + _CONFIRM
#: A word of a flat picture may stand anywhere: so many bytes of one differ from those before.
_CHANGES = 5
_HASH = np.uint64(0x9E3779B97F4A7C15)
_BITS = 26


class Needles:
    """What was planted, by kind; `find` says which kinds of it a buffer holds.

    A word of eight bytes at every `STRIDE` of the buffer is looked up among all words of all that
    was planted, at any offset; what is found is compared over the next bytes.
    """

    def __init__(self, planted: dict[str, Iterable[bytes]]) -> None:
        self._planted = {kind: [bytes(one) for one in found] for kind, found in planted.items()}
        whole = [one for found in self._planted.values() for one in found]
        self._words = np.sort(np.concatenate([_words(one) for one in whole]))
        self._maybe = np.zeros(1 << _BITS, bool)
        self._maybe[_hashed(self._words)] = True

    def find(self, buffer: bytes | bytearray | memoryview | NDArray[np.uint8]) -> set[str]:
        data = np.frombuffer(buffer, np.uint8)
        words = data[: len(data) // _WORD * _WORD].view("<u8")[:: STRIDE // _WORD]
        at = np.flatnonzero(words)
        at = at[self._maybe[_hashed(words[at])]]
        place = np.searchsorted(self._words, words[at])
        at = at[self._words[np.minimum(place, len(self._words) - 1)] == words[at]]
        return {kind for start in at for kind in self._kinds(data, int(start) * STRIDE)}

    def _kinds(self, data: NDArray[np.uint8], start: int) -> Iterator[str]:
        seen = data[start : start + _CONFIRM].tobytes()
        if len(seen) == _CONFIRM:
            for kind, whole in self._planted.items():
                if any(seen in one for one in whole):
                    yield kind


def _words(planted: bytes) -> NDArray[np.uint64]:
    data = np.frombuffer(planted, np.uint8)
    changes = np.concatenate([[0], np.cumsum(data[1:] != data[:-1])])
    noisy = changes[_WORD - 1 :] - changes[: -_WORD + 1] >= _CHANGES
    found = []
    for offset in range(_WORD):
        words = data[offset : offset + (len(data) - offset) // _WORD * _WORD].view("<u8")
        found.append(words[noisy[offset::_WORD]])
    return np.concatenate(found)


def _hashed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return (words * _HASH) >> np.uint64(64 - _BITS)


_MAGIC = re.compile(rb"\xff\xd8\xff[\xc0-\xfe]|\x89PNG\r\n\x1a\n|RIFF....WEBP|GIF8[79]a", re.DOTALL)
_IN_TEXT = re.compile(rb"data:image/[a-z+.-]+;base64,([A-Za-z0-9+/=]+)")
_LARGEST = 8 << 20


def pictures(data: bytes) -> Iterator[NDArray[np.uint8]]:
    """Every picture that begins anywhere in the data, (H, W, 3) uint8 RGB, in base64 as well."""
    import cv2

    found = [data[match.start() : match.start() + _LARGEST] for match in _MAGIC.finditer(data)]
    found += [base64.b64decode(match[1]) for match in _IN_TEXT.finditer(data)]
    for one in found:
        picture = cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR)
        if picture is not None:
            yield np.ascontiguousarray(picture[..., ::-1])
