"""The OpenVINO runtime of a process, and signals."""

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


@pytest.mark.slow
def test_a_signal_is_heard_after_detectors_came_and_went() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
