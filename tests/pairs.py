"""Fork two processes that form a process group, for tests of distributed training."""

import os
import runpy
import signal
import socket
import sys
import time
import traceback

import accelerate
import torch
import torch._dynamo  # imported by the first optimizer; here, so that children inherit it

from sparring.errors import SparringError


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def pair(work, *, patience=10, port=None):
    """Run `work(rank)` in two processes. Returns (exit code, returned or raised text) of each.

    A SparringError gives its own exit code, any other exception 99. A process is killed (-9) after 60 seconds, or if
    only stopped processes are left.
    """
    children = forked(work, patience=patience, port=port)
    deadline = time.monotonic() + 60
    running, ends = {pid for pid, _ in children}, {}
    while len(ends) < len(children):
        for pid, _ in children:
            if pid in ends or (found := os.waitpid(pid, os.WNOHANG | os.WUNTRACED)) == (0, 0):
                continue
            running.discard(pid)
            if not os.WIFSTOPPED(found[1]):
                ends[pid] = os.waitstatus_to_exitcode(found[1])
        if not running or time.monotonic() > deadline:
            for pid, _ in children:
                if pid not in ends:
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    results = []
    for pid, reading in children:
        with os.fdopen(reading) as pipe:
            results.append((ends[pid], pipe.read()))
    return results


def forked(work, *, patience=10, port=None):
    """Start `work(rank)` in two processes. Returns (pid, read end of a pipe with its text) of each."""
    port = port or free_port()
    return [_fork(work, rank, port, patience) for rank in range(2)]


def command(*argv):
    """Run `python -m sparring ...` inside a forked process; ends that process."""
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
