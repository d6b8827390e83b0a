"""Another device than the CPU, without having one: tensors that have a shape, a type and a device, and no numbers.

Whoever mixes the CPU's tensors with the device's, or looks at a number in the loop (the device would have to be waited
for), is found out. Run in a process of its own, as a backend cannot be unregistered.
"""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from helpers import recipe_data, small
from torch import nn

from sparring.data.pixels import to_float
from sparring.recipes import RECIPES
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments

ABLE = ("sample", "score", "classify", "cluster", "encode", "reconstruct", "translate", "kl", "log_likelihood")


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

    def moved(system, to=None, memory_format=None):
        if to is not None:  # nn.Module.to cannot exchange weights for those without numbers
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

    def seen(look, plain):  # the CPU's numbers may be looked at; outside of rounds all others, too
        return lambda x: plain(x) if x.device.type == "cpu" or not playing else look(x)

    looked, playing = [], []
    System.to = moved
    numbers = {"__int__": 0, "__float__": 1.0, "__bool__": False, "__index__": 0}
    for name, number in numbers.items():
        setattr(torch.Tensor, name, seen(getattr(torch.Tensor, name), lambda x, number=number: number))
    torch.Tensor.item = seen(torch.Tensor.item, lambda x: 0.0 if x.is_floating_point() else 0)
    referee.process_group = lambda: SimpleNamespace(device=device, process_index=0, num_processes=1)
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
    """Rounds 1, 8 and 9 of a recipe, then everything its system can do; how many moves it took, and all that was made.

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
    for judge.round in (0, 7, 8):
        moves += len(judge.play())
    playing.clear()
    shown, images = judge.ema_system.eval(), to_float(data.images[:5])
    for ability in ABLE:
        if shown.supports(ability):
            given = {"sample": (5,), "translate": (images, 1), "log_likelihood": (images,)}.get(ability, (images,))
            out = getattr(shown, ability)(*given)
            assert out.device.type == "cpu", f"{ability} is on {out.device}"
    return moves, locals()  # kept until the process ends: freeing what has no memory may crash


@pytest.mark.parametrize("part", range(4))
def test_every_recipe_plays_on_a_device_without_looking_at_it(part):
    names = [*RECIPES][part::4]
    done = subprocess.run([sys.executable, __file__, *names], capture_output=True, text=True, check=False)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [[name, None] for name in names], done.stderr


if __name__ == "__main__":
    main(sys.argv[1:])
