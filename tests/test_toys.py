"""The toys: every number against its formula, every game to the end that theory promises, and what the verb says."""

import io
import itertools
import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from toys import referee

from sparring.cli import main
from sparring.data.dataset import Dataset
from sparring.data.feed import Feed
from sparring.errors import SparringError
from sparring.metrics import mode_coverage, nearest_modes, reverse_kl
from sparring.monitor.observer import checkerboard
from sparring.seeds import make_generator
from sparring.system import Move, System
from sparring.toys import checkerboards, dirac, frames, line, mixtures, xy

# f(x, y) = x y.

TABLES = {
    ("alternating", "y"): ([1, -1, -2, -1, 1, 2, 1], [1, 2, 1, -1, -2, -1, 1]),
    ("alternating", "x"): ([1, 0, -1, -1, 0, 1, 1], [1, 1, 0, -1, -1, 0, 1]),
    ("simultaneous", "y"): ([1, 0, -2, -4, -4, 0, 8], [1, 2, 2, 0, -4, -8, -8]),
}


@pytest.mark.parametrize(("rule", "first"), TABLES)
def test_the_tables_of_the_lecture(rule, first):
    xs, ys = TABLES[rule, first]
    assert xy.play(rule, first=first) == list(zip(xs, ys, strict=True))


@pytest.mark.parametrize("step", [0.3, 1.0, 1.9])
@pytest.mark.parametrize("first", ["x", "y"])
def test_alternating_players_stay_on_an_ellipse(first, step):
    pairs = xy.play("alternating", first=first, step=step, rounds=500, start=(0.7, -1.3))
    kept = xy.invariant("alternating", pairs, first=first, step=step)
    assert kept == pytest.approx([kept[0]] * 501, rel=1e-9)
    assert kept[0] > 0
    assert xy.growth("alternating", first=first, step=step) == pytest.approx(1, abs=1e-7)
    assert "circles" in xy.verdict("alternating", first=first, step=step)


def test_how_far_a_round_leads_is_what_the_formulas_say():
    for step in (0.1, 0.5, 1.3):
        assert xy.growth("simultaneous", step=step) == pytest.approx(math.sqrt(1 + step**2))
        assert xy.growth("extragradient", step=step) == pytest.approx(math.sqrt(1 - step**2 + step**4))
    assert xy.growth("alternating", step=2.5) > 1
    assert xy.verdict("alternating", step=2.0) == "diverges linearly"
    # Optimistic steps converge below 1 / sqrt(3) and not above.
    assert xy.growth("optimistic", step=0.577) < 1 < xy.growth("optimistic", step=0.578)


