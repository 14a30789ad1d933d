"""Where the child process starts: give up what it must not have, then serve.

This runs before anything is imported that starts a thread: Linux lets only a process with a single
thread leave its namespaces.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def fence(parent: int) -> None:
    """Die with the parent, leave no core dump, lose the network where the kernel allows it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # That limit does not hold where core dumps go to a program (core(5)); and now no other process
    # of this user can read its memory.
    libc.prctl(_PR_SET_DUMPABLE, 0)
    if libc.unshare(_CLONE_NEWNET) != 0:  # without privileges, in a user namespace of its own
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


if __name__ == "__main__":
    fence(int(sys.argv[2]))
    from infra.offline import disable_telemetry

    disable_telemetry()
    from infra.served import serve

    serve(int(sys.argv[1]))
