"""What else happens in the process changes nothing here, and nothing here changes what else happens in the process."""

import copy
import threading
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from helpers import toy_data
from toys import gan, images, referee, state

from sparring.losses import game
from sparring.networks.diffaug import AdaptiveAugment, DiffAugment, Distortion
from sparring.networks.noise import Dropout, GaussianNoise, InstanceNoise, TrainingNoise
from sparring.noise import NOISE_DISTRIBUTIONS
from sparring.run import Run
from sparring.seeds import Drawing, isolated, make_generator
from sparring.training import train


def trained(out, data=None, **options):
    """Three rounds of a recipe with dropout in both networks, and a measurement."""
    arguments = {"rounds": 3, "save_every": 2, "latent_dim": 4, "batch": 8, "precision": "fp32", "quiet": True}
    return train("raschka-mlp", toy_data(8) if data is None else data, out=out, **{**arguments, **options})


def weights(run):
    return {name: value.clone() for name, value in run.newest_checkpoint().tensors["system"].items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    assert all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)


def surroundings():
    return (
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
    )


@contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


ELSEWHERE = {
    "default dtype": default_dtype,
    "default device": lambda: torch.device("meta"),
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "another seed": lambda: torch.manual_seed(5) and torch.enable_grad(),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run = trained(tmp_path_factory.mktemp("undisturbed"))
    return weights(run), run.system().sample(4, seed=1), (run.path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("what", ELSEWHERE)
def test_what_the_caller_has_set_changes_no_bits_and_is_left_as_it_was(what, undisturbed, tmp_path):
    with ELSEWHERE[what]():
        before = surroundings()
        run = trained(tmp_path)
        assert surroundings() == before
        system = Run.open(run.path).system()
        assert surroundings() == before
        samples = system.sample(4, seed=1)
        assert surroundings() == before
    assert_same(weights(run), undisturbed[0])
    assert torch.equal(samples, undisturbed[1])
    assert (run.path / "metrics.jsonl").read_text() == undisturbed[2]


def test_a_round_that_ends_in_an_error_leaves_no_traces(tmp_path):
    class Broken(type(gan())):
        def round(self, feed):
            with torch.no_grad():
                yield from super().round(feed)

    judge = referee(gan(Broken))
    for mode in (torch.enable_grad, torch.no_grad):
        with mode():
            before = surroundings()
            with pytest.raises(Exception, match="no_grad"):
                judge.play()
            assert surroundings() == before


def in_threads(*works):
    """What each of these returns, all at the same time."""
    found, start = [None] * len(works), threading.Barrier(len(works))

    def one(at, work):
        start.wait()
        found[at] = work()

    threads = [threading.Thread(target=one, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_trainings_and_samples_in_several_threads_do_not_disturb_each_other():
    """Layers that draw from PyTorch's own generators, which all threads share."""

    def play(judge):
        for _ in range(20):
            judge.play()
        return state(judge)

    def judges():
        return [referee(gan(dropout=0.5), images(40), seed=seed) for seed in (1, 2)]

    other = gan(dropout=0.5)
    other.G.append(torch.nn.AlphaDropout(0.5))
    other.G.eval = lambda: other.G  # stays random when it is sampled

    def sample():
        return [other.sample(4, seed=1) for _ in range(40)]

    alone = [play(judge) for judge in judges()], sample()
    for _ in range(2):
        *both, samples = in_threads(*(partial(play, judge) for judge in judges()), sample)
        for one, expected in zip(both, alone[0], strict=True):
            assert_same(one, expected)
        assert all(torch.equal(a, alone[1][0]) for a in samples)


def disturb(*_):
    """A hook of a layer: draws as another thread of the caller's may do at any time."""
    torch.rand(3)


STOCHASTIC = [
    *(Dropout(0.5), Dropout(0.5, active_in_eval=True), GaussianNoise(0.1), TrainingNoise(0.1), InstanceNoise(0.1, 99)),
    *(DiffAugment("color+translation+cutout"), AdaptiveAugment(), Distortion(1.0)),
]


@pytest.mark.parametrize("layer", STOCHASTIC, ids=lambda layer: type(layer).__name__)
def test_layers_that_draw_are_not_disturbed_by_draws_from_the_global_generator(layer):
    def play(disturbed):
        system = gan()
        first = copy.deepcopy(layer)
        first.p = torch.tensor(0.5)
        system.D.insert(0, first)
        if disturbed:
            for one in system.modules():
                one.register_forward_pre_hook(disturb)
        judge = referee(system)
        for _ in range(2):
            judge.play()
        assert first.generator is None
        return state(judge)

    assert_same(play(False), play(True))


def test_flips_and_noise_of_labels_are_the_rounds_own_and_the_same_in_pieces():
    def play(grad_accum, disturbed=False):
        system = gan().double()
        system.game = game("non-saturating", label_flip_prob=0.3, fake_label_noise=0.2)
        if disturbed:
            system.D.register_forward_pre_hook(disturb)
        judge = referee(system, grad_accum=grad_accum)
        assert judge.batchwise() == []
        judge.play()
        return state(judge)

    whole = play(1)
    assert_same(whole, play(1, disturbed=True))
    pieces = play(2)
    assert all(torch.allclose(whole[name], pieces[name], atol=1e-9) for name in whole)


def test_initial_weights_are_drawn_from_a_generator_of_their_own():
    def made():
        layer = torch.nn.Linear(3, 4)
        torch.nn.init.trunc_normal_(torch.nn.init.orthogonal_(layer.weight))
        some = torch.randn(3), torch.rand(3), torch.randint(9, (3,)), torch.randint(2, 9, (3,)), torch.randperm(9)
        return [layer.weight, layer.bias, *some, torch.rand_like(some[0]), torch.empty(3).bernoulli_(0.5)]

    torch.manual_seed(7)
    plain = made()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with Drawing(torch.Generator().manual_seed(7)):
        own = made()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(plain, own, strict=True))


def test_isolation_can_be_nested_and_other_threads_wait():
    order = []
    inside, leave = threading.Event(), threading.Event()

    def first():
        with isolated(1), isolated(2):
            inside.set()
            leave.wait()
            order.append("first")

    def second():
        inside.wait()
        leave.set()
        with isolated(1):
            order.append("second")
            return torch.rand(3)

    _, drawn = in_threads(first, second)
    assert order == ["first", "second"]
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("kind", NOISE_DISTRIBUTIONS)
def test_noise_is_float32_whatever_the_default(kind):
    expected = NOISE_DISTRIBUTIONS[kind](make_generator("noise"), (3, 4))
    system = gan(noise=kind)
    codes = system.sample_latents(3, seed=1)
    with default_dtype():
        assert torch.equal(system.sample_latents(3, seed=1), codes)
    assert expected.dtype == codes.dtype == torch.float32
