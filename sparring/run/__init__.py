"""A run directory: the only package that knows what is in it and how it is written.

recipe.json     recipe, every argument, data, seed, versions, machine
round.py        source of the round that ran (text, for reading)
log.jsonl       deterministic values, one line per log; timing.jsonl holds wall-clock
metrics.jsonl   one line per measurement
health.jsonl    one line per look of the health monitor, one per alarm, and one when it has passed
samples/        000500.png: the same noise every time
weights/        what the world is shown (EMA weights): model.safetensors + config.json
best/           the same of the round with the smallest KID on one half of the held-out images
checkpoints/    round-00000500/ folders with a manifest; at least two are kept
failure/        what was known when training diverged
eval.json       the last `sparring evaluate`; evaluation/ holds the pictures that show what its numbers mean
report.html     self-contained
run.lock        held by the process that trains

recipe.json, eval.json and config.json hold the SHA-256 of their own content, model.safetensors that of its tensors, a
checkpoint's manifest that of its files and of the logs so far. All are checked when they are opened. Weights and
checkpoints also name the training they belong to (`Run.training`), so that those of another run are found out.

schema.py       types and ranges of recipe.json and config.json
logs.py         lines of the logs
weights.py      weights/ and best/: checked, and made into a system again
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

from sparring.data.dataset import Dataset
from sparring.data.loading import load
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
    require_path,
    shown,
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

__all__ = ["Checkpoint", "Run", "command_line", "open_system", "reload_data", "resolved_recipe", "spec_of"]

KEEP_CHECKPOINTS = 3
"""Checkpoints kept. At least two: the newest may be the one that a crash damaged."""

ROUND = re.compile(r"[0-9]{1,15}")
"""The name of a sample grid, without its ending."""


@dataclass(frozen=True)
class Checkpoint:
    """What the referee needs to go on; complaints say why newer ones were passed over, and what is wrong with logs.

    numbers["logs"]: for each log, {"bytes", "sha256"} of what it was when the checkpoint was written.
    """

    tensors: dict[str, dict[str, Tensor]]
    numbers: dict[str, Any]
    warnings: list[str]


class Run:
    """One run on disk. Make a new one with `Run.create`, look at an old one with `Run.open`."""

    def __init__(self, path: Path, config: Mapping[str, Any], disk: Disk) -> None:
        self.path = path
        self.trusted: RecipeFunction | None = None  # a recipe that is not ours, which this process has trained it with
        self.config = dict(config)
        self.disk = disk
        self._appended: dict[str, Appended] = {}
        self._weights_round = -1

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the name, how far it is, and the newest grid."""
        grid = self.newest_grid()
        picture = base64.b64encode(grid[1]).decode() if grid else ""
        image = f'<br><img alt="samples" src="data:image/png;base64,{picture}">' if picture else ""
        played, _ = self.round_index()
        return f"<b>{html.escape(str(self.path))}</b>: {played:,} of {self.config['rounds']:,} rounds{image}"

    # Birth.

    @classmethod
    def create(cls, out: Path, name: str, config: Mapping[str, Any], source: str, disk: Disk | None = None) -> Run:
        """A new directory `out/0003-NAME` with recipe.json, round.py and empty logs. Raises StorageError."""
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
                continue  # another start took that number
            except OSError as error:
                raise StorageError(f"cannot make {path}: {error.strerror}") from None
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
        """The run at `path`. Raises SparringError when there is none, it is of another format, or it was changed."""
        path = require_path("run", path)
        try:
            there = (path / "recipe.json").is_file()
        except OSError as error:  # a name too long, a folder without rights
            raise SparringError(f"{abbreviated(str(path))} cannot be looked into: {error.strerror}") from None
        if not there:
            near = (
                sorted(p.name for p in path.parent.glob("*") if (p / "recipe.json").is_file())
                if path.parent.is_dir()
                else []
            )
            runs = f" (runs there: {', '.join(near[-5:])})" if near else ""
            raise SparringError(f"{path} is not a run: it has no recipe.json{runs}")
        return cls(path, read_sealed(path / "recipe.json", RunConfig), disk or Disk())

    def reload(self) -> None:
        """Read recipe.json again: another process may have played on since it was opened."""
        self.config = read_sealed(self.path / "recipe.json", RunConfig)

    def write_config(self) -> None:
        """Replace recipe.json (a resumed run may go on for longer)."""
        write_file(self.disk, self.path / "recipe.json", sealed(self.config))

    @property
    def training(self) -> str:
        """SHA-256 of all that the weights of a round depend on, apart from the machine.

        The end of the training does not belong to it, nor when it is logged, shown, measured and saved.
        """
        names = ("recipe", "arguments", "spec", "precision", "seed", "batch", "grad_accum")
        return digest({**{name: self.config[name] for name in names}, "data": self.config["data"]["fingerprint"]})

    def _provenance(self) -> str:
        """What is signed: this run was made by this user on this machine, from this data."""
        return digest({"run": self.config["id"], "data": self.config["data"]["source"]})

    # Who may write.

    def require_own(self) -> None:
        """Raises SparringError when writing into the run could change a file outside of it.

        So when a link in it leads out of it, when something in it is neither a file nor a folder, or when a file that
        is written in place is the same as one elsewhere (a hard link).
        """
        root = self.path.resolve()
        in_place = {"run.lock", *(f"{log}.jsonl" for log in (*LOGS, "timing"))}
        for folder, folders, files in os.walk(root):
            for name in (*folders, *files):
                path = Path(folder, name)
                try:
                    status = path.lstat()
                except FileNotFoundError:  # a file of a training that goes on meanwhile
                    continue
                where = f"{self.path / path.relative_to(root)}"
                if stat.S_ISLNK(status.st_mode):
                    with suppress(OSError, RuntimeError):  # a link in a circle leads nowhere
                        if path.resolve().is_relative_to(root):
                            continue
                    raise SparringError(f"{where} is a link that leads out of the run: nothing is written through it")
                if stat.S_ISDIR(status.st_mode):
                    continue
                if not stat.S_ISREG(status.st_mode):
                    raise SparringError(f"{where} is neither a file nor a folder: nothing is written beside it")
                if status.st_nlink > 1 and name in in_place and Path(folder) == root:
                    raise SparringError(f"{where} is a hard link to another file, too: copy the run with its content")

    def require_writable(self) -> None:
        """As `require_own`; and raises StorageError when nothing can be written into the run."""
        self.require_own()
        for name, there in (("eval.json", Path.is_file), ("report.html", Path.is_file), ("evaluation", Path.is_dir)):
            path = self.path / name
            if path.exists() and not there(path):
                raise StorageError(f"cannot write {path}: something else has this name")
        trial = self.path / f".tmp-trial-{os.getpid()}"
        self.disk.write(trial, b"")
        self.disk.remove(trial)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run, one process at a time; the kernel lets go when this process dies.

        Raises SparringError that names the other holder, and as `require_own` does; StorageError where nothing can be
        written or locked.
        """
        self.require_own()
        try:
            file = open(self.path / "run.lock", "a+", encoding="utf-8", errors="replace")  # noqa: SIM115 (held below)
        except OSError as error:
            raise StorageError(f"cannot write {self.path / 'run.lock'}: {error.strerror}") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise SparringError(
                    f"{self.path} is being trained by {shown(file.read(200).strip()) or 'another process'}"
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

    # What training writes.

    def append(self, log: str, line: Mapping[str, Any]) -> None:
        """One JSON line to log "log", "metrics", "health" or "timing"."""
        data = (json.dumps(line) + "\n").encode()
        if log in LOGS:
            self._so_far(log).add(data)
        try:
            with open(self._log(log), "ab") as file:
                file.write(data)
        except OSError as error:
            raise StorageError(f"cannot write {self._log(log)}: {error.strerror}") from error

    def _so_far(self, log: str) -> Appended:
        """Bytes and SHA-256 of a log; read from the file once, then kept by `append`."""
        if log not in self._appended:
            self._appended[log] = prefix(self._log(log))
        return self._appended[log]

    def write_sample(self, round_number: int, picture: bytes) -> None:
        write_file(self.disk, self.path / "samples" / f"{round_number:06d}.png", picture)

    def write_failure(self, config: Mapping[str, Any]) -> None:
        self.disk.mkdir(self.path / "failure")
        last = [*deque(self.lines("log"), maxlen=200)]
        write_file(self.disk, self.path / "failure" / "failure.json", as_json({**config, "last": last}))

    def write_evaluation(self, evaluation: Mapping[str, Any], pictures: Mapping[str, bytes]) -> None:
        """The numbers, and by name the pictures (PNG) that show what they mean; those of the last time go."""
        self.require_own()
        sweep(self.disk, self.path, shared=True)
        files = {f"{name}.png": picture for name, picture in pictures.items()}
        write_folder(self.disk, self.path / "evaluation", files, {"format": FORMAT, "run": self.config["id"]})
        write_file(self.disk, self.path / "eval.json", sealed(evaluation))

    def write_best(self, shown: System, round_number: int) -> None:
        """The weights of the best round so far."""
        self._write_weights("best", shown, round_number)

    def write_report(self, html: str) -> Path:
        self.require_own()
        sweep(self.disk, self.path, shared=True)
        write_file(self.disk, self.path / "report.html", html.encode("utf-8", "replace"))
        return self.path / "report.html"

    # Checkpoints.

    def save(self, tensors: Mapping[str, Mapping[str, Tensor]], numbers: Mapping[str, Any], shown: System) -> None:
        """The weights the world is shown, then a checkpoint of round numbers["round"]; older ones go once it is there.

        Weights first: a run killed between the two plays on from the checkpoint before and writes both again. Weights
        of a later round, which a run that had to go back to an earlier checkpoint has, are left as they are. Raises
        Diverged when a weight is not finite (nothing is written), StorageError when the disk refuses.
        """
        played = numbers["round"]
        for file, named in tensors.items():
            for name, value in named.items():
                if value.is_floating_point() and not bool(value.isfinite().all()):
                    raise DivergedError(f"round {played}: {file} {name} is not finite; not saved")
        self.write_weights(shown, played)

        for log in LOGS:
            self.disk.sync(self._log(log))
        files = {f"{file}.safetensors": packed(named) for file, named in tensors.items()}
        files["state.json"] = as_json({**numbers, "logs": {log: self._so_far(log).as_dict() for log in LOGS}})
        if self._is_there(played, files):  # saved before, resumed, and stopped again without a round between
            return
        config = {
            "format": FORMAT,
            "run": self.config["id"],
            "training": self.training,
            "round": played,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        write_folder(self.disk, self._checkpoint(played), files, config)
        for old in [number for number in self.checkpoints() if number <= played][:-KEEP_CHECKPOINTS]:
            self.disk.remove(self._checkpoint(old))

    def write_weights(self, shown: System, round_number: int) -> None:
        """The weights the world is shown, unless those of this or of a later round are there."""
        if self._weights_round < round_number:
            self._write_weights("weights", shown, round_number)
            self._weights_round = round_number

    def _write_weights(self, folder: str, shown: System, round_number: int) -> None:
        tensors = {name: value.detach().cpu().contiguous() for name, value in shown.state_dict().items()}
        header = {"round": round_number, "training": self.training}
        about = json.dumps({**header, "sha256": sum_of(tensors, header)})
        weights = safetensors.torch.save(tensors, {"sparring": about})  # several keys would come in any order
        self.disk.mkdir(self.path / folder)
        config, names = self.path / folder / "config.json", ("format", "recipe", "arguments", "spec", "precision")
        known = sealed({**{name: self.config[name] for name in names}, "training": self.training})
        if not config.is_file() or read_file(config) != known:
            write_file(self.disk, config, known)
        write_file(self.disk, self.path / folder / "model.safetensors", weights)

    def _is_there(self, round_number: int, files: Mapping[str, bytes]) -> bool:
        try:
            found, manifest = read_folder(self._checkpoint(round_number))
        except CorruptCheckpointError:
            return False
        return manifest.get("run") == self.config["id"] and found == files

    def checkpoints(self) -> list[int]:
        """Rounds of which there is a checkpoint folder, oldest first."""
        folders = (self.path / "checkpoints").glob("round-*")
        return sorted(int(m[1]) for p in folders if (m := re.fullmatch(r"round-([0-9]{1,18})", p.name)))

    def newest_checkpoint(self) -> Checkpoint:
        """The newest checkpoint that is whole and that the logs reach; if they reach none, the newest that is whole.

        The logs reach a checkpoint if they begin with what they were when it was written. Raises SparringError when
        there is none that is whole.
        """
        warnings: list[str] = []
        unreached: Checkpoint | None = None
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
            unreached = unreached or saved
        if unreached is not None:
            where = f"going on from round {unreached.numbers['round']:,} with the logs as they are"
            return Checkpoint(unreached.tensors, unreached.numbers, [*warnings, where])
        reasons = "".join(f"; {c}" for c in warnings)
        raise SparringError(f"{self.path} has no checkpoint that can be used{reasons}")

    def _read_checkpoint(self, round_number: int, warnings: list[str]) -> Checkpoint:
        files, manifest = read_folder(self._checkpoint(round_number))
        if manifest.get("run") != self.config["id"]:
            raise CorruptCheckpointError(f"round-{round_number:08d} belongs to another run")
        if manifest.get("format") != FORMAT:
            raise CorruptCheckpointError(f"round-{round_number:08d} has format {manifest.get('format')}, not {FORMAT}")
        if manifest.get("training") != self.training:
            raise CorruptCheckpointError(f"round-{round_number:08d} was played by another recipe.json")
        numbers = json.loads(files.pop("state.json"))
        try:
            State.model_validate(numbers)
        except pydantic.ValidationError as error:
            raise CorruptCheckpointError(f"round-{round_number:08d}/state.json: {first_of(error)}") from None
        if numbers["round"] != round_number:
            raise CorruptCheckpointError(f"round-{round_number:08d} holds round {numbers['round']}")
        tensors = {name.removesuffix(".safetensors"): safetensors.torch.load(data) for name, data in files.items()}
        return Checkpoint(tensors, numbers, warnings)

    def require_fit(self, saved: Checkpoint, function: RecipeFunction, settled: Mapping[str, Any]) -> None:
        """Raises SparringError unless the checkpoint's weights are those of the recipe, of which none is made."""
        expected = expected_shapes(function, spec_of(self.config), settled)
        if expected is not None:
            file = self._checkpoint(saved.numbers["round"]) / "system.safetensors"
            require_fit(saved.tensors.get("system", {}), expected, file, self.config["recipe"])

    def _differs(self, logs: Mapping[str, Mapping[str, Any]]) -> str | None:
        """Why a log does not begin with what it was, if so."""
        for log, was in logs.items():
            there = prefix(self._log(log), was["bytes"])
            if there.as_dict() != was:
                how = "is cut" if there.length < was["bytes"] else "was changed"
                return f"{self._log(log).name} {how}"
        return None

    def require_unplayed(self) -> None:
        """Raises SparringError when rounds were played: a run without checkpoints would begin anew over what it has."""
        there = []
        for folder in ("weights", "best"):
            if (self.path / folder / "model.safetensors").exists() and (number := self._round_of(folder)) != 0:
                there.append(f"{folder}/" + (f" of round {number:,}" if number > 0 else ""))
        for log in (*LOGS, "timing"):
            number = max((line["round"] for line in self.lines(log) if "round" in line), default=0)
            if number:
                there.append(f"{log}.jsonl to round {number:,}")
        if grids := [number for number in self.samples() if number]:
            there.append(f"samples/ to round {max(grids):,}")
        if there:
            raise SparringError(
                f"{self.path} has {', '.join(there)}, and no checkpoint to go on from: beginning again would overwrite "
                f"that; start a new run with: sparring train {shown(self.config['recipe'])}"
            )

    def truncate_logs(self, logs: Mapping[str, Mapping[str, Any]]) -> None:
        """Cut the logs back to where they were when a checkpoint was written (without `logs`: to nothing).

        And remove what writers that were killed have left. Call it when the run is locked.
        """
        for folder in ("samples", "weights", "best", "checkpoints", "evaluation", "failure"):
            sweep(self.disk, self.path / folder)
        sweep(self.disk, self.path, shared=True)  # a report or an evaluation may be under way
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
        """The round of the weights in "weights" or "best"; -1 unless they are there, whole and of this run."""
        try:
            return read_weights(self.path / folder, self.training)[1]
        except SparringError:
            return -1

    def _checkpoint(self, round_number: int) -> Path:
        return self.path / "checkpoints" / f"round-{round_number:08d}"

    def _log(self, log: str) -> Path:
        return self.path / f"{log}.jsonl"

    # What others read.

    def lines(self, log: str) -> Iterator[dict[str, Any]]:
        """The lines of "log", "metrics", "health" or "timing", one at a time; damaged ones are left out."""
        return filter(None, (parsed(log, text) for text in texts(self._log(log))))

    def read(self, log: str) -> list[dict[str, Any]]:
        """All `lines` of a log."""
        return [*self.lines(log)]

    def thinned(self, log: str, most: int = 1000) -> tuple[list[dict[str, Any]], int]:
        """Every n-th line of a log, at least `most` and fewer than twice that many if there are so many; and n.

        The last line is always among them. Memory does not grow with the log.
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
        """What the health monitor found, in the order it was told: dictionaries with the fields of `monitor.Alarm`."""
        alarms = [line["alarm"] for line in self.lines("health") if "alarm" in line]
        return list({(alarm["cause"], alarm["began"]): alarm for alarm in alarms}.values())

    def round_index(self) -> tuple[int, float]:
        """The last round in log.jsonl (0: none yet), and when something was logged last, in seconds since 1970.

        Reads the end of the file only. Raises SparringError where there is no log.
        """
        try:
            with open_file(self._log("log")) as file:
                logged = os.fstat(file.fileno()).st_mtime
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
                for text in reversed(file.read(TAIL).splitlines()):
                    if line := parsed("log", text):  # else it is torn, or cut at the front
                        return line["round"], logged
        except OSError as error:
            raise SparringError(f"cannot read {self._log('log')}: {error.strerror}") from None
        return 0, logged

    def state(self) -> str:
        """ "training" while a process holds the run; else "done", "diverged" or "stopped"."""
        try:
            with open_file(self.path / "run.lock") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return "training"
        except OSError:
            pass  # never locked, or on a disk without locks
        if self.round_index()[0] >= self.config["rounds"]:
            return "done"
        return "diverged" if (self.path / "failure").is_dir() else "stopped"

    def samples(self) -> dict[int, Path]:
        """Round -> sample grid, in the order of the rounds."""
        files = {path.stem: path for path in self._pictures("samples")}
        return {int(name): files[name] for name in sorted(filter(ROUND.fullmatch, files), key=int)}

    def newest_grid(self) -> tuple[int, bytes] | None:
        """The round of the newest sample grid and the grid as PNG, or None; damaged ones are passed over."""
        for number, file in reversed(self.samples().items()):
            try:
                with open_image(file) as image:
                    image.load()
                return number, read_file(file)
            except (BadImage, OSError):
                continue
        return None

    def round_source(self) -> str:
        """The round that was played, as text; "" where round.py is missing."""
        try:
            return read_file(self.path / "round.py").decode("utf-8", "replace")
        except OSError:
            return ""

    def evaluation(self) -> dict[str, Any] | None:
        """What `write_evaluation` kept, or None. Raises DamagedError when it is not that any more."""
        file = self.path / "eval.json"
        if not file.exists():
            return None
        try:
            return unsealed(read_json(file))
        except CorruptCheckpointError as error:
            raise CorruptCheckpointError(f"{file} {error}: sparring evaluate {self.path} makes it anew") from None
        except OSError as error:
            raise CorruptCheckpointError(f"cannot read {file}: {error.strerror}") from None

    def evaluation_pictures(self) -> dict[str, Path]:
        """Name -> picture that belongs to the evaluation."""
        return {file.stem: file for file in sorted(self._pictures("evaluation"))}

    def _pictures(self, folder: str) -> Iterator[Path]:
        """The PNGs in a folder of the run, but for links that lead out of it: what they lead to is not shown."""
        root = self.path.resolve()
        for file in (self.path / folder).glob("*.png"):
            with suppress(OSError, RuntimeError):  # a link in a circle
                if file.is_file() and file.resolve().is_relative_to(root):
                    yield file

    def best(self) -> dict[str, Any] | None:
        """The line of metrics.jsonl with the smallest KID on the half of the held-out images that chooses, or None."""
        lines = [line for line in self.lines("metrics") if line["name"].startswith("KID-")]
        return min(lines, key=lambda line: line["value"], default=None)

    def system(self, *, recipe: str | None = None, checkpoint: str = "last") -> System:
        """The trained system with the weights the world is shown, ready to sample; needs no data.

        recipe      needed again for a recipe that is not one of ours ("module:function"), unless this process has
                    trained the run
        checkpoint  "last", or "best" for the round with the smallest KID

        Raises SparringError when the weights are not there, are damaged, or are those of another run.
        """
        if not isinstance(checkpoint, str) or checkpoint not in ("last", "best"):
            raise unknown_name_error("checkpoint", str(checkpoint), ["last", "best"])
        if checkpoint == "best" and not (self.path / "best" / "model.safetensors").is_file():
            raise SparringError(f"{self.path} has no best checkpoint: no KID was measured while it was trained")
        folder = self.path / ("best" if checkpoint == "best" else "weights")
        return system_of(folder, self.trusted if recipe is None else recipe, self.training)

    def weights_sum(self) -> str:
        """SHA-256 of weights/model.safetensors: which weights `system` gives."""
        return hashlib.sha256(read_file(self.path / "weights" / "model.safetensors")).hexdigest()

    def data(self, given: Dataset | str | Path | Mapping[str, str | Path] | None = None) -> Dataset:
        """The data of this run, loaded again: from where they were, or `given`, where they are now.

        Only a run that this user made on this machine is believed where its data are: a run from elsewhere reads
        nothing that nobody has `given`. Raises SparringError then, when the data were made in memory, and when their
        content is not that of then.
        """
        config = self.config["data"]
        source = config["source"]
        if isinstance(given, Dataset):
            data = given
        elif given is not None:
            if source and isinstance(source["source"], dict) and isinstance(given, str):
                given = dict(zip(source["source"], given.split(","), strict=False))
            wanted = source or {
                "size": None,
                "channels": self.config["spec"]["channels"],
                "classes": None,
                "root": None,
            }
            places = {} if self.is_own() else dict.fromkeys(("root", "cache", "labels_from"))
            data = reload_data({**wanted, **places, "source": given}, self.config["spec"]["size"])
        elif source is None:
            raise SparringError(
                f"{self.path} was trained on data made in memory: give it again, with --data PATH or data=..."
            )
        elif not self.is_own():
            named = source["source"]
            place = ",".join(named.values()) if isinstance(named, dict) else named
            raise SparringError(
                f"{self.path} was not made by you on this machine, so the data that it names are not read unasked: "
                f"give --data {shown(place)}, or where they are here"
            )
        else:
            data = reload_data(source, self.config["spec"]["size"])
        if data.fingerprint != config["fingerprint"]:
            raise SparringError(
                f"this is not the data that {self.path} was trained on, or it has changed: {config['count']:,} "
                f"images of '{shown(config['name'])}' then, {len(data):,} of '{shown(data.name)}' now"
            )
        return data

    def is_own(self) -> bool:
        """Whether this user made the run on this machine, from the data it names."""
        return self.config["signature"] == signature(self._provenance())


def reload_data(source: Mapping[str, Any], own_size: int | None) -> Dataset:
    """What `sparring.load` gives for a recorded source; without a size of its own, images get `own_size`."""
    size = source["size"] or own_size
    names = ("channels", "classes", "labels_from", "root", "held_out", "cache")
    return load(source["source"], size=size, **{name: source[name] for name in names if name in source})


def command_line() -> str:
    """How this process was started, for the record."""
    program = Path(sys.argv[0]).name
    return " ".join(["sparring" if program == "__main__.py" else program, *sys.argv[1:]])
