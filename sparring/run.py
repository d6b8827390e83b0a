"""A run directory: the only file that knows what is in it and how it is written.

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
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from sparring.data.dataset import Dataset, Spec
from sparring.data.sources import load
from sparring.durable import DamagedError, Disk, read_folder, write_file, write_folder
from sparring.errors import Diverged, SparringError, StorageError
from sparring.recipes import RECIPES
from sparring.recipes.recipe import MakeRecipe, find, prepare_recipe, settle
from sparring.seeds import isolated
from sparring.system import System, choose_precision

FORMAT = 2
LOGS = ("log", "metrics", "health")
"""Logs of deterministic values: cut back to the checkpoint when a run is resumed."""

KEPT = 3
"""Checkpoints kept. At least two: the newest may be the one that a crash damaged."""


@dataclass(frozen=True)
class Checkpoint:
    """What the referee needs to go on; complaints name newer checkpoints that were damaged."""

    tensors: dict[str, dict[str, Tensor]]
    numbers: dict[str, Any]
    complaints: list[str]


class Run:
    """One run on disk. Make a new one with `Run.create`, look at an old one with `Run.open`."""

    def __init__(self, path: Path, facts: Mapping[str, Any], disk: Disk) -> None:
        self.path = path
        self.facts = dict(facts)
        self.disk = disk

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    # Birth.

    @classmethod
    def create(cls, out: Path, name: str, facts: Mapping[str, Any], source: str, disk: Disk | None = None) -> Run:
        """A new directory `out/0003-NAME` with recipe.json, round.py and weights/config.json. Raises StorageError."""
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
        run = cls(path, {"format": FORMAT, "id": secrets.token_hex(8), **facts}, disk)
        for folder in ("samples", "weights", "checkpoints"):
            disk.mkdir(path / folder)
        write_file(disk, path / "round.py", source.encode())
        for log in (*LOGS, "timing"):
            disk.write(path / f"{log}.jsonl", b"")
        config = {k: run.facts[k] for k in ("format", "recipe", "arguments", "spec", "precision")}
        write_file(disk, path / "weights" / "config.json", _json(config))
        write_file(disk, path / "recipe.json", _json(run.facts))  # last: a directory with it is a run
        return run

    @classmethod
    def open(cls, path: Path | str, disk: Disk | None = None) -> Run:
        """The run at `path`. Raises SparringError when there is none, or it is of a newer format."""
        path = Path(path)
        if not (path / "recipe.json").is_file():
            near = (
                sorted(p.name for p in path.parent.glob("*") if (p / "recipe.json").is_file())
                if path.parent.is_dir()
                else []
            )
            runs = f" (runs there: {', '.join(near[-5:])})" if near else ""
            raise SparringError(f"{path} is not a run: it has no recipe.json{runs}")
        return cls(path, _read_config(path / "recipe.json"), disk or Disk())

    def write_facts(self) -> None:
        """Replace recipe.json (a resumed run may go on for longer)."""
        write_file(self.disk, self.path / "recipe.json", _json(self.facts))

    # One process at a time.

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run; the kernel lets go when this process dies.

        Raises SparringError that names the other holder, StorageError where nothing can be written or locked.
        """
        try:
            file = open(self.path / "run.lock", "a+", encoding="utf-8")  # noqa: SIM115 (held below)
        except OSError as error:
            raise StorageError(f"cannot write {self.path / 'run.lock'}: {error.strerror}") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise SparringError(
                    f"{self.path} is being trained by {file.read().strip() or 'another process'}"
                ) from None
            except OSError as error:
                raise StorageError(f"cannot lock {self.path / 'run.lock'}: {error.strerror}") from None
            file.truncate(0)
            started = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {started}\n")
            file.flush()
            yield

    # What training writes.

    def append(self, log: str, line: Mapping[str, Any]) -> None:
        """One JSON line to log "log", "metrics", "health" or "timing"."""
        try:
            with open(self._log(log), "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise StorageError(f"cannot write {self._log(log)}: {error.strerror}") from error

    def write_sample(self, round_number: int, picture: bytes) -> None:
        write_file(self.disk, self.path / "samples" / f"{round_number:06d}.png", picture)

    def write_failure(self, facts: Mapping[str, Any]) -> None:
        self.disk.mkdir(self.path / "failure")
        write_file(self.disk, self.path / "failure" / "failure.json", _json({**facts, "last": self.read("log")[-200:]}))

    def write_evaluation(self, evaluation: Mapping[str, Any], pictures: Mapping[str, bytes]) -> None:
        """The numbers, and by name the pictures (PNG) that show what they mean; those of the last time go."""
        folder = self.path / "evaluation"
        self.disk.remove(folder)
        self.disk.mkdir(folder)
        for name, picture in pictures.items():
            write_file(self.disk, folder / f"{name}.png", picture)
        write_file(self.disk, self.path / "eval.json", _json(evaluation))

    def write_best(self, shown: System, round_number: int) -> None:
        """The weights of the best round so far."""
        self.disk.mkdir(self.path / "best")
        weights = _pack(shown.state_dict(), {"round": str(round_number)})
        write_file(self.disk, self.path / "best" / "model.safetensors", weights)
        write_file(self.disk, self.path / "best" / "config.json", (self.path / "weights" / "config.json").read_bytes())

    def write_report(self, html: str) -> Path:
        write_file(self.disk, self.path / "report.html", html.encode())
        return self.path / "report.html"

    # Checkpoints.

    def save(self, tensors: Mapping[str, Mapping[str, Tensor]], numbers: Mapping[str, Any], shown: System) -> None:
        """The weights the world is shown, then a checkpoint of round numbers["round"]; older ones go once it is there.

        Weights first: a run killed between the two plays on from the checkpoint before and writes both again.
        Raises Diverged when a weight is not finite (nothing is written), StorageError when the disk refuses.
        """
        played = numbers["round"]
        for file, named in tensors.items():
            for name, value in named.items():
                if value.is_floating_point() and not bool(value.isfinite().all()):
                    raise Diverged(f"round {played}: {file} {name} is not finite; not saved")
        weights = _pack(shown.state_dict(), {"round": str(played)})
        write_file(self.disk, self.path / "weights" / "model.safetensors", weights)

        if self._is_whole(played):  # saved before, resumed, and stopped again without a round between
            return
        for log in LOGS:
            self.disk.sync(self._log(log))
        offsets = {log: self._log(log).stat().st_size for log in LOGS}
        files = {f"{file}.safetensors": _pack(named) for file, named in tensors.items()}
        files["state.json"] = _json({**numbers, "offsets": offsets})
        facts = {
            "format": FORMAT,
            "run": self.facts["id"],
            "round": played,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        write_folder(self.disk, self._checkpoint(played), files, facts)
        for old in self.checkpoints()[:-KEPT]:
            self.disk.remove(self._checkpoint(old))
        for stray in (self.path / "checkpoints").glob(".tmp-*"):
            self.disk.remove(stray)

    def _is_whole(self, round_number: int) -> bool:
        try:
            return read_folder(self._checkpoint(round_number))[1].get("run") == self.facts["id"]
        except DamagedError:
            return False

    def checkpoints(self) -> list[int]:
        """Rounds of which there is a checkpoint folder, oldest first."""
        folders = (self.path / "checkpoints").glob("round-*")
        return sorted(int(p.name.removeprefix("round-")) for p in folders if p.name.removeprefix("round-").isdigit())

    def newest_checkpoint(self) -> Checkpoint:
        """The newest checkpoint that is whole. Raises SparringError when there is none."""
        complaints: list[str] = []
        for round_number in reversed(self.checkpoints()):
            try:
                files, manifest = read_folder(self._checkpoint(round_number))
                if manifest.get("run") != self.facts["id"]:
                    raise DamagedError(f"round-{round_number:08d} belongs to another run")
                if manifest.get("format") != FORMAT:
                    raise DamagedError(f"round-{round_number:08d} has format {manifest.get('format')}, not {FORMAT}")
                numbers = json.loads(files.pop("state.json"))
                tensors = {name.removesuffix(".safetensors"): _unpack(data) for name, data in files.items()}
                return Checkpoint(tensors, numbers, complaints)
            except (DamagedError, KeyError, ValueError, safetensors.SafetensorError) as error:
                complaints.append(f"checkpoint round-{round_number:08d} is damaged and was skipped: {error}")
        reasons = "".join(f"; {c}" for c in complaints)
        raise SparringError(f"{self.path} has no checkpoint that can be used{reasons}")

    def rewind(self, offsets: Mapping[str, int]) -> None:
        """Cut the logs back to where they were when a checkpoint was written (without offsets: to nothing)."""
        for log in LOGS:
            offset = offsets.get(log, 0)
            try:
                if not offset:
                    self._log(log).touch()  # runs of older versions have no health.jsonl
                with open(self._log(log), "r+b") as file:
                    if file.seek(0, os.SEEK_END) < offset:
                        raise SparringError(
                            f"{self._log(log)} is shorter than it was at the checkpoint; was it edited?"
                        )
                    file.truncate(offset)
            except OSError as error:
                raise StorageError(f"cannot write {self._log(log)}: {error.strerror}") from None

    def _checkpoint(self, round_number: int) -> Path:
        return self.path / "checkpoints" / f"round-{round_number:08d}"

    def _log(self, log: str) -> Path:
        return self.path / f"{log}.jsonl"

    # What others read.

    def read(self, log: str) -> list[dict[str, Any]]:
        """The lines of "log", "metrics", "health" or "timing"; a torn last line is left out."""
        lines: list[dict[str, Any]] = []
        if not self._log(log).is_file():
            return lines
        for line in self._log(log).read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
        return lines

    def health(self) -> list[dict[str, Any]]:
        """What the health monitor found, in the order it was told: dictionaries with the fields of `monitor.Alarm`."""
        alarms = [line["alarm"] for line in self.read("health") if "alarm" in line]
        return list({(alarm["cause"], alarm["began"]): alarm for alarm in alarms}.values())

    def samples(self) -> dict[int, Path]:
        """Round -> sample grid, in order."""
        return {int(p.stem): p for p in sorted((self.path / "samples").glob("[0-9]*.png"))}

    def round_source(self) -> str:
        return (self.path / "round.py").read_text(encoding="utf-8")

    def evaluation(self) -> dict[str, Any] | None:
        """What `write_evaluation` kept, or None."""
        file = self.path / "eval.json"
        return json.loads(file.read_bytes()) if file.is_file() else None

    def evaluation_pictures(self) -> dict[str, Path]:
        """Name -> picture that belongs to the evaluation."""
        return {file.stem: file for file in sorted((self.path / "evaluation").glob("*.png"))}

    def best(self) -> dict[str, Any] | None:
        """The line of metrics.jsonl with the smallest KID on the half of the held-out images that chooses, or None."""
        lines = [line for line in self.read("metrics") if line["name"].startswith("KID-")]
        return min(lines, key=lambda line: line["value"], default=None)

    def system(self, *, recipe: str | None = None, checkpoint: str = "last") -> System:
        """The trained system with the weights the world is shown, ready to sample; needs no data.

        recipe      needed again for a recipe that is not one of ours ("module:function")
        checkpoint  "last", or "best" for the round with the smallest KID
        """
        if checkpoint == "best" and not (self.path / "best" / "model.safetensors").is_file():
            raise SparringError(f"{self.path} has no best checkpoint: no KID was measured while it was trained")
        return open_system(self.path / ("best" if checkpoint == "best" else "weights"), recipe=recipe)

    def data(self) -> Dataset:
        """The data of this run, loaded again. Raises SparringError when it was made in memory, moved or changed."""
        facts = self.facts["data"]
        if facts["source"] is None:
            raise SparringError(f"{self.path} was trained on data made in memory: give it again as data=...")
        data = load_for(facts["source"], self.facts["spec"]["size"])
        if data.fingerprint != facts["fingerprint"]:
            raise SparringError(
                f"the data has changed since {self.path} was made: {facts['count']:,} images of '{facts['name']}' "
                f"then, {len(data):,} of '{data.name}' now, with other content"
            )
        return data


def load_for(source: Mapping[str, Any], own_size: int) -> Dataset:
    """What `sparring.load` gives for a recorded source; without a size of its own, images get `own_size`."""
    size = source["size"] or own_size
    wanted = {name: source[name] for name in ("channels", "classes", "root")}
    return load(source["source"], size=size, **wanted)


def open_system(folder: Path | str, *, recipe: str | None = None) -> System:
    """The system of a `weights/` folder (model.safetensors, config.json). Raises SparringError if it does not fit."""
    folder = Path(folder)
    config = _read_config(folder / "config.json")
    function, spec = recipe_of(config, recipe), config["spec"]
    data = Spec(spec["channels"], spec["size"], tuple(spec["classes"]))
    with isolated(0):
        system = prepare_recipe(function, data, settle(function, config["arguments"])).system
    try:
        state = _unpack((folder / "model.safetensors").read_bytes())
    except FileNotFoundError:
        raise SparringError(f"{folder} has no weights yet: the run was stopped before its first save") from None
    except safetensors.SafetensorError as error:
        raise SparringError(f"{folder / 'model.safetensors'} is damaged: {error}") from None
    mine = {k: tuple(v.shape) for k, v in system.state_dict().items()}
    if mine != {k: tuple(v.shape) for k, v in state.items()}:
        raise SparringError(f"{folder / 'model.safetensors'} does not fit the networks of {config['recipe']}")
    system.load_state_dict(state)
    if config.get("precision") == "bfloat16":
        system.precision = choose_precision("auto", system.device)
    return system.to(memory_format=torch.channels_last).eval()


def recipe_of(config: Mapping[str, Any], repeated: str | None) -> MakeRecipe:
    """The recipe that a run or weights folder names; one that is not ours must be `repeated` by the user."""
    if repeated is not None and repeated != config["recipe"]:
        raise SparringError(f"this was made by recipe '{config['recipe']}', not by '{repeated}'")
    return find(config["recipe"], RECIPES, trusted=repeated is not None)


def command_line() -> str:
    """How this process was started, for the record."""
    program = Path(sys.argv[0]).name
    return " ".join(["sparring" if program == "__main__.py" else program, *sys.argv[1:]])


def _read_config(file: Path) -> dict[str, Any]:
    try:
        facts = json.loads(file.read_bytes())
        found = facts["format"]
    except OSError as error:
        raise SparringError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise SparringError(f"{file} is damaged: it is not the JSON that sparring writes") from None
    if found != FORMAT:
        raise SparringError(f"{file} has format {found}; this version of sparring reads format {FORMAT}")
    return facts


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _pack(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return safetensors.torch.save(plain, metadata)


def _unpack(data: bytes) -> dict[str, Tensor]:
    return safetensors.torch.load(data)
