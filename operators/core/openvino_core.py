"""The one OpenVINO runtime of a process."""

import functools
from typing import Any


@functools.cache
def openvino_core() -> Any:
    """OpenVINO's entry, made once and kept until the process ends.

    On Linux its CPU plugin gives the thread that loads it a signal stack of its own, and puts the
    one before back when it is unloaded. Of two that overlap, the one before may be gone by then,
    and the next signal, Ctrl-C among them, is a segmentation fault.
    """
    import openvino

    return openvino.Core()
