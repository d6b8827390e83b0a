"""Before the start: batches that batch norm cannot work on, and rounds that memory has no room for."""

import resource
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import recipe_data, small, toy_data
from toys import gan, images

from sparring import dryrun
from sparring.dryrun import enough_memory, require_playable
from sparring.errors import SparringError
from sparring.machine import free_memory
from sparring.recipes import RECIPES
from sparring.recipes.recipe import Recipe, build_recipe, load_recipe, resolve_arguments
from sparring.training import train

GIB = 2**30


def dcgan(out, data=None, **options):
    arguments = {"rounds": 1, "latent_dim": 4, "width": 4, "quiet": True, **options}
    return train("dcgan", toy_data(16, 60) if data is None else data, out=out, **arguments)


@pytest.mark.parametrize(
    ("recipe", "options", "said"),
    [
        ("cs231n-dcgan", {"batch": 1}, "batch 1 leaves batch norm one image at a time"),
        ("cs231n-dcgan", {"batch": 3, "grad_accum": 3}, r"batch 3 in 3 parts \(processes x grad_accum\)"),
    ],
)
def test_batch_norm_on_one_image_is_refused_before_a_run_is_made(recipe, options, said, tmp_path):
    smallest = 2 * options.get("grad_accum", 1)
    with pytest.raises(SparringError, match=f"{said}.*the smallest --batch that works is {smallest}$"):
        train(recipe, toy_data(28, 60), out=tmp_path / "runs", rounds=1, latent_dim=4, quiet=True, **options)
    assert not (tmp_path / "runs").exists()


def test_one_image_is_enough_without_batch_norm_and_where_maps_are_larger_than_a_pixel(tmp_path):
    train("cs231n-mlp", toy_data(8, 60), out=tmp_path, rounds=1, latent_dim=4, batch=1, quiet=True)
    dcgan(tmp_path, batch=1)


def test_what_does_not_fit_is_refused_before_a_run_is_made_and_what_may_not_fit_is_said(monkeypatch, tmp_path):
    data = toy_data(16, 60)
    make = partial(
        build_recipe,
        load_recipe("dcgan", RECIPES),
        data.spec,
        resolve_arguments(load_recipe("dcgan", RECIPES), {"width": 4}),
    )
    needed = dryrun._memory(make, data, 16, 1)
    monkeypatch.setattr(dryrun, "free_memory", lambda: int(needed * 0.9))
    with pytest.raises(
        SparringError, match=r"a round takes at least 0\.0 GiB .* at --batch 16, and .*--batch.*--grad-accum.*--size"
    ):
        dcgan(tmp_path / "runs", data, batch=16, latent_dim=100)
    assert not (tmp_path / "runs").exists()
    notes = {}
    for room in (1.2, 2.0):
        monkeypatch.setattr(dryrun, "free_memory", lambda room=room: int(needed * room))
        make = partial(
            build_recipe,
            load_recipe("dcgan", RECIPES),
            data.spec,
            resolve_arguments(load_recipe("dcgan", RECIPES), {"width": 4, "batch": 16}),
        )
        notes[room] = require_playable(make, data, grad_accum=1, processes=1)
    assert "if it runs out of memory, lower --batch" in notes[1.2][0]
    assert notes[2.0] == []


def test_memory_is_that_of_weights_optimizer_average_and_feature_maps():

    def needed(count, **options):
        data = images(shape=(1, 4, 4))
        return dryrun._memory(lambda: two_layers(**options), data, count, 1)

    def two_layers(ema_decay=0.0, optimizer=torch.optim.SGD):
        system = gan()
        return Recipe(
            system, {p: partial(optimizer, lr=0.1) for p in system.players}, batch=8, rounds=1, ema_decay=ema_decay
        )

    system = gan()
    d, g = (4 * sum(p.numel() for p in net.parameters()) for net in (system.D, system.G))
    plain = needed(400)
    assert needed(400, optimizer=torch.optim.Adam) - plain == 2 * (d + g)
    assert needed(400, ema_decay=0.9) - plain == g
    assert plain >= 2 * (d + g)
    assert needed(4000) - needed(3000) == needed(3000) - needed(2000) > 0


def test_pieces_take_less_than_the_whole():
    data = toy_data(16, 60)
    function = load_recipe("dcgan", RECIPES)
    make = partial(build_recipe, function, data.spec, resolve_arguments(function, {"width": 4}))
    whole = dryrun._memory(make, data, 64, 1)
    assert dryrun._memory(make, data, 8, 8) < whole


@pytest.mark.parametrize("name", ["cgan", "cyclegan", "molecular-aae"])
def test_rounds_that_look_at_numbers_or_have_other_data_are_counted_too(name):
    extra, _ = small(name)
    function = load_recipe(name, RECIPES)
    data = recipe_data(name, 100, channels=3 if name == "cyclegan" else 1)
    make = partial(build_recipe, function, data.spec, resolve_arguments(function, extra))
    assert dryrun._memory(make, data, 8, 1) > 0


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 3 TiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 80 bytes\nstack"),
        torch.OutOfMemoryError("CUDA out of memory."),
    ],
)
def test_lack_of_memory_is_one_line_with_what_can_be_lowered(error, monkeypatch, tmp_path):
    def fail(self):
        raise error

    monkeypatch.setattr("sparring.referee.Referee.play", fail)
    with pytest.raises(SparringError, match=r"^out of memory \(.*\): lower --batch, .*--grad-accum.*--size$") as caught:
        train("cs231n-mlp", toy_data(8, 60), out=tmp_path, rounds=1, latent_dim=4, batch=8, quiet=True)
    assert "\n" not in str(caught.value)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shape"), enough_memory():
        raise RuntimeError("shape mismatch")


def test_free_memory_knows_the_limit_of_the_shell(monkeypatch):
    free = free_memory()
    assert free > 0
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    monkeypatch.setattr(resource, "getrlimit", lambda which: (used + 10**8, resource.RLIM_INFINITY))
    assert 0 < free_memory() <= 10**8 + 10**7


def test_training_says_that_memory_may_be_short(monkeypatch, tmp_path, capsys):
    said = "a round takes nearly all memory"
    monkeypatch.setattr("sparring.training.require_playable", lambda *args, **options: [said])
    train("cs231n-mlp", torch.zeros(60, 28, 28, dtype=torch.uint8), rounds=1, batch=4, out=tmp_path)
    assert said in capsys.readouterr().err
