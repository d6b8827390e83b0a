"""A run directory. No other package depends on its layout.

recipe.json     recipe, every argument, data, seed, versions, machine
round.py        source of the round that ran (text, for reading)
log.jsonl       deterministic values, one line per logged round; timing.jsonl: wall-clock times
metrics.jsonl   one line per measurement
health.jsonl    one line per observation of the health monitor, one per alarm, and one when an alarm has passed
samples/        000500.png: sample grids of the same latent codes
weights/        the weights used for sampling (EMA): model.safetensors + config.json
best/           the same for the round with the smallest KID on one half of the held-out images
checkpoints/    round-00000500/ folders with a manifest; at least two are kept
failure/        diagnostics, if training diverged
eval.json       the last `sparring evaluate`; evaluation/ contains its images
report.html     self-contained
run.lock        locked by the process that trains

recipe.json, eval.json and config.json contain the SHA-256 of their own content, model.safetensors that of its tensors,
a checkpoint's manifest those of its files and of the logs so far. All are checked when opened. Weights and checkpoints
also identify their training (`Run.training`), so that those of another run are rejected.

schema.py       types and ranges of recipe.json and config.json
logs.py         lines of the logs
weights.py      weights/ and best/: verified, and loaded into a system
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import html
import json
import os
import re
import secrets
import socket
import stat
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import safetensors.torch
import torch
from torch import Tensor

from sparring.data.dataset import Dataset, Spec
from sparring.data.faces import ATTRIBUTES, FACES
from sparring.data.loading import reload_data
from sparring.data.pixels import BadImage, open_image
from sparring.durable import (
    CorruptCheckpointError,
    Disk,
    as_json,
    digest,
    open_file,
    read_file,
    read_folder,
    read_json,
    sealed,
    sweep,
    unsealed,
    write_file,
    write_folder,
)
from sparring.errors import (
    DivergedError,
    SparringError,
    StorageError,
    abbreviated,
    printable,
    require_path,
    unknown_name_error,
)
from sparring.machine import signature
from sparring.recipes.recipe import RecipeFunction
from sparring.run.logs import LOGS, TAIL, Appended, parsed, prefix, texts
from sparring.run.schema import FORMAT, RunConfig, State, first_of, read_sealed, spec_of
from sparring.run.weights import (
    expected_shapes,
    open_system,
    packed,
    read_weights,
    require_fit,
    resolved_recipe,
    sum_of,
    system_of,
)
from sparring.system import System

__all__ = ["Checkpoint", "Run", "command_line", "open_system", "resolved_recipe"]

KEEP_CHECKPOINTS = 3
"""Number of checkpoints to keep. At least two, as a crash may damage the newest."""

ROUND = re.compile(r"[0-9]{1,15}")
"""The stem of a sample grid's file name."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of the referee.

    tensors   as `Referee.state_tensors`
    numbers   as `Referee.state_numbers`; and "logs": for each log {"bytes", "sha256"} when the checkpoint was written
    warnings  why newer checkpoints were skipped, and problems with the logs
    """

    tensors: dict[str, dict[str, Tensor]]
    numbers: dict[str, Any]
    warnings: list[str]


class Run:
    """One run on disk. `Run.create` creates a new one, `Run.open` opens an existing one."""

    def __init__(self, path: Path, config: Mapping[str, Any], disk: Disk) -> None:
        self.path = path
        self.trusted: RecipeFunction | None = None  # a recipe that is not built in, if this process trained the run
        self.config = dict(config)
        self.disk = disk
        self._appended: dict[str, Appended] = {}
        self._weights_round = -1

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _repr_html_(self) -> str:
        """For notebooks: the path, the number of rounds, and the newest sample grid."""
        grid = self.newest_grid()
        picture = base64.b64encode(grid[1]).decode() if grid else ""
        image = f'<br><img alt="samples" src="data:image/png;base64,{picture}">' if picture else ""
        played, _ = self.played()
        return f"<b>{html.escape(str(self.path))}</b>: {played:,} of {self.config['rounds']:,} rounds{image}"

    # Create and open.

    @classmethod
    def create(cls, out: Path, name: str, config: Mapping[str, Any], source: str, disk: Disk | None = None) -> Run:
        """Create a directory `out/0003-NAME` with recipe.json, round.py and empty logs. Raises StorageError."""
        disk = disk or Disk()
        disk.mkdir(out)
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
        while True:
            taken = [int(m[1]) for p in out.iterdir() if (m := re.match(r"(\d{4,})-", p.name))]
            path = out / f"{max(taken, default=0) + 1:04d}-{slug}"
            try:
                path.mkdir()
                break
            except FileExistsError:
                continue  # another process took that number
            except OSError as error:
                raise StorageError(f"cannot create {path}: {error.strerror}") from None
        run = cls(path, {"format": FORMAT, "id": secrets.token_hex(8), **config}, disk)
        run.config["signature"] = signature(run._provenance())
        for folder in ("samples", "weights", "checkpoints"):
            disk.mkdir(path / folder)
        write_file(disk, path / "round.py", source.encode())
        for log in (*LOGS, "timing"):
            disk.write(path / f"{log}.jsonl", b"")
        run.write_config()  # last: a directory with recipe.json is a run
        return run

    @classmethod
    def open(cls, path: Path | str, disk: Disk | None = None) -> Run:
        """Open the run at `path`. Raises SparringError if there is none, it has another format, or it was changed."""
        path = require_path("run", path)
        try:
            is_run = (path / "recipe.json").is_file()
        except OSError as error:  # a name too long, a folder without permissions
            raise SparringError(f"cannot read {abbreviated(str(path))}: {error.strerror}") from None
        if not is_run:
            near = (
                sorted(p.name for p in path.parent.glob("*") if (p / "recipe.json").is_file())
                if path.parent.is_dir()
                else []
            )
            runs = f" (runs there: {', '.join(near[-5:])})" if near else ""
            raise SparringError(f"{path} is not a run: it has no recipe.json{runs}")
        return cls(path, read_sealed(path / "recipe.json", RunConfig), disk or Disk())

    def reload(self) -> None:
        """Read recipe.json again: another process may have continued the training."""
        self.config = read_sealed(self.path / "recipe.json", RunConfig)

    def write_config(self) -> None:
        """Replace recipe.json (a resumed run may have a new end)."""
        write_file(self.disk, self.path / "recipe.json", sealed(self.config))

    @property
    def training(self) -> str:
        """SHA-256 of everything that the weights of a round depend on, except the machine.

        Excludes the number of rounds and the intervals of logs, sample grids, measurements and checkpoints.
        """
        names = ("recipe", "arguments", "spec", "precision", "seed", "batch", "grad_accum")
        return digest({**{name: self.config[name] for name in names}, "data": self.config["data"]["fingerprint"]})

    def _provenance(self) -> str:
        """The content of the signature: this run was created by this user on this machine, from this data."""
        return digest({"run": self.config["id"], "data": self.config["data"]["source"]})

    # Permission to write.

    def require_own(self) -> None:
        """Raises SparringError if writing into the run could change a file outside of it.

        That is, if a link leads out of the run, if an entry is neither a file nor a folder, or if a file that is
        written in place has a second hard link.
        """
        root = self.path.resolve()
        in_place = {"run.lock", *(f"{log}.jsonl" for log in (*LOGS, "timing"))}
        for folder, folders, files in os.walk(root):
            for name in (*folders, *files):
                path = Path(folder, name)
                try:
                    status = path.lstat()
                except FileNotFoundError:  # removed by a running training
                    continue
                where = f"{self.path / path.relative_to(root)}"
                if stat.S_ISLNK(status.st_mode):
                    with suppress(OSError, RuntimeError):  # a circular link
                        if path.resolve().is_relative_to(root):
                            continue
                    raise SparringError(f"{where} is a link that leads out of the run: remove it, or copy the run")
                if stat.S_ISDIR(status.st_mode):
                    continue
                if not stat.S_ISREG(status.st_mode):
                    raise SparringError(f"{where} is neither a file nor a folder: remove it")
                if status.st_nlink > 1 and name in in_place and Path(folder) == root:
                    raise SparringError(f"{where} has a second hard link: copy the run with its content")

    def require_writable(self) -> None:
        """As `require_own`; also raises StorageError if nothing can be written into the run."""
        self.require_own()
        for name, is_kind in (("eval.json", Path.is_file), ("report.html", Path.is_file), ("evaluation", Path.is_dir)):
            path = self.path / name
            if path.exists() and not is_kind(path):
                raise StorageError(f"cannot write {path}: it is not a {'folder' if name == 'evaluation' else 'file'}")
        trial = self.path / f".tmp-trial-{os.getpid()}"
        self.disk.write(trial, b"")
        self.disk.remove(trial)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the run, one process at a time; the kernel releases the lock when this process dies.

        Raises SparringError if another process holds the lock, and as `require_own` does; StorageError if the lock file
        cannot be written or locked.
        """
        self.require_own()
        try:
            file = open(self.path / "run.lock", "a+", encoding="utf-8", errors="replace")  # noqa: SIM115 (closed below)
        except OSError as error:
            raise StorageError(f"cannot write {self.path / 'run.lock'}: {error.strerror}") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise SparringError(
                    f"{self.path} is being trained by {printable(file.read(200).strip()) or 'another process'}"
                ) from None
            except OSError as error:
                raise StorageError(f"cannot lock {self.path / 'run.lock'}: {error.strerror}") from None
            started = time.strftime("%Y-%m-%d %H:%M:%S")
            try:
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()} since {started}\n")
                file.flush()
            except OSError as error:
                raise StorageError(f"cannot write {self.path / 'run.lock'}: {error.strerror}") from None
            try:
                yield
            finally:
                with suppress(OSError):
                    file.truncate(0)

    # Writing.

    def append(self, log: str, line: Mapping[str, Any]) -> None:
        """Append one JSON line to "log", "metrics", "health" or "timing"."""
        data = (json.dumps(line) + "\n").encode()
        if log in LOGS:
            self._log_state(log).add(data)
        try:
            with open(self._log(log), "ab") as file:
                file.write(data)
        except OSError as error:
            raise StorageError(f"cannot write {self._log(log)}: {error.strerror}") from error

    def _log_state(self, log: str) -> Appended:
        """Length and SHA-256 of a log; read from the file once, then updated by `append`."""
        if log not in self._appended:
            self._appended[log] = prefix(self._log(log))
        return self._appended[log]

    def write_sample(self, round_number: int, picture: bytes) -> None:
        """Write a sample grid (PNG)."""
        write_file(self.disk, self.path / "samples" / f"{round_number:06d}.png", picture)

    def write_failure(self, config: Mapping[str, Any]) -> None:
        """Write failure/failure.json: `config` and the last 200 lines of the log."""
        self.disk.mkdir(self.path / "failure")
        last = [*deque(self.lines("log"), maxlen=200)]
        write_file(self.disk, self.path / "failure" / "failure.json", as_json({**config, "last": last}))

    def write_evaluation(self, evaluation: Mapping[str, Any], pictures: Mapping[str, bytes]) -> None:
        """Replace eval.json and the images of the evaluation (name -> PNG)."""
        self.require_own()
        sweep(self.disk, self.path, shared=True)
        files = {f"{name}.png": picture for name, picture in pictures.items()}
        write_folder(self.disk, self.path / "evaluation", files, {"format": FORMAT, "run": self.config["id"]})
        write_file(self.disk, self.path / "eval.json", sealed(evaluation))

    def write_best(self, ema: System, round_number: int) -> None:
        """Write the weights of the best round so far."""
        self._write_weights("best", ema, round_number)

    def write_report(self, html: str) -> Path:
        """Write report.html, and return its path."""
        self.require_own()
        sweep(self.disk, self.path, shared=True)
        write_file(self.disk, self.path / "report.html", html.encode("utf-8", "replace"))
        return self.path / "report.html"

    # Checkpoints.

    def save(self, tensors: Mapping[str, Mapping[str, Tensor]], numbers: Mapping[str, Any], ema: System) -> None:
        """Write the EMA weights, then a checkpoint of round numbers["round"], then delete the oldest checkpoints.

        Weights first: a run killed between the two resumes from the previous checkpoint and writes both again. Weights
        of a later round (of a run that fell back to an earlier checkpoint) are kept. Raises DivergedError if a weight
        is not finite (nothing is written), StorageError if the disk cannot be written.
        """
        round_number = numbers["round"]
        for file, state in tensors.items():
            for name, value in state.items():
                if value.is_floating_point() and not bool(value.isfinite().all()):
                    raise DivergedError(f"round {round_number}: {file} {name} is not finite; not saved")
        self.write_weights(ema, round_number)

        for log in LOGS:
            self.disk.sync(self._log(log))
        files = {f"{file}.safetensors": packed(state) for file, state in tensors.items()}
        files["state.json"] = as_json({**numbers, "logs": {log: self._log_state(log).as_dict() for log in LOGS}})
        if self._is_saved(round_number, files):  # resumed and stopped again without a new round
            return
        config = {
            "format": FORMAT,
            "run": self.config["id"],
            "training": self.training,
            "round": round_number,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        write_folder(self.disk, self._checkpoint(round_number), files, config)
        for old in [number for number in self.checkpoints() if number <= round_number][:-KEEP_CHECKPOINTS]:
            self.disk.remove(self._checkpoint(old))

    def write_weights(self, ema: System, round_number: int) -> None:
        """Write the EMA weights, unless those of this or a later round are already on disk."""
        if self._weights_round < round_number:
            self._write_weights("weights", ema, round_number)
            self._weights_round = round_number

    def _write_weights(self, folder: str, ema: System, round_number: int) -> None:
        tensors = {name: value.detach().cpu().contiguous() for name, value in ema.state_dict().items()}
        header = {"round": round_number, "training": self.training}
        metadata = json.dumps({**header, "sha256": sum_of(tensors, header)})
        weights = safetensors.torch.save(tensors, {"sparring": metadata})  # one key: the order of several is random
        self.disk.mkdir(self.path / folder)
        file, names = self.path / folder / "config.json", ("format", "recipe", "arguments", "spec", "precision")
        config = sealed({**{name: self.config[name] for name in names}, "training": self.training})
        if not file.is_file() or read_file(file) != config:
            write_file(self.disk, file, config)
        write_file(self.disk, self.path / folder / "model.safetensors", weights)

    def _is_saved(self, round_number: int, files: Mapping[str, bytes]) -> bool:
        try:
            saved, manifest = read_folder(self._checkpoint(round_number))
        except CorruptCheckpointError:
            return False
        return manifest.get("run") == self.config["id"] and saved == files

    def checkpoints(self) -> list[int]:
        """Rounds with a checkpoint folder, oldest first."""
        folders = (self.path / "checkpoints").glob("round-*")
        return sorted(int(m[1]) for p in folders if (m := re.fullmatch(r"round-([0-9]{1,18})", p.name)))

    def newest_checkpoint(self) -> Checkpoint:
        """The newest intact checkpoint that the logs reach; if they reach none, the newest intact one.

        The logs reach a checkpoint if they still begin with their content at the time it was written. Raises
        SparringError if no checkpoint is intact.
        """
        warnings: list[str] = []
        fallback: Checkpoint | None = None
        for round_number in reversed(self.checkpoints()):
            try:
                saved = self._read_checkpoint(round_number, warnings)
                reason = self._differs(saved.numbers["logs"])
            except (
                CorruptCheckpointError,
                KeyError,
                ValueError,
                TypeError,
                AttributeError,
                RecursionError,
                safetensors.SafetensorError,
            ) as error:
                warnings.append(f"checkpoint round-{round_number:08d} is damaged and was skipped: {error}")
                continue
            if reason is None:
                return saved
            warnings.append(f"{reason} since round {round_number:,} was saved")
            fallback = fallback or saved
        if fallback is not None:
            note = f"resuming from round {fallback.numbers['round']:,} with the logs as they are"
            return Checkpoint(fallback.tensors, fallback.numbers, [*warnings, note])
        reasons = "".join(f"; {warning}" for warning in warnings)
        raise SparringError(f"{self.path} has no usable checkpoint{reasons}")

    def _read_checkpoint(self, round_number: int, warnings: list[str]) -> Checkpoint:
        files, manifest = read_folder(self._checkpoint(round_number))
        if manifest.get("run") != self.config["id"]:
            raise CorruptCheckpointError(f"round-{round_number:08d} belongs to another run")
        if manifest.get("format") != FORMAT:
            raise CorruptCheckpointError(f"round-{round_number:08d} has format {manifest.get('format')}, not {FORMAT}")
        if manifest.get("training") != self.training:
            raise CorruptCheckpointError(f"round-{round_number:08d} was trained with another recipe.json")
        numbers = json.loads(files.pop("state.json"))
        try:
            State.model_validate(numbers)
        except pydantic.ValidationError as error:
            raise CorruptCheckpointError(f"round-{round_number:08d}/state.json: {first_of(error)}") from None
        if numbers["round"] != round_number:
            raise CorruptCheckpointError(f"round-{round_number:08d} contains round {numbers['round']}")
        tensors = {name.removesuffix(".safetensors"): safetensors.torch.load(data) for name, data in files.items()}
        return Checkpoint(tensors, numbers, warnings)

    def require_fit(self, saved: Checkpoint, function: RecipeFunction, resolved: Mapping[str, Any]) -> None:
        """Raises SparringError unless the checkpoint's weights fit the recipe; no network is allocated."""
        expected = expected_shapes(function, self.spec, resolved)
        if expected is not None:
            file = self._checkpoint(saved.numbers["round"]) / "system.safetensors"
            require_fit(saved.tensors.get("system", {}), expected, file, self.config["recipe"])

    def _differs(self, logs: Mapping[str, Mapping[str, Any]]) -> str | None:
        """A message if a log no longer begins with its recorded content, else None."""
        for log, recorded in logs.items():
            current = prefix(self._log(log), recorded["bytes"])
            if current.as_dict() != recorded:
                how = "was truncated" if current.length < recorded["bytes"] else "was changed"
                return f"{self._log(log).name} {how}"
        return None

    def require_unplayed(self) -> None:
        """Raises SparringError if the run has results but no checkpoint: starting it again would overwrite them."""
        results = []
        for folder in ("weights", "best"):
            if (self.path / folder / "model.safetensors").exists() and (number := self._round_of(folder)) != 0:
                results.append(f"{folder}/" + (f" of round {number:,}" if number > 0 else ""))
        for log in (*LOGS, "timing"):
            number = max((line["round"] for line in self.lines(log) if "round" in line), default=0)
            if number:
                results.append(f"{log}.jsonl up to round {number:,}")
        if grids := [number for number in self.samples() if number]:
            results.append(f"samples/ up to round {max(grids):,}")
        if results:
            raise SparringError(
                f"{self.path} has {', '.join(results)}, but no checkpoint to resume from, and starting again would "
                f"overwrite them: start a new run with: sparring train {printable(self.config['recipe'])}"
            )

    def truncate_logs(self, logs: Mapping[str, Mapping[str, Any]]) -> None:
        """Truncate the logs to their length when a checkpoint was written (`logs` empty: to nothing).

        Also removes temporary files of killed processes. Call it only while the run is locked.
        """
        for folder in ("samples", "weights", "best", "checkpoints", "evaluation", "failure"):
            sweep(self.disk, self.path / folder)
        sweep(self.disk, self.path, shared=True)  # a report or an evaluation may be running
        self._appended.clear()
        self._weights_round = self._round_of("weights")
        for log in LOGS:
            length = logs[log]["bytes"] if logs else 0
            try:
                with open(self._log(log), "ab") as file:
                    if file.tell() > length:
                        file.truncate(length)
            except OSError as error:
                raise StorageError(f"cannot write {self._log(log)}: {error.strerror}") from None

    def _round_of(self, folder: str) -> int:
        """The round of the weights in "weights" or "best"; -1 if they are missing, damaged or of another run."""
        try:
            return read_weights(self.path / folder, self.training)[1]
        except SparringError:
            return -1

    def _checkpoint(self, round_number: int) -> Path:
        return self.path / "checkpoints" / f"round-{round_number:08d}"

    def _log(self, log: str) -> Path:
        return self.path / f"{log}.jsonl"

    # Reading.

    def lines(self, log: str) -> Iterator[dict[str, Any]]:
        """The lines of "log", "metrics", "health" or "timing", one at a time; damaged ones are skipped."""
        return filter(None, (parsed(log, text) for text in texts(self._log(log))))

    def read(self, log: str) -> list[dict[str, Any]]:
        """All `lines` of a log."""
        return [*self.lines(log)]

    def thinned(self, log: str, most: int = 1000) -> tuple[list[dict[str, Any]], int]:
        """Every n-th line of a log and the last one, and n; at least `most` lines (if there are) and fewer than twice.

        Memory use does not grow with the log.
        """
        kept: list[bytes] = []
        every, last, number = 1, b"", -1
        for number, text in enumerate(texts(self._log(log))):
            last = text
            if number % every == 0:
                kept.append(text)
                if len(kept) >= 2 * most:
                    del kept[1::2]
                    every *= 2
        if number % every:
            kept.append(last)
        return [line for text in kept if (line := parsed(log, text))], every

    def health(self) -> list[dict[str, Any]]:
        """The alarms of the health monitor, in order: dictionaries with the fields of `monitor.Alarm`."""
        alarms = [line["alarm"] for line in self.lines("health") if "alarm" in line]
        return list({(alarm["cause"], alarm["began"]): alarm for alarm in alarms}.values())

    def played(self) -> tuple[int, float]:
        """The last round in log.jsonl (0: none yet), and the time of the last log line in seconds since 1970.

        Reads only the end of the file. Raises SparringError if there is no log.
        """
        try:
            with open_file(self._log("log")) as file:
                logged = os.fstat(file.fileno()).st_mtime
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
                for text in reversed(file.read(TAIL).splitlines()):
                    if line := parsed("log", text):  # else the line is incomplete
                        return line["round"], logged
        except OSError as error:
            raise SparringError(f"cannot read {self._log('log')}: {error.strerror}") from None
        return 0, logged

    def state(self) -> str:
        """The state: "training" while a process has locked the run, else "done", "diverged" or "stopped"."""
        try:
            with open_file(self.path / "run.lock") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return "training"
        except OSError:
            pass  # never locked, or a disk without locks
        if self.played()[0] >= self.config["rounds"]:
            return "done"
        return "diverged" if (self.path / "failure").is_dir() else "stopped"

    def samples(self) -> dict[int, Path]:
        """Round -> path of its sample grid, in order."""
        files = {path.stem: path for path in self._pictures("samples")}
        return {int(name): files[name] for name in sorted(filter(ROUND.fullmatch, files), key=int)}

    def newest_grid(self) -> tuple[int, bytes] | None:
        """Round and PNG bytes of the newest sample grid, or None; damaged grids are skipped."""
        for number, file in reversed(self.samples().items()):
            try:
                with open_image(file) as image:
                    image.load()
                return number, read_file(file)
            except (BadImage, OSError):
                continue
        return None

    def round_source(self) -> str:
        """The source of the round that was trained; "" if round.py is missing."""
        try:
            return read_file(self.path / "round.py").decode("utf-8", "replace")
        except OSError:
            return ""

    def evaluation(self) -> dict[str, Any] | None:
        """The content of eval.json, or None. Raises CorruptCheckpointError if it was changed."""
        file = self.path / "eval.json"
        if not file.exists():
            return None
        try:
            return unsealed(read_json(file))
        except CorruptCheckpointError as error:
            raise CorruptCheckpointError(f"{file} {error}: run sparring evaluate {self.path} again") from None
        except OSError as error:
            raise CorruptCheckpointError(f"cannot read {file}: {error.strerror}") from None

    def evaluation_pictures(self) -> dict[str, Path]:
        """Name -> path of an image of the evaluation."""
        return {file.stem: file for file in sorted(self._pictures("evaluation"))}

    def _pictures(self, folder: str) -> Iterator[Path]:
        """The PNGs in a folder of the run, except links that lead out of it."""
        root = self.path.resolve()
        for file in (self.path / folder).glob("*.png"):
            with suppress(OSError, RuntimeError):  # a circular link
                if file.is_file() and file.resolve().is_relative_to(root):
                    yield file

    def best(self) -> dict[str, Any] | None:
        """The line of metrics.jsonl with the smallest KID on the half of the held-out images used for selection."""
        lines = [line for line in self.lines("metrics") if line["metric"] == "KID" and "floor" in line]
        return min(lines, key=lambda line: line["value"], default=None)

    def system(
        self, *, recipe: str | None = None, checkpoint: str = "last", device: str | torch.device = "auto"
    ) -> System:
        """The trained system with its EMA weights, in evaluation mode; needs no data.

        recipe      required for a recipe that is not built in ("module:function"), unless this process trained the run
        checkpoint  "last", or "best" for the round with the smallest KID
        device      "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1" or "mps"

        Raises SparringError if the device does not exist here, and if the weights are missing, damaged, or of another
        run.
        """
        if not isinstance(checkpoint, str) or checkpoint not in ("last", "best"):
            raise unknown_name_error("checkpoint", str(checkpoint), ["last", "best"])
        if checkpoint == "best" and not (self.path / "best" / "model.safetensors").is_file():
            raise SparringError(f"{self.path} has no best checkpoint, as no KID was measured: use checkpoint last")
        folder = self.path / ("best" if checkpoint == "best" else "weights")
        return system_of(folder, self.trusted if recipe is None else recipe, self.training, device)

    def weights_sum(self) -> str:
        """SHA-256 of weights/model.safetensors: identifies the weights of `system()`."""
        return hashlib.sha256(read_file(self.path / "weights" / "model.safetensors")).hexdigest()

    def data(self, given: Dataset | str | Path | Mapping[str, str | Path] | None = None) -> Dataset:
        """The data of this run, loaded from their recorded source, or from `given`: their present location.

        The recorded source is used only for a run that this user created on this machine. Raises SparringError for
        other runs without `given`, for data created in memory, and if the content has changed.
        """
        config = self.config["data"]
        source = config["source"]
        if isinstance(given, Dataset):
            data = given
        elif given is not None:
            if source and isinstance(source["source"], dict) and isinstance(given, str):
                given = dict(zip(source["source"], given.split(","), strict=False))
            options = source or {"channels": self.spec.channels}
            untrusted = {} if self.is_own() else dict.fromkeys(("root", "cache", "labels_from"))
            if isinstance(given, str) and given in FACES and options.get("labels_from") in ATTRIBUTES:
                untrusted.pop("labels_from", None)  # the name of an attribute is not a path
            data = reload_data({**options, **untrusted, "source": given}, self.spec.size)
        elif source is None:
            raise SparringError(
                f"{self.path} was trained on data created in memory: pass them again, with --data PATH or data=..."
            )
        elif not self.is_own():
            recorded = source["source"]
            location = ",".join(recorded.values()) if isinstance(recorded, dict) else recorded
            raise SparringError(
                f"{self.path} was not created by you on this machine, so its data source is not used automatically: "
                f"give --data {printable(location)}, or their location here"
            )
        else:
            data = reload_data(source, self.spec.size)
        if data.fingerprint != config["fingerprint"]:
            raise SparringError(
                f"these are not the data that {self.path} was trained on, or they have changed: {config['count']:,} "
                f"images of '{printable(config['name'])}' then, {len(data):,} of '{printable(data.name)}' now"
            )
        return data

    @property
    def spec(self) -> Spec:
        """Shape and classes of the data."""
        return spec_of(self.config)

    def is_own(self) -> bool:
        """Whether this user created the run on this machine, with the recorded data source."""
        return bool(self.config["signature"] == signature(self._provenance()))


def command_line() -> str:
    """The command line of this process, for the record."""
    program = Path(sys.argv[0]).name
    return " ".join(["sparring" if program == "__main__.py" else program, *sys.argv[1:]])
