"""Systems that know classes: what is asked for is what is made, and what the heads are told is what the paper says."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from helpers import two_tone, with_labels
from torch import nn
from toys import SHAPE, images, referee, state

import sparring
from sparring.errors import SparringError
from sparring.evaluation import evaluate
from sparring.evaluation.classes import classification_error
from sparring.losses import game, orthogonal_penalty
from sparring.networks import mlp
from sparring.networks.biggan import Discriminator, Generator
from sparring.networks.infogan import WithClass
from sparring.noise import truncated_normal
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments
from sparring.seeds import make_generator
from sparring.system import next_labeled
from sparring.systems.acgan import ACGAN
from sparring.systems.biggan import BigGAN
from sparring.systems.cgan import ConditionalGAN
from sparring.systems.infogan import InfoGAN

CLASSES = 2


class Told(nn.Module):
    """An MLP discriminator of (image, class)."""

    def __init__(self):
        super().__init__()
        self.judge = mlp.discriminator((1, 4, 4 + 1), [64, 64], activation=nn.LeakyReLU)

    def forward(self, x, y):
        column = F.one_hot(y, 4).to(x)[:, None, :, None]
        return self.judge(torch.cat([x, column], 3))


def conditional(**options):
    torch.manual_seed(3)
    G = WithClass(mlp.generator(5 + CLASSES, [64, 64], SHAPE, activation=nn.ReLU), CLASSES)
    return ConditionalGAN(G, Told(), latent_dim=5, classes=CLASSES, game=game("non-saturating"), **options)


def auxiliary(**weights):
    torch.manual_seed(3)
    G = WithClass(mlp.generator(5 + CLASSES, [64, 64], SHAPE, activation=nn.ReLU), CLASSES)
    T = nn.Sequential(nn.Flatten(), nn.Linear(16, 64), nn.LeakyReLU(0.2), nn.Linear(64, 32), nn.LeakyReLU(0.2))
    D, C = nn.Linear(32, 1), nn.Linear(32, CLASSES)
    return ACGAN(G, T, D, C, latent_dim=5, classes=CLASSES, game=game("non-saturating"), **weights)


def informed(**options):
    torch.manual_seed(3)
    G = mlp.generator(4 + 2 + 1, [64, 64], SHAPE, activation=nn.ReLU)
    T = nn.Sequential(nn.Flatten(), nn.Linear(16, 64), nn.LeakyReLU(0.2))
    parts = {"latent_dim": 4, "n_categories": 2, "n_continuous": 1, "game": game("non-saturating")}
    return InfoGAN(G, T, nn.Linear(64, 1), nn.Linear(64, 3), **parts, **options)


def big(**options):
    torch.manual_seed(3)
    G = Generator(6, 4, 1, 28, classes=3, embed_dim=4)
    return BigGAN(G, Discriminator(4, 1, 28, classes=3), latent_dim=6, classes=3, **options)


def played(system, rounds=250, **options):
    judge = referee(system, with_labels(two_tone()), batch=64, ema_decay=0.99, **options)
    for _ in range(rounds):
        judge.play()
    return judge.ema_system


@pytest.mark.parametrize("kind", [conditional, auxiliary])
def test_the_class_that_is_asked_for_is_made(kind):
    shown = played(kind())
    for y, sign in ((0, -1), (1, 1)):
        tone = shown.sample(200, labels=y).mean((1, 2, 3)) * sign
        assert float((tone > 0.2).float().mean()) > 0.95
    in_turn = shown.sample(200).mean((1, 2, 3)) > 0
    assert float((in_turn == (torch.arange(200) % 2 == 1)).float().mean()) > 0.95


def test_both_players_of_a_conditional_game_are_told_the_same_class():
    """Mirza and Osindero 2014, eq. 2, written out again: fakes carry the classes of the batch."""
    judge = referee(conditional(), with_labels(images()))
    told, again = judge.play(), conditional()
    draws, rows = make_generator(0, "noise", 1), judge.feeds[0].rows("train", 0)
    data = with_labels(images())
    x, y = data.images[rows].float() / 127.5 - 1, data.labels[rows]
    fake = again.G(torch.randn(16, 5, generator=draws), y)
    loss = -again.D(x, y).sigmoid().log().mean() - (1 - again.D(fake, y).sigmoid()).log().mean()
    torch.testing.assert_close(told[0].numbers["loss"], loss.detach())
    D = judge.system.D  # after its step
    fake = again.G(torch.randn(16, 5, generator=draws), y)
    torch.testing.assert_close(told[1].numbers["loss"], -D(fake, y).sigmoid().log().mean().detach())


def test_a_conditional_generator_moves_after_k_discriminator_moves():
    """Goodfellow et al. 2014, algorithm 1: its classes are those of the last of them."""
    judge = referee(conditional(discriminator_steps=2), with_labels(images()))
    seen = []
    judge.system.D.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    assert [move.player for move in judge.play()] == ["discriminator", "discriminator", "generator"]
    labels = [with_labels(images()).labels[judge.feeds[0].rows("train", k)] for k in (0, 0, 1, 1, 1)]
    assert all(torch.equal(a, b) for a, b in zip(seen, labels, strict=True))
    assert not torch.equal(seen[0], seen[2])


def test_a_conditional_discriminator_tells_right_classes_from_wrong_ones():
    shown = played(conditional())
    data = with_labels(two_tone())
    x, y = data.images[:100].float() / 127.5 - 1, data.labels[:100]
    assert float((shown.score(x, labels=y) > shown.score(x, labels=1 - y)).float().mean()) > 0.95


def test_the_auxiliary_classifier_classifies():
    shown = played(auxiliary())
    data = with_labels(two_tone())
    rate = classification_error(shown, data, "train")
    assert rate.value < 0.02
    assert rate.interval[0] <= rate.value <= rate.interval[1]
    log_p = shown.classify(data.images[:10].float() / 127.5 - 1)
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(10))


def test_the_losses_of_acgan_are_those_of_the_paper():
    """Odena et al. 2017, eqs. 2 and 3, written out again; weights scale the classes' part only."""
    judge = referee(auxiliary(d_class_weight=0.5, g_class_weight=0.1), with_labels(images()))
    named = dict(auxiliary().named_children())
    G, T, D, C = named["G"], named["T"], named["D"], named["C"]
    told = judge.play()

    data, draws = with_labels(images()), make_generator(0, "noise", 1)
    rows = judge.feeds[0].rows("train", 0)
    x, y = data.images[rows].float() / 127.5 - 1, data.labels[rows]
    asked = (((torch.rand(16, generator=draws) * 2 - 1) + 1) / 2 * CLASSES).long()
    fake = G(torch.randn(16, 5, generator=draws), asked).detach()
    p_real, p_fake = D(T(x)).sigmoid(), D(T(fake)).sigmoid()
    source = -p_real.log().mean() - (1 - p_fake).log().mean()
    of_real = -C(T(x)).log_softmax(1)[torch.arange(16), y].mean()
    of_fake = -C(T(fake)).log_softmax(1)[torch.arange(16), asked].mean()
    expected = source + 0.5 * (of_real + of_fake)  # eq. 3 is a sum, as eq. 2 is
    torch.testing.assert_close(told[0].numbers["loss"], expected.detach())
    assert float(told[1].numbers["loss"]) == pytest.approx(
        float(F.softplus(torch.tensor(0.0))) + 0.1 * math.log(2), abs=0.3
    )