@pytest.mark.parametrize("rule", xy.RULES)
@pytest.mark.parametrize("first", ["x", "y"])
def test_the_matrix_of_a_round_plays_the_round(rule, first):
    pairs = torch.tensor(xy.play(rule, first=first, step=0.4, rounds=5, start=(0.3, 0.8)), dtype=torch.float64)
    update = xy.update(rule, first=first, step=0.4)
    z = pairs[0].repeat(len(update) // 2)
    for pair in pairs[1:]:
        z = update @ z
        torch.testing.assert_close(z[:2], pair)


def test_the_cures_lead_to_the_equilibrium():
    for rule in ("extragradient", "optimistic"):
        x, y = xy.play(rule, step=0.5, rounds=200)[-1]
        assert math.hypot(x, y) < 1e-6
        assert "converges" in xy.verdict(rule, step=0.5)


class Bilinear(System):
    """The same game, to be played by the referee."""

    players = {"ascent": ("y",), "descent": ("x",)}

    def __init__(self):
        super().__init__()
        self.x, self.y = (torch.nn.Linear(1, 1, bias=False) for _ in "xy")
        for layer in (self.x, self.y):
            torch.nn.init.ones_(layer.weight)

    def round(self, feed):
        feed("train")
        yield Move("ascent", -(self.x.weight * self.y.weight).sum())
        yield Move("descent", (self.x.weight * self.y.weight).sum())


def test_the_referee_alternates():
    game = Bilinear()
    judge = referee(
        game, Dataset("one", torch.zeros(1, 1)), batch=1, optimizers=dict.fromkeys(game.players, plain_descent)
    )
    pairs = [(1.0, 1.0)]
    for _ in range(6):
        judge.play()
        pairs.append((game.x.weight.item(), game.y.weight.item()))
    assert pairs == xy.play("alternating")


def plain_descent(weights):
    return torch.optim.SGD(weights, lr=1.0)


def test_unknown_rules_and_players_are_refused():
    with pytest.raises(SparringError, match="unknown rule 'simultanous'; did you mean 'simultaneous'"):
        xy.play("simultanous")
    with pytest.raises(SparringError, match="first is 'z'"):
        xy.play(first="z")


# The Dirac-GAN.


def pairs_played():
    for game in dirac.PULL:
        for penalty in dirac.PENALTIES:
            try:
                dirac.system(game, penalty, 1.0)
            except SparringError:
                continue
            yield game, penalty


def test_every_game_and_every_penalty_is_played():
    played = list(pairs_played())
    assert len(played) == 5 * 6 + 2 + 2
    assert {game for game, _ in played} == set(dirac.PULL)
    assert {penalty for _, penalty in played} == set(dirac.PENALTIES)


@pytest.mark.parametrize(("game", "penalty"), [pair for pair in pairs_played() if pair[1] != "wgan-gp"])
@pytest.mark.parametrize(("weight", "step"), [(0.4, 0.1), (1.7, 0.3)])
def test_the_systems_play_what_the_eigenvalues_say(game, penalty, weight, step):
    formula = sorted(dirac.eigenvalues(game, penalty, weight=weight, step=step), key=lambda z: (z.imag, z.real))
    played = sorted(dirac.measured(game, penalty, weight=weight, step=step), key=lambda z: (z.imag, z.real))
    assert played == pytest.approx(formula, abs=1e-5)


def test_the_eigenvalues_of_the_flow_are_those_of_the_paper():
    """Mescheder et al. 2018: +- i f'(0) without, -gamma/2 +- sqrt(gamma^2/4 - f'(0)^2) with R1 (section 4.1), and
    f''(0) sigma^2 +- sqrt(f''(0)^2 sigma^4 - f'(0)^2) with instance noise (lemma 3.2), f = -log(1 + exp(-t)).
    """
    assert dirac.eigenvalues("non-saturating", "none") == (0.5j, -0.5j)
    assert dirac.eigenvalues("wasserstein", "none") == (1j, -1j)
    root = (0.3**2 / 4 - 0.25 + 0j) ** 0.5
    assert dirac.eigenvalues("minimax", "r1", weight=0.3) == pytest.approx((-0.15 + root, -0.15 - root))
    f2, sigma = -0.25, 0.9
    root = (f2**2 * sigma**4 - 0.25 + 0j) ** 0.5
    expected = (f2 * sigma**2 + root, f2 * sigma**2 - root)
    assert dirac.eigenvalues("non-saturating", "noise", weight=sigma) == pytest.approx(expected)


def test_an_orbit_turns_and_shrinks_as_its_eigenvalue_does():
    (value, _), near = dirac.eigenvalues("non-saturating", "r1", weight=0.2, step=0.2), (1e-3, 0.0)
    orbit = dirac.play("non-saturating", "r1", weight=0.2, step=0.2, rounds=120, start=near)
    turns = 2 * math.pi / abs(math.atan2(value.imag, value.real))
    crossings = [i for i, (a, b) in enumerate(pairwise(orbit)) if a[0] > 0 >= b[0]]
    assert crossings[1] - crossings[0] == pytest.approx(turns, abs=1.5)
    size = [math.hypot(*orbit[i]) for i in crossings[:2]]
    assert size[1] / size[0] == pytest.approx(abs(value) ** (crossings[1] - crossings[0]), rel=0.1)


def test_far_from_the_equilibrium():
    """Without a penalty it goes round (the non-saturating game slowly inwards: a matter of higher order); R1 leads to
    (0, 0), WGAN-GP elsewhere; clipping keeps psi in bounds.
    """
    radius = lambda orbit: [math.hypot(*point) for point in orbit[-60:]]  # noqa: E731
    for game in ("wasserstein", "minimax"):
        assert min(radius(dirac.play(game, "none", step=0.2, rounds=150))) > 0.9
    assert max(radius(dirac.play("non-saturating", "r1", step=0.2, rounds=250))) < 0.01
    penalized = dirac.play("wasserstein", "wgan-gp", weight=0.5, rounds=250)
    assert max(abs(theta) for theta, _ in penalized[-60:]) > 0.5
    clipped = dirac.play("wasserstein", "clip", weight=0.3, rounds=100, start=(1.0, 0.2))
    assert max(abs(psi) for _, psi in clipped) == pytest.approx(0.3)
    assert dirac.eigenvalues("wasserstein", "wgan-gp", step=0.1) is None
    words = [dirac.verdict("wasserstein", penalty) for penalty in ("none", "r1", "wgan-gp")]
    assert ["circles" in words[0], words[1], "not an equilibrium" in words[2]] == [
        True,
        "converges to the equilibrium",
        True,
    ]
    assert dirac.verdict("minimax", "both", weight=1.5, step=0.7) == "diverges from the equilibrium"


def test_what_no_system_plays_is_refused():
    for game, penalty, message in (
        ("hinge", "wgan-gp", "requires the game wasserstein"),
        ("relativistic", "noise", "choose none or both"),
        ("hing", "none", "unknown game 'hing'; did you mean 'hinge'"),
        ("hinge", "r3", "unknown penalty 'r3'"),
    ):
        with pytest.raises(SparringError, match=message):
            dirac.play(game, penalty)


# The line.


@pytest.mark.slow
def test_the_discriminator_becomes_the_ratio_and_the_generator_the_data():
    states = list(line.play(rounds=800, head_start=200, every=100))
    start, alone, end = states[0], next(state for state in states if state.round == 200), states[-1]
    assert [state.round for state in states] == [0, 100, 200, 300, 400, 500, 600, 700, 800]
    assert torch.equal(alone.points, start.points)  # the generator has waited
    assert start.distance > 0.9
    assert start.distance_to_optimal > 0.4
    assert alone.distance_to_optimal < 0.12
    assert end.distance < 0.3
    assert end.distance_to_optimal < 0.1
    assert end.distance_to_half < 0.12
    assert float(end.points.mean()) == pytest.approx(line.MEAN, abs=0.1)
    assert float(end.points.std()) == pytest.approx(line.STD, abs=0.1)


def test_what_is_seen_of_known_densities():
    """A generator that stretches codes to [0, 2] has density 1/2 there; a D of 0 is 1/2 everywhere."""
    made = line.system()
    made.G = torch.nn.Sequential(torch.nn.Linear(1, 1))
    made.D = torch.nn.Sequential(torch.nn.Linear(1, 1))
    for network, weight, bias in ((made.G, 1.0, 1.0), (made.D, 0.0, 0.0)):
        torch.nn.init.constant_(network[0].weight, weight)
        torch.nn.init.constant_(network[0].bias, bias)
    state = line.state_at(made, 7)
    inside = (line.CENTERS > 0) & (line.CENTERS < 2)
    torch.testing.assert_close(state.p_fake, torch.where(inside, 0.5, 0.0).double(), atol=2e-3, rtol=0)
    width = (line.RIGHT - line.LEFT) / line.CELLS
    normal = torch.exp(-(((line.CENTERS - 1) / 0.5) ** 2) / 2) / 0.5 / math.sqrt(2 * math.pi)
    torch.testing.assert_close(state.p_data, normal, atol=1e-3, rtol=0)
    torch.testing.assert_close(state.optimal[inside], (normal / (normal + 0.5))[inside], atol=5e-3, rtol=0)
    assert state.distance_to_half == 0
    assert state.distance == pytest.approx(float((normal - state.p_fake).abs().sum()) / 2 * width, abs=2e-3)
    # With D = 1/2, E |D - best| over the mixture is half the total variation.
    assert state.distance_to_optimal == pytest.approx(state.distance / 2, rel=0.02)


# Mixtures.


@pytest.mark.parametrize("name", mixtures.MIXTURES)
def test_the_mixtures_are_those_of_the_papers(name):
    mixture = mixtures.MIXTURES[name]()
    assert (len(mixture.centers), mixture.std) == {"ring": (8, 0.01), "grid": (25, 0.05)}[name]
    if name == "ring":
        torch.testing.assert_close(mixture.centers.norm(dim=1), torch.ones(8))
    else:
        assert sorted(set(mixture.centers.flatten().tolist())) == [-4, -2, 0, 2, 4]
    points = mixture.draw(40_000, seed=3)
    assert torch.equal(points, mixture.draw(40_000, seed=3))
    reached = mode_coverage(fake=points, centers=mixture.centers, std=mixture.std)
    assert reached.found == len(mixture.centers)
    assert reached.high_quality == pytest.approx(1 - math.exp(-4.5), abs=3e-3)  # within 3 std in the plane
    assert reached.reverse_kl == pytest.approx((len(mixture.centers) - 1) / 80_000, abs=5e-4)
    assert reached.spread == pytest.approx(1, abs=0.01)


def test_modes_of_points_put_by_hand():
    centers = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = torch.tensor([[0.0, 0.29], [0.0, 0.31], [10.1, 0.0], [9.9, 0.0], [5.0, 5.0]])
    assert nearest_modes(points, centers, 0.1).tolist() == [0, -1, 1, 1, -1]
    reached = mode_coverage(fake=points, centers=centers, std=0.1)
    assert reached.found == 2
    assert reached.high_quality == pytest.approx(0.6)
    third, two_thirds = 1 / 3, 2 / 3
    assert reached.reverse_kl == pytest.approx(third * math.log(3 * third) + two_thirds * math.log(3 * two_thirds))
    lost = mode_coverage(fake=points[1:2], centers=centers, std=0.1)
    assert (lost.found, lost.high_quality, lost.reverse_kl) == (0, 0.0, math.inf)
    for wrong in (torch.zeros(0, 2), torch.zeros(4, 3), torch.full((2, 2), math.nan)):
        with pytest.raises(SparringError, match="samples must be"):
            mode_coverage(fake=wrong, centers=centers, std=0.1)


def test_reverse_kl():
    assert reverse_kl(torch.full((1000,), 26)) == pytest.approx(0, abs=1e-12)
    assert reverse_kl(torch.tensor([5, 0, 0, 0])) == pytest.approx(math.log(4))
    # Of a perfect sampler: (modes - 1) / (2 n) and a little more.
    counts = torch.multinomial(torch.ones(1000), 26_000, replacement=True, generator=make_generator("kl")).bincount()
    assert reverse_kl(counts) == pytest.approx(0.0194, abs=0.003)


@pytest.mark.slow
def test_the_ring_is_found(monkeypatch):
    """All eight modes in equal parts: on a ring five times as thick as the papers', which takes a
    tenth of the arithmetic. How exactly theirs is learned takes longer (docs/results/toys.md).
    """
    for name, number in {"WIDTH": 64, "BATCH": 128, "RATE": 2e-3, "EMA_DECAY": 0.98}.items():
        monkeypatch.setattr(mixtures, name, number)
    states = list(mixtures.play(replace(mixtures.ring(), std=0.05), seed=0, rounds=500, every=250))
    assert [state.round for state in states] == [0, 250, 500]
    assert states[0].modes.high_quality < 0.05
    last = states[-1].modes
    assert last.found == 8
    assert last.high_quality > 0.5
    assert last.reverse_kl < 0.15


def test_points_are_given_as_they_are():
    points = mixtures.grid().draw(64, seed=0)
    x, y = Feed({"train": Dataset("points", points)}, 64, seed=0)("train")
    assert y is None
    assert torch.equal(x.sort(0).values, points.sort(0).values)


def test_every_look_at_a_mixture_is_of_its_own_round(monkeypatch):
    seen = []
    monkeypatch.setattr(mixtures, "state_at", lambda made, mixture, number, seed: seen.append(made.G[0].weight.clone()))
    list(mixtures.play(mixtures.ring(), rounds=3, every=1))
    assert len(seen) == 4
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("system", mixtures.SYSTEMS)
def test_every_system_plays_and_can_be_repeated(system):
    ring = mixtures.ring()
    first, again = (list(mixtures.play(ring, system, seed=5, rounds=3))[-1] for _ in range(2))
    assert torch.equal(first.points, again.points)
    assert not torch.equal(first.points, list(mixtures.play(ring, system, seed=6, rounds=3))[-1].points)
    assert torch.equal(first.surface, again.surface)
    with pytest.raises(SparringError, match="unknown system 'r3gn'; did you mean 'r3gan'"):
        next(mixtures.play(ring, "r3gn"))


def test_the_surface_lies_as_the_points_do():
    """A discriminator that scores y: rows of the surface grow upwards."""
    made = mixtures.gan(mixtures.layers(mixtures.LATENT, 2, torch.nn.ReLU))
    made.D = torch.nn.Linear(2, 1, bias=False)
    made.D.weight.data = torch.tensor([[0.0, 1.0]])
    surface = mixtures.state_at(made, mixtures.grid(), 0, 0).surface
    side = torch.linspace(-mixtures.EDGE, mixtures.EDGE, mixtures.PIXELS)
    torch.testing.assert_close(surface, side[:, None].expand(-1, mixtures.PIXELS))


# Kernels and strides.


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (5, 2), (2, 3), (5, 4), (8, 4)])
def test_equal_weights_count_the_overlaps(kernel, stride):
    """Along one axis, the taps of the kernel that reach phase p; the pattern is their product, its variance exact."""
    taps = np.array([len(range(phase, kernel, stride)) for phase in range(stride)], float)
    overlaps = np.outer(taps, taps)
    layer = checkerboards.play(kernel=kernel, stride=stride)[0]
    assert sorted(layer.ones.flatten().tolist()) == sorted((64 * overlaps).flatten().tolist())
    assert float(checkerboards.energy(layer.ones)) == pytest.approx(overlaps.var() / (overlaps**2).mean())
    assert float(checkerboards.energy(layer.random).min()) > 0


