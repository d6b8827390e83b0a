"""A server that imports once and forks children that train and may be killed; see test_faults.py.

Each line on stdin is a JSON job; each line on stdout its result: {"signal", "code", "error"}.
"""

import gc
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import sparring.evaluation
import sparring.training
from sparring.durable import Disk
from sparring.errors import SparringError
from sparring.run import Run


class KillingDisk(Disk):
    """Kills its own process with SIGKILL just before disk operation number `at`; notes which operations are syncs."""

    def __init__(self, at):
        self.at, self.count, self.syncs = at, 0, []

    def sync(self, path):
        self.syncs.append(self.count)
        super().sync(path)

    def _do(self, path, size, operation):
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1
        super()._do(path, size, operation)

    def remove(self, path):
        self._do(path, 0, lambda: Disk.remove(self, path))


def child(job):
    disk = KillingDisk(job["die_at"]) if job.get("die_at") is not None else Disk()
    run_class = sparring.training.Run
    create, opened = Run.create.__func__, Run.open.__func__
    run_class.create = classmethod(lambda cls, out, name, config, source: create(cls, out, name, config, source, disk))
    run_class.open = classmethod(lambda cls, path: opened(cls, path, disk))
    if job["verb"] == "train":
        sparring.training.train(job["recipe"], job["data"], out=job["out"], quiet=True, **job["options"])
    else:
        sparring.training.resume(job["run"], quiet=True)
    if job.get("count"):
        with open(job["count"], "w") as file:
            json.dump({"operations": disk.count, "syncs": disk.syncs}, file)


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
