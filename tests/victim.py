"""A server that imports once and forks children that train and may be killed; see test_faults.py.

Each line on stdin is a JSON job; each line on stdout its result: {"signal", "code", "error"}.
"""

import gc
import json
import os
import select
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import sparring.evaluation
import sparring.training
from sparring.durable import Disk
from sparring.errors import SparringError
from sparring.run import Run


class RecordingDisk(Disk):
    """Copies `folder` into `copies` before every operation before which something has changed in it.

    A copy is what SIGKILL at that moment leaves behind.
    """

    def __init__(self, folder, copies):
        self.folder, self.copies, self.last = folder, copies, None

    def _do(self, path, size, operation):
        files = {str(file): (file.stat().st_mtime_ns, file.stat().st_size) for file in self.folder.rglob("*")}
        if files != self.last:
            shutil.copytree(self.folder, self.copies / f"{len([*self.copies.iterdir()]):03}")
            self.last = files
        super()._do(path, size, operation)

    def remove(self, path):
        self._do(path, 0, lambda: Disk.remove(self, path))


def child(job):
    if job.get("copies"):
        disk = RecordingDisk(Path(job["out"]), Path(job["copies"]))
        Run.create, Run.open = partial(Run.create, disk=disk), partial(Run.open, disk=disk)
    if job["verb"] == "train":
        sparring.training.train(job["recipe"], job["data"], out=job["out"], quiet=True, **job["options"])
    else:
        sparring.training.resume(job["run"], quiet=True)


def warm():
    """Import, compile and cache what a first training needs, so that children inherit it."""
    data = sparring.load(np.arange(200 * 64, dtype=np.uint8).reshape(200, 8, 8), held_out=60)
    with TemporaryDirectory() as folder:
        options = {"rounds": 1, "latent_dim": 4, "batch": 8, "quiet": True, "out": folder}
        sparring.resume(sparring.train("csc321-mlp", data, **options), rounds=2, data=data, quiet=True)
    gc.collect()
    gc.freeze()  # garbage collection in a child would copy shared pages


def serve():
    for line in sys.stdin:
        job = json.loads(line)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            try:
                child(job)
                os._exit(0)
            except SparringError as error:
                os.write(writing, str(error).encode()[:4000])
                os._exit(error.exit_code)
            except BaseException:
                import traceback

                os.write(writing, traceback.format_exc().encode()[-4000:])
                os._exit(99)
        os.close(writing)
        if job.get("signal_when_logged"):
            deadline = time.monotonic() + 60
            while not any(log.stat().st_size for log in Path(job["out"]).glob("*/log.jsonl")):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            os.kill(pid, job["signal"])
        if job.get("signal_after") is not None:
            time.sleep(job["signal_after"])
            os.kill(pid, job.get("signal", signal.SIGKILL))
        select.select([reading], [], [], 120)
        error = os.read(reading, 5000).decode()
        os.close(reading)
        _, status = os.waitpid(pid, 0)
        result = {"signal": status & 127, "code": os.waitstatus_to_exitcode(status), "error": error}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.fsync = lambda handle: None  # SIGKILL takes nothing of what was written
    warm()
    print(json.dumps({"ready": True}), flush=True)
    serve()