def test_checkerboards_of_resizing_and_against_the_nyquist_power():
    *transposed, nearest, bilinear = checkerboards.play(stride=2)
    assert [layer.name[:14] for layer in transposed] == ["transposed 3x3", "transposed 4x4", "transposed 5x5"]
    for layer in (nearest, bilinear):
        assert float(checkerboards.energy(layer.random).max()) < 1e-10
    for pattern in transposed[0].random[:5]:
        image = pattern.tile(8, 8)[None, None]
        expected = checkerboard(image) / float(image.square().mean())
        assert float(checkerboards.energy(pattern)) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(SparringError, match="stride is 1"):
        checkerboards.play(stride=1)


# The verb.


def said(capsys, line):
    main(["toy", *line.split()])
    return capsys.readouterr().out


def test_the_pairs_as_json(capsys):
    told = json.loads(said(capsys, "xy --rule alternating --first y --step 1 --rounds 6 --json"))
    assert told["pairs"] == [[1, 1], [-1, 2], [-2, 1], [-1, -1], [1, -2], [2, -1], [1, 1]]
    assert told["conserved"] == [3.0] * 7
    assert (told["rule"], told["first"], told["step"]) == ("alternating", "y", 1.0)
    told = json.loads(said(capsys, "xy --rule simultaneous --rounds 2100 --json"))
    assert told["pairs"][-1] == [None, None]  # beyond the largest float; JSON has no infinity
    assert told["conserved"] is None