@pytest.mark.parametrize("labels", [2, -1, [0, 1, 5], []])
def test_unknown_classes_are_refused(labels):
    with pytest.raises(
        SparringError, match=r"is out of range: ConditionalGAN has classes 0 to 1|labels are (\[\]|empty): give class"
    ):
        conditional().sample(4, labels=labels)


def test_labels_are_repeated_and_default_to_each_in_turn():
    system = conditional()
    assert system.expand_labels(5, None).tolist() == [0, 1, 0, 1, 0]
    assert system.expand_labels(3, 1).tolist() == [1, 1, 1]
    assert system.expand_labels(5, [1, 0, 0]).tolist() == [1, 0, 0, 1, 0]
    drawn = system.random_labels(1000)
    assert drawn.dtype == torch.int64
    assert drawn.bincount().tolist() == pytest.approx([500, 500], abs=80)


def test_data_without_labels_is_refused_before_the_first_round():
    for name in ("cgan", "acgan", "biggan", "biggan-small", "biggan-deep", "improved-gan"):
        with pytest.raises(SparringError, match="the data has none"):
            sparring.train(name, images(80, (1, 28, 28)))
    with pytest.raises(SparringError, match="have no labels"):
        next_labeled(lambda stream: (torch.zeros(1), None))


# InfoGAN.


