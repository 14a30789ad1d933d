"""Detect faces on many frames at once: several threads, results in order, memory bounded."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from operators.core.detect import Detections, FaceDetector

Key = TypeVar("Key")
#: Pictures that wait for each thread.
AHEAD = 3


class Lookout(Generic[Key]):
    """Detectors of one thread each. What a picture gives does not depend on how many there are.

    In 8 bits where the CPU can: it must see every frame, and finds as many faces.
    """

    def __init__(self, device: str, threads: int) -> None:
        self._idle: SimpleQueue[FaceDetector] = SimpleQueue()
        threads = threads if device == "cpu" else 1
        for _ in range(threads):
            self._idle.put(FaceDetector(device, precision="int8"))
        last = self._idle.get()
        self.name = last.name
        self._idle.put(last)
        self._ahead = AHEAD * threads
        self._pool = ThreadPoolExecutor(threads)

    def __call__(
        self, images: Iterable[tuple[Key, NDArray[np.uint8]]], threshold: float
    ) -> Iterator[tuple[Key, Detections]]:
        """(key, (H, W, 3) uint8 RGB) -> (key, faces in the picture's own pixels), in order."""
        waiting: deque[tuple[Key, Future[Detections]]] = deque()
        for key, image in images:
            waiting.append((key, self._pool.submit(self._look, image, threshold)))
            if len(waiting) > self._ahead:
                key, result = waiting.popleft()
                yield key, result.result()
        for key, result in waiting:
            yield key, result.result()

    def _look(self, image: NDArray[np.uint8], threshold: float) -> Detections:
        detector = self._idle.get()
        try:
            return detector([image], threshold)[0]
        finally:
            self._idle.put(detector)