def test_the_toys_as_tables(capsys):
    listed = said(capsys, "")
    assert all(f"  {name} " in listed for name in ("xy", "dirac", "line", "ring", "grid", "checkerboards"))
    assert "x² + xy + y²" in said(capsys, "xy")
    assert "by the formula: 0.98375+0.04729i" in said(capsys, "dirac --penalty r1 --weight .3 --rounds 20")
    assert "The game does not converge" in said(capsys, "dirac --game wasserstein --penalty wgan-gp --rounds 5")
    assert "|p_g - p_d|" in said(capsys, "line --rounds 5")
    assert "of 8 modes" in said(capsys, "ring --rounds 2")
    assert "of 25 modes" in said(capsys, "grid --rounds 2 --system pacgan")


def test_the_others_as_json(capsys):
    told = json.loads(said(capsys, "dirac --penalty r1 --rounds 3 --json"))
    assert len(told["orbit"]) == 4
    assert told["eigenvalues"][0] == pytest.approx(told["measured"][0], abs=1e-5)
    told = json.loads(said(capsys, "line --rounds 4 --head-start 2 --json"))
    assert [one["round"] for one in told["history"]] == [0, 2, 4]
    assert told["gap"] == told["history"][-1]["gap"]
    told = json.loads(said(capsys, "ring --rounds 2 --seed 3 --json"))
    assert (told["seed"], told["modes"], len(told["history"])) == (3, 8, 3)
    assert {"found", "high_quality", "reverse_kl", "spread"} <= set(told)