def test_the_information_is_that_of_the_message():
    """Eq. 5 in closed form: a reader that knows nothing, and one that is certain of the category."""
    system = informed()
    features = torch.zeros(6, 64)
    message = torch.cat([F.one_hot(torch.arange(6) % 2, 2).float(), torch.linspace(-1, 1, 6)[:, None]], 1)
    with torch.no_grad():
        system.Q.weight.zero_()
        system.Q.bias.zero_()  # logits 0, mean 0
        knows_nothing = system.information(features, message)
        second = message[:, 2].square().mean() / 2 + math.log(2 * math.pi) / 2
        torch.testing.assert_close(knows_nothing, math.log(2) - second)
        system.Q.bias.copy_(torch.tensor([100.0, 0.0, 0.0]))
        certain = system.information(features, message * torch.tensor([0.0, 0.0, 1.0]) + torch.tensor([1.0, 0.0, 0.0]))
        torch.testing.assert_close(certain, 2 * math.log(2) - second)


def test_the_message_can_be_read_from_the_image():
    """Category and value are in the image: the reader finds both in new samples, and the bound is near its best."""
    torch.manual_seed(0)
    judge = referee(informed(), two_tone(), batch=64, ema_decay=0.99)
    for _ in range(300):
        told = judge.play()
    assert float(told[1].numbers["information"]) > 0.6 * (math.log(2) + math.log(2 / math.sqrt(2 * math.pi)))
    kinds, n_continuous = torch.arange(200) % 2, torch.linspace(-1, 1, 200)
    code = torch.cat([F.one_hot(kinds, 2).float(), n_continuous[:, None]], 1)
    system = judge.ema_system
    read = system.run_batched(nn.Sequential(system.T, system.Q), system.sample(200, codes=code))
    assert float((read[:, :2].argmax(1) == kinds).float().mean()) > 0.95
    assert float(torch.corrcoef(torch.stack([read[:, 2], n_continuous]))[0, 1]) > 0.7


def test_messages_are_one_hot_and_uniform():
    message = informed().random_code(2000)
    assert message.shape == (2000, 3)
    assert torch.equal(message[:, :2].sum(1), torch.ones(2000))
    assert float(message[:, 0].mean()) == pytest.approx(0.5, abs=0.05)
    assert float(message[:, 2].std()) == pytest.approx(1 / 3**0.5, abs=0.03)


def test_codes_of_another_shape_are_refused():
    with pytest.raises(SparringError, match=r"codes have shape \(4, 2\): expected \(4, 3\)"):
        informed().sample(4, codes=torch.zeros(4, 2))


# BigGAN.


def test_biggan_plays_two_steps_against_one():
    judge = referee(big(), replace(images(64, (1, 28, 28)), labels=torch.arange(64) % 3, classes=("a", "b", "c")))
    told = judge.play()
    assert [t.player for t in told] == ["discriminator", "discriminator", "generator"]
    assert judge.feeds[0].positions == {"train": 2}


def test_one_pass_of_the_discriminator_sees_real_and_generated_images():
    """As the authors' code has it: spectral norm takes one step of power iteration in each move of D."""
    system = big(discriminator_steps=1)
    seen = []
    system.D.register_forward_pre_hook(lambda _, given: seen.append((len(given[0]), len(given[1]))))
    referee(system, replace(images(64, (1, 28, 28)), labels=torch.arange(64) % 3, classes=("a", "b", "c"))).play()
    assert seen == [(32, 32), (16, 16)]


def test_biggan_plays_large_batches_in_pieces():
    data = replace(images(64, (1, 28, 28)), labels=torch.arange(64) % 3, classes=("a", "b", "c"))
    judge = referee(big(), data, grad_accum=4)
    before = judge.system.G.linear.weight.clone()
    told = [t.numbers["loss"] for _ in range(2) for t in judge.play()]
    assert bool(torch.stack(told).isfinite().all())
    assert not torch.equal(judge.system.G.linear.weight, before)


