"""The OpenVINO runtime of a process: signals, and threads."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, signal
from operators.core.centerface import load
from operators.core.detect import weights_path

first, second = (load(weights_path(), "cpu", 1, None, "f32") for _ in range(2))
del first, second
heard = []
signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
os.kill(os.getpid(), signal.SIGUSR1)
assert heard
"""

#: Models whose first pictures come at the same time, with threads that change at every step.
TOGETHER = """
import sys, threading
import numpy as np
from openvino import Model, opset13 as ops
from operators.core.openvino_core import openvino_core

core = openvino_core()
pixels = ops.parameter([1, 4, 4, 3], np.uint8)
model = core.compile_model(Model([ops.convert(pixels, "f32")], [pixels]), "CPU")
requests = [model.create_infer_request() for _ in range(3)]
start = threading.Barrier(len(requests))

def look(request):
    picture = np.zeros((1, 4, 4, 3), np.uint8)
    start.wait()
    request.infer([picture], share_inputs=True)

sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=look, args=(request,)) for request in requests]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.slow
def test_a_signal_is_heard_after_detectors_came_and_went() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.slow
def test_threads_whose_first_pictures_come_together_do_not_wait_for_ever() -> None:
    for _ in range(3):  # each locked up in three of four tries
        done = subprocess.run(
            [sys.executable, "-c", TOGETHER], capture_output=True, check=False, timeout=30
        )
        assert done.returncode == 0, done.stderr.decode()
