"""Two processes forked from this one that form a group, for tests of what several processes do together."""

import os
import runpy
import signal
import socket
import sys
import time
import traceback

import accelerate
import torch
import torch._dynamo  # what the first optimizer imports; here, so that children need not

from sparring.errors import SparringError


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def pair(work, *, patience=10, within=60, port=None):
    """How two processes end that run `work(rank)`: for each its exit code and the text that it returned or raised.

    An error of the library gives its own exit code, any other 99; who is not done `within` seconds is killed (-9).
    """
    children = forked(work, patience=patience, port=port)
    until = time.monotonic() + within
    ends = []
    for pid, reading in children:
        while (found := os.waitpid(pid, os.WNOHANG)) == (0, 0):
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        with os.fdopen(reading) as pipe:
            ends.append((os.waitstatus_to_exitcode(found[1]), pipe.read()))
    return ends


def forked(work, *, patience=10, port=None):
    """For each of two processes that run `work(rank)` its number, and the reading end of a pipe with its text."""
    port = port or free_port()
    return [_fork(work, rank, port, patience) for rank in range(2)]


def command(*argv):
    """`python -m sparring ...`, to be run in one of two processes: it ends that process."""
    sys.argv = ["sparring", *map(str, argv)]
    runpy.run_module("sparring", run_name="__main__", alter_sys=True)


def _fork(work, rank, port, patience):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    code, text = 0, ""
    try:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": str(rank)}
        os.environ |= {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
        os.environ["SPARRING_TIMEOUT"] = str(patience)
        accelerate.PartialState._reset_state()
        torch.set_num_threads(1)
        text = str(work(rank) or "")
    except SparringError as error:
        code, text = error.exit_code, str(error)
    except BaseException:
        code, text = 99, traceback.format_exc()
    os.write(writing, text.encode()[-4000:])
    sys.stdout.flush()
    os._exit(code)