def test_the_orthogonal_penalty_has_the_published_gradient():
    """The authors' code adds 2 beta ((W W^T) o (1 - I)) W to the gradient."""
    torch.manual_seed(0)
    w = torch.randn(5, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    beta = 0.01
    (beta / 2 * orthogonal_penalty([w])).backward()
    rows = w.detach().flatten(1)
    expected = 2 * beta * (rows @ rows.T * (1 - torch.eye(5))) @ rows
    torch.testing.assert_close(w.grad.flatten(1), expected)
    rows = torch.linalg.qr(torch.randn(6, 6))[0][:4]
    assert float(orthogonal_penalty([rows])) == pytest.approx(0, abs=1e-8)


def test_the_class_embedding_is_not_regularized():
    system = big()
    kept = {id(w) for w in system.orthogonal_weights()}
    names = {name for name, w in system.G.named_parameters() if id(w) in kept}
    assert "embedding.weight" not in names
    assert "linear.weight" in names
    assert all(w.ndim >= 2 for w in system.orthogonal_weights())


@pytest.mark.parametrize("threshold", [0.04, 0.5, 2.0])
def test_truncation_resamples_and_does_not_scale(threshold):
    z = truncated_normal(make_generator("t"), (20_000,), threshold).double()
    redrawn = torch.randn(2_000_000, dtype=torch.float64, generator=make_generator("r"))
    redrawn = redrawn[redrawn.abs() <= threshold]
    assert float(z.abs().max()) <= threshold
    assert float(z.std()) == pytest.approx(float(redrawn.std()), rel=0.03)
    for share in (0.25, 0.75):
        assert float(z.quantile(share)) == pytest.approx(float(redrawn[:100_000].quantile(share)), abs=0.03 * threshold)


@pytest.mark.parametrize(("truncation", "words"), [(0, "above 0"), (-1.0, "above 0"), (math.nan, "a finite number")])
def test_a_truncation_that_cuts_everything_is_refused(truncation, words):
    with pytest.raises(SparringError, match=f"truncation is .*: it must be {words}"):
        big().sample(2, truncation=truncation)


def test_standing_statistics_see_all_classes_alike():
    G, seen = Generator(6, 1, 1, 28, classes=100, embed_dim=4), []
    G.embedding.register_forward_pre_hook(lambda _, given: seen.append(given[0]))  # a copy of G has it too
    BigGAN(
        G, Discriminator(1, 1, 28, classes=100), latent_dim=6, classes=100, standing_batches=20
    ).with_standing_stats()
    assert len(seen) == 20
    assert torch.cat(seen).bincount(minlength=100).float().std() == pytest.approx(12.8**0.5, rel=0.3)  # 13 of each


def test_samples_use_standing_statistics_of_their_own_truncation():
    system = big(standing_batches=3).eval()
    before = {k: v.clone() for k, v in system.state_dict().items()}
    full, cut = system.sample(6, seed=1), system.sample(6, seed=1, truncation=0.1)
    assert not torch.equal(full, cut)
    assert torch.equal(system.sample(6, seed=1), full)
    assert all(torch.equal(v, before[k]) for k, v in system.state_dict().items())
    same = [system.sample(30, truncation=1e-3, labels=y) for y in (0, 1)]
    assert float(same[0].std(0).max()) < 0.05  # hardly any variety is left
    assert float((same[0].mean(0) - same[1].mean(0)).abs().max()) > 0.05  # but the classes are


# What is measured.


class Painter:
    """Makes real digits of the class it is asked for, and for `confused` others the next class."""

    classes = 10

    def __init__(self, data, confused=()):
        self.by_class = [data.images[data.labels == y] for y in range(10)]
        self.confused = confused

    def sample(self, n, *, seed):
        asked = [y + (y in self.confused) for y in (i % 10 for i in range(n))]
        return torch.stack([self.by_class[y][(seed + i) % len(self.by_class[y])] for i, y in enumerate(asked)])


def test_class_agreement_counts_what_was_asked_for():
    data = sparring.load("digits", size=28)
    right = evaluate(Painter(data), data, n=200, repeats=2)["class agreement"]
    wrong = evaluate(Painter(data, confused=(3, 4)), data, n=200, repeats=2)["class agreement"]
    assert right.name == "class agreement"
    assert right.n == 400
    assert right.value > 0.97
    assert wrong.value == pytest.approx(0.8, abs=0.02)
    assert right.floor > 0.97
    assert "lenet-mnist on real images" in str(right)


def test_every_size_of_biggan_is_a_recipe():
    from sparring.data.dataset import Spec
    from sparring.recipes import RECIPES

    for name, latent_dim, size, attention in (
        ("biggan", 100, 64, 32),
        ("biggan", 120, 32, 0),
        ("biggan-deep", 128, 32, 16),
    ):
        function = load_recipe(name, RECIPES)
        spec = Spec(3, size, size, tuple("abcdefghij"))
        chosen = resolve_arguments(
            function, {"latent_dim": latent_dim, "width": 8, "attention": attention, "standing_batches": 1}
        )
        system = build_recipe(function, spec, chosen).system
        assert system.sample(2, labels=[3]).shape == (2, 3, size, size)


def test_pieces_of_a_conditional_game_equal_the_whole():
    whole = referee(conditional().double(), with_labels(images()))
    pieces = referee(conditional().double(), with_labels(images()), grad_accum=2)
    for judge in (whole, pieces):
        for _ in range(3):
            judge.play()
    ours, theirs = state(pieces), state(whole)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-9, atol=1e-12)
