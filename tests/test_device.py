"""Another device than the CPU, without having one: tensors that have a shape, a type and a device, and no numbers.

Whoever mixes the CPU's tensors with the device's, or looks at a number in the loop (the device would have to be waited
for), is found out. Run in a process of its own, as a backend cannot be unregistered.
"""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from helpers import TRAIN, fails, one_line, recipe_data, small
from torch import nn

from sparring.cli import main as command_line
from sparring.data.pixels import to_float
from sparring.device import resolve_device
from sparring.metrics.extractors import Extractor, extracting_on
from sparring.recipes import RECIPES
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments
from sparring.seeds import isolated

ABLE = ("sample", "score", "classify", "cluster", "encode", "reconstruct", "translate", "kl", "log_likelihood")


LIKE = {
    "biggan": "biggan-small",
    "cs231n-lsgan": "cs231n-mlp",
    "smu-frogs-lsgan": "smu-frogs",
}
"""Recipes that differ from another in numbers only: the same system, made of the same kinds of layers."""


def moving_to(device):
    """`System.to` for a device without numbers, to which nn.Module.to cannot move weights."""

    def moved(system, to=None, memory_format=None):
        if to is not None:
            known = {}  # weights that two networks share stay shared
            for part in system.modules():
                for table in (part._parameters, part._buffers):
                    for name, x in table.items():
                        if x is not None and id(x) not in known:
                            there = torch.empty_like(x, device=device)
                            known[id(x)] = x, nn.Parameter(there) if isinstance(x, nn.Parameter) else there
                        table[name] = known[id(x)][1] if x is not None else None
                if "_apply" in type(part).__dict__:  # has a say in what is moved
                    part._apply(lambda x: x, recurse=False)
        return system

    return moved


def main(names):
    """Plays rounds of the recipes and uses what their systems can do; prints what went wrong, or null, name by name."""
    import warnings

    import torch._dynamo  # what the first optimizer imports; here, so that children need not
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    from sparring import referee
    from sparring.system import System

    warnings.simplefilter("ignore")
    _setup_privateuseone_for_python_backend("toygpu")
    device = torch.device("toygpu", 0)
    module = torch.get_device_module("toygpu")
    module.manual_seed = lambda seed: None
    module.get_rng_state = lambda at: torch.zeros(8, dtype=torch.uint8)
    module.set_rng_state = lambda state, at: None
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]

    class Generator(torch.Generator):
        """The device has none: layers that draw get the CPU's."""

        def __new__(cls, device="cpu"):
            return super().__new__(cls)

    torch.Generator = Generator

    def seen(look, plain):  # the CPU's numbers may be looked at; outside of rounds all others, too
        return lambda x: plain(x) if x.device.type == "cpu" or not playing else look(x)

    looked, playing = [], []
    System.to = moving_to(device)
    numbers = {"__int__": 0, "__float__": 1.0, "__bool__": False, "__index__": 0}
    for name, number in numbers.items():
        setattr(torch.Tensor, name, seen(getattr(torch.Tensor, name), lambda x, number=number: number))
    torch.Tensor.item = seen(torch.Tensor.item, lambda x: 0.0 if x.is_floating_point() else 0)
    referee.process_group = lambda *_: SimpleNamespace(device=device, process_index=0, num_processes=1)
    referee.Referee._check_finite = lambda self, player, numbers: looked.append(numbers.device.type)
    for name in names:
        if child := os.fork():  # what has no memory cannot be cleaned up, so every recipe has a process of its own
            os.waitpid(child, 0)
            continue
        wrong = None
        try:
            with FakeTensorMode(allow_non_fake_inputs=True):
                moves, _kept = play(name, referee.Referee, playing)
            assert looked == ["toygpu"] * moves, f"{moves} moves, {looked}"
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        print(json.dumps([name, wrong]), flush=True)
        os._exit(0)


def play(name, make, playing):
    """Rounds 1 and 8 of a recipe, then everything its system can do; how many moves it took, and all that was made.

    In round 8 averages of long memory take in the weights, and by then networks that grow have grown.
    """
    extra, size = small(name)
    function = load_recipe(name, RECIPES)
    with torch._subclasses.fake_tensor.unset_fake_temporarily():
        data = recipe_data(name, 100, channels=3 if name == "cyclegan" else 1)
        made = build_recipe(function, data.spec, resolve_arguments(function, extra))
        if made.prepare:
            made.prepare(data)
        streams = made.streams(data, 0) if made.streams else {"train": data}
    judge = make(
        made.system,
        streams,
        batch=made.batch,
        optimizers=made.optimizers,
        schedules=made.schedules,
        ema_decay=made.ema_decay,
        precision="fp32",
    )
    for optimizer in judge.optimizers.values():
        optimizer.step = lambda: None  # torch's own, and not all of them know shapes without numbers
    assert torch.backends.cuda.matmul.fp32_precision == torch.backends.cudnn.conv.fp32_precision == "ieee"
    playing.append(True)
    moves = 0
    for judge.round in (0, 7):
        moves += len(judge.play())
    playing.clear()
    shown, images = judge.ema_system.eval(), to_float(data.images[:5])
    for ability in ABLE:
        if shown.supports(ability):
            given = {"sample": (5,), "translate": (images, 1), "log_likelihood": (images,)}.get(ability, (images,))
            out = getattr(shown, ability)(*given)
            assert out.device.type == "cpu", f"{ability} is on {out.device}"
    return moves, locals()  # kept until the process ends: freeing what has no memory may crash