@pytest.mark.parametrize("command", ["xy", "dirac --rounds 4", "line --rounds 2", "ring --rounds 2"])
def test_the_animations(command, capsys, tmp_path):
    out = tmp_path / "toy.webp"
    told = said(capsys, f"{command} --json --out {out}")
    json.loads(told)  # the path is said elsewhere
    with Image.open(out) as picture:
        assert picture.format == "WEBP"
        assert picture.n_frames > 1
        assert min(picture.size) > 300


def test_the_picture_of_checkerboards(capsys, tmp_path):
    out = tmp_path / "checkerboards.webp"
    told = json.loads(said(capsys, f"checkerboards --kernel 4 --stride 2 --json --out {out}"))
    assert told["layers"][0]["layer"] == "transposed 4x4, stride 2"
    assert told["layers"][0]["ones"] == 0 < told["layers"][0]["random"]
    with Image.open(out) as picture:
        assert min(picture.size) > 300


def test_an_animation_has_no_more_frames_than_can_be_watched():
    assert frames.frame_indices(5) == [0, 1, 2, 3, 4]
    many = frames.frame_indices(1000)
    assert (len(many), many[0], many[-1]) == (frames.MAX_FRAMES, 0, 999)
    assert frames.frame_indices(1) == [0]
    pairs = xy.play("alternating", step=0.1, rounds=2)
    with Image.open(io.BytesIO(frames.webp(xy.figures("alternating", pairs, step=0.1)))) as picture:
        assert picture.n_frames == 3


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["ringg"], "unknown toy 'ringg'; did you mean 'ring'"),
        (["--json"], "the toy comes first"),
        (["xy", "--stepp", "1"], "unknown option '--stepp'; did you mean '--step'"),
        (["xy", "--step", "-1"], "step (--step) is '-1'"),
        (["xy", "--step", "nan"], "step (--step) is 'nan'"),
        (["ring", "--out", "ring.gif"], "must end in .webp"),
        (["dirac", "--game", "hinge", "--penalty", "clip"], "requires the game wasserstein"),
    ],
)
def test_mistakes_are_one_line(argv, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(["toy", *argv])
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert message in said
    assert said.count("\n") == 1
