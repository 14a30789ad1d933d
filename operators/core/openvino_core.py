"""The one OpenVINO runtime of a process."""

import functools
from typing import Any

import numpy as np


@functools.cache
def openvino_core() -> Any:
    """OpenVINO's entry, made once and kept until the process ends.

    On Linux its CPU plugin gives the thread that loads it a signal stack of its own, and puts the
    one before back when it is unloaded. Of two that overlap, the one before may be gone by then,
    and the next signal, Ctrl-C among them, is a segmentation fault.

    Its bindings learn numpy's types at the first array that they are given. Two threads that give
    their first at once lock each other out for ever, so one array is given here, by one thread.
    """
    import openvino

    openvino.Tensor(np.zeros(1, np.uint8), shared_memory=True)
    return openvino.Core()