def kinds(name):
    """The classes of a recipe's system and of its layers."""
    function = load_recipe(name, RECIPES)
    with torch.device("meta"):
        made = build_recipe(function, recipe_data(name, 20).spec, resolve_arguments(function, small(name)[0]))
    return {type(module) for module in made.system.modules()}


@pytest.mark.parametrize("name", LIKE)
def test_a_recipe_that_is_like_another_has_the_same_layers(name):
    assert kinds(name) <= kinds(LIKE[name])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_every_recipe_plays_on_a_device_without_looking_at_it(part):
    names = [name for name in RECIPES if name not in LIKE][part::2]
    done = subprocess.run([sys.executable, __file__, *names], capture_output=True, text=True, check=False)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [[name, None] for name in names], done.stderr


# Names of devices.


@pytest.fixture
def gpus(monkeypatch):
    """A machine with two GPUs, as far as names go."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    for name in ("ACCELERATE_USE_CPU", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("name", "environment", "device"),
    [
        ("auto", {}, "cuda:0"),
        ("auto", {"LOCAL_RANK": "1"}, "cuda:1"),
        ("auto", {"ACCELERATE_USE_CPU": "true"}, "cpu"),
        ("cuda", {"LOCAL_RANK": "1"}, "cuda:1"),
        ("cuda:1", {}, "cuda:1"),
        (torch.device("cuda", 1), {}, "cuda:1"),
        ("cpu", {"LOCAL_RANK": "1"}, "cpu"),
    ],
)
def test_a_device_is_chosen_by_name(gpus, monkeypatch, name, environment, device):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert resolve_device(name) == torch.device(device)


def test_a_device_that_does_not_exist_is_refused(gpus, monkeypatch):
    one_line(lambda: resolve_device("cuda:2"), "device cuda:2 does not exist here: there are 2, cuda:0 to 1")
    one_line(lambda: resolve_device("mps"), "device mps does not exist here", "finds cuda, 2 in number")
    for name in ("gpu", "", "cuda:x", None, 3, "x" * 1000):
        one_line(lambda name=name: resolve_device(name), "it must be auto, cpu, cuda, cuda:1 ... or mps")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert resolve_device() == torch.device("cpu")
    one_line(lambda: resolve_device("cuda"), "device cuda does not exist here", "finds no GPU")


COMPUTE = (
    *(
        "train",
        "resume",
        "sample",
        "evaluate",
        "report",
        "sweep",
        "reconstruct",
        "classify",
        "translate",
        "interpolate",
    ),
    *("arithmetic", "directions", "invert", "neighbors", "probe", "bench"),
)


@pytest.mark.parametrize("verb", COMPUTE)
def test_every_verb_that_computes_takes_a_device(verb, capsys):
    named = ["csc321-mlp"] if verb in ("train", "sweep") else []
    with pytest.raises(SystemExit):
        command_line([verb, *named, "--help"])
    assert "--device TEXT" in capsys.readouterr().out


def test_a_device_that_does_not_exist_is_one_line(toy_file, tmp_path, capsys):
    code, line = fails(capsys, *TRAIN, "--data", toy_file, "--out", tmp_path / "runs", "--device", "cuda:7")
    assert code == 2
    assert "device cuda:7 does not exist here" in line
    assert not (tmp_path / "runs").exists()
    command_line([*TRAIN, "--data", str(toy_file), "--out", str(tmp_path / "runs"), "--device", "cpu"])
    (run,) = (tmp_path / "runs").iterdir()
    capsys.readouterr()
    for argv in (["sample", run, "--out", tmp_path / "x.png"], ["resume", run, "--rounds", "5"], ["evaluate", run]):
        assert "device mps does not exist here" in fails(capsys, *argv, "--device", "mps")[1]
    assert not (tmp_path / "x.png").exists()
    command_line(["sample", str(run), "--device", "cpu", "--out", str(tmp_path / "x.png")])
    assert (tmp_path / "x.png").exists()


def test_extractors_compute_where_they_are_told():
    devices = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            devices.append((x.device.type, self.weight.device.type))
            return torch.zeros(len(x), 2), torch.zeros(len(x), 1)

    images = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    extractor = Extractor("spy", "", 1, 4, (), None, Spy())
    with extracting_on(torch.device("meta")):
        features, _ = extractor.features(images)
    assert features.device.type == "cpu"
    assert devices == [("meta", "meta")]


def test_the_default_generator_of_any_gpu_is_seeded_and_restored(monkeypatch):
    """With a device that is not PyTorch's current one; torch.cuda stands for its module."""
    calls = []

    @contextmanager
    def current(device):
        calls.append(("enter", device.index))
        yield
        calls.append(("leave", device.index))

    module = SimpleNamespace(
        device=current,
        get_rng_state=lambda device: calls.append(("get", device.index)) or torch.zeros(1),
        set_rng_state=lambda state, device: calls.append(("set", device.index)),
        manual_seed=lambda seed: calls.append(("seed", seed)),
    )
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    with isolated(5, torch.device("cuda", 1)):
        pass
    assert calls == [("get", 1), ("enter", 1), ("seed", 5), ("leave", 1), ("set", 1)]


if __name__ == "__main__":
    main(sys.argv[1:])
