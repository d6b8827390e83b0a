"""The autoencoder family: parameter counts, closed forms, what each move moves, and convergence in seconds."""

import math
from functools import partial

import pytest
import torch
from helpers import labeled, toy_data
from torch import nn
from toys import SHAPE

from sparring import priors
from sparring.data.dataset import Dataset, Spec
from sparring.data.pixels import to_float
from sparring.errors import DivergedError, SparringError
from sparring.evaluation.classes import clustering_error
from sparring.losses import (
    bernoulli_nll,
    game,
    half_squared_error,
    kl_to_standard_normal,
)
from sparring.networks import aae as networks
from sparring.networks.diffaug import Distortion
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, build_recipe, load_recipe, resolve_arguments
from sparring.referee import Referee
from sparring.reporting import report
from sparring.seeds import make_generator
from sparring.systems.aae import AAE
from sparring.systems.aae_clustering import ClusteringAAE
from sparring.systems.aae_labeled_prior import LabeledPriorAAE
from sparring.systems.aae_reduction import LabeledReductionAAE, ReductionAAE
from sparring.systems.aae_semi_supervised import SemiSupervisedAAE
from sparring.systems.aae_supervised import SupervisedAAE
from sparring.systems.autoencoder import Autoencoder
from sparring.systems.vae import VAE
from sparring.training import train

DIGITS = Spec(1, 28, 28, tuple("0123456789"))


def made(name, spec=DIGITS, **arguments):
    function = load_recipe(name, RECIPES)
    with torch.device("meta"):
        return build_recipe(function, spec, resolve_arguments(function, arguments)).system


def counts(system):
    return {name: n for name, net in system.named_children() if (n := sum(p.numel() for p in net.parameters()))}


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("mnist-net", {}, {"C": 431080}),
        ("cs231n-classifier", {}, {"C": 1102721 + 9 * 1025}),
        ("vae", {}, {"encoder": 412540, "decoder": 403284}),
        ("chollet-vae", {}, {"encoder": 494244, "decoder": 56385}),  # together 550,629
        ("smu-vae", {}, {"encoder": 156260, "decoder": 58913}),  # together 215,173
        ("aae", {"latent_dim": 2}, {"encoder": 1788002, "decoder": 1788784, "D": 1005001}),
        ("aae", {"latent_dim": 8}, {"encoder": 1794008, "decoder": 1794784, "D": 1011001}),
        ("aae", {"latent_dim": 10}, {"encoder": 1796010, "decoder": 1796784, "D": 1013001}),
        ("aae", {"latent_dim": 8, "width": 1200}, {"encoder": 2392808, "decoder": 2393584, "D": 1453201}),
        ("aae-labeled-prior", {}, {"encoder": 1788002, "decoder": 1788784, "D": 1016001}),
        ("aae-supervised", {}, {"encoder": 1801015, "decoder": 1811784, "D": 1018001}),
        (
            "aae-semi-supervised",
            {},
            {"encoder": 1806020, "decoder": 1806784, "Dz": 1013001, "Dy": 1013001},
        ),
        (
            "aae-semi-supervised",
            {"encoder": "convolutional"},
            {"encoder": 588372, "decoder": 1806784, "Dz": 1013001, "Dy": 1013001},
        ),
        (
            "aae-clustering",
            {},
            {"encoder": 11421021 + 12000, "decoder": 11421784, "Dz": 9024001, "Dy": 9057001},
        ),
        (
            "aae-reduction",
            {"clusters": 10},
            {"heads": 20, "encoder": 1798012, "decoder": 1788784, "Dz": 1005001, "Dy": 1013001},
        ),
    ],
)
def test_parameter_counts(name, arguments, expected):
    assert counts(made(name, **arguments)) == expected


# Closed forms.


def test_half_squared_error_is_a_sum_over_pixels_of_0_to_1():
    white, black = torch.ones(3, 2, 4, 4), -torch.ones(3, 2, 4, 4)
    torch.testing.assert_close(half_squared_error(white, black), torch.full((3,), 16.0))
    torch.testing.assert_close(half_squared_error(white, white), torch.zeros(3))


def test_bernoulli_surprise_is_the_cross_entropy_of_torch():
    logits, x = torch.randn(5, 1, 3, 3), torch.rand(5, 1, 3, 3) * 2 - 1
    expected = nn.functional.binary_cross_entropy_with_logits(logits, (x + 1) / 2, reduction="none")
    torch.testing.assert_close(bernoulli_nll(logits, x), expected.sum((1, 2, 3)))
    assert bernoulli_nll(torch.full((1, 1, 1, 1), 1e4), torch.ones(1, 1, 1, 1)) == 0
    assert torch.isfinite(bernoulli_nll(torch.full((1, 1, 1, 1), 1e4), -torch.ones(1, 1, 1, 1)))


def gaussian_nll(mean, x, *, std):
    """(B,) -log p(x) in nats, every pixel of [0, 1] drawn from N(mean, std^2)."""
    return -torch.distributions.Normal((mean + 1) / 2, std).log_prob((x + 1) / 2).flatten(1).sum(1)


def test_divergence_against_monte_carlo():
    mean, log_variance = torch.tensor([[0.7, -1.2, 0.0]]), torch.tensor([[-1.0, 0.5, 0.0]])
    closed = kl_to_standard_normal(mean, log_variance)
    assert closed[0, 2] == 0
    q, p = torch.distributions.Normal(mean, (log_variance / 2).exp()), torch.distributions.Normal(0.0, 1.0)
    torch.manual_seed(0)
    z = q.sample((200_000,))
    difference = q.log_prob(z) - p.log_prob(z)
    error = difference.std(0) / math.sqrt(200_000)
    assert ((difference.mean(0) - closed).abs() <= 4 * error + 1e-6).all()


@pytest.mark.parametrize(
    ("objective", "weight"),
    [("bound", 1.0), ("notebook", 0.392), ("formula", 2.0), ("slide", -784.0), ("slide-weight", 0.0784)],
)
def test_the_weight_of_the_divergence_in_the_courses(objective, weight):
    """As the sources write it: a mean over pixels plus c times a mean over units of 1 + l - m^2 - e^l."""
    system = made("chollet-vae", objective=objective)
    assert system.beta == pytest.approx(weight)
    mean, log_variance = torch.randn(6, 2), torch.randn(6, 2)
    printed = (1 + log_variance - mean.square() - log_variance.exp()).mean(1)
    constants = {"bound": -1 / 784, "notebook": -5e-4, "formula": -2 / 784, "slide": 1.0, "slide-weight": -1e-4}
    constant = constants[objective]
    theirs = 784 * constant * printed
    torch.testing.assert_close(
        system.beta * kl_to_standard_normal(mean, log_variance).sum(1), theirs, rtol=1e-4, atol=1e-5
    )


class Fixed(nn.Module):
    """The same means and log-variances for every image."""

    def __init__(self, mean, log_variance):
        super().__init__()
        self.given = nn.Parameter(torch.tensor([[*mean, *log_variance]]))

    def forward(self, x):
        return self.given.expand(len(x), -1)


def code_drawing_vae(mean=(1.0, -2.0), log_variance=(-1.0, 0.6), **options):
    """A VAE whose codes are drawn in one way for every image, and whose decoder keeps what it is given."""
    seen = []

    def surprise(decoded, x):
        seen.append(decoded.detach())
        return (decoded.square() * 0.1).sum(1)

    system = VAE(
        Fixed(mean, log_variance), nn.Linear(2, 2), latent_dim=2, nll=surprise, to_image=nn.Identity(), **options
    )
    with torch.no_grad():
        system.decoder.weight.copy_(torch.eye(2))
        system.decoder.bias.zero_()
    return system, seen


@pytest.mark.parametrize(("slip", "deviations"), [(False, (-0.5, 0.3)), (True, (-1.0, 0.6))])
def test_codes_are_drawn_with_the_deviation_or_by_the_slip_with_the_variance(slip, deviations):
    """z = m + exp(l / 2) e; the slip is z = m + exp(l) e, beside the same divergence of a variance e^l in the loss."""
    system, seen = code_drawing_vae(bug_variance_as_std=slip)
    torch.manual_seed(0)
    (move,) = system.round(lambda stream: (torch.zeros(40_000, 1, 1, 2), None))
    torch.testing.assert_close(seen[0].mean(0), torch.tensor([1.0, -2.0]), atol=0.03, rtol=0)
    drawn = torch.tensor(deviations).exp()
    torch.testing.assert_close(seen[0].std(0), drawn, atol=0.02, rtol=0)
    mean, log_variance = torch.tensor([[1.0, -2.0]]), torch.tensor([[-1.0, 0.6]])
    in_the_loss = kl_to_standard_normal(mean, log_variance).sum()
    assert float(move.numbers["kl"]) == pytest.approx(float(in_the_loss), rel=1e-5)

    images = torch.zeros(20_000, 1, 1, 2)
    torch.testing.assert_close(system.encode(images, seed=1).std(0), drawn, atol=0.03, rtol=0)
    of_the_codes = kl_to_standard_normal(mean, 2 * torch.tensor([deviations]))
    torch.testing.assert_close(system.kl(images[:1]), of_the_codes)


@torch.no_grad()
@pytest.mark.parametrize("slip", [False, True])
def test_the_likelihood_does_not_depend_on_how_codes_are_drawn(slip):
    """p(x) = integral of N(z; 0, I) exp(-.1 |z|^2) dz = 1 / 1.2 for two units, whatever the codes are drawn from."""
    system, _ = code_drawing_vae((0.3, -0.2), (0.4, 0.2), bug_variance_as_std=slip)
    likelihood = system.log_likelihood(torch.zeros(20, 1, 1, 2), draws=20_000).exp().mean()
    assert float(likelihood) == pytest.approx(1 / 1.2, rel=0.03)


def test_the_slips_of_the_courses_are_played_only_when_asked_for():
    for name in ("chollet-vae", "smu-vae"):
        assert made(name).bug_variance_as_std is False
        assert made(name, bug_variance_as_std=True).bug_variance_as_std is True
    assert "bug_variance_as_std" not in {a.name for a in arguments(load_recipe("vae", RECIPES))}


def test_mnist_net_reads_pixels_as_the_slides_normalize_them_and_descends_plainly():
    function = load_recipe("mnist-net", RECIPES)
    for given, white, black in (({}, 2.8215, -0.4242), ({"normalize": False}, 1.0, 0.0)):
        recipe = build_recipe(function, DIGITS, resolve_arguments(function, given))
        pixels = recipe.system.C[:2](torch.tensor([1.0, -1.0]))
        assert pixels.tolist() == pytest.approx([white, black], abs=1e-4)
    optimizer = recipe.optimizers["classifier"](list(recipe.system.parameters()))
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["momentum"] == 0


def test_the_slides_sign_runs_away(tmp_path):
    with pytest.raises(DivergedError):
        train("chollet-vae", toy_data(28, 100), objective="slide", rounds=300, out=tmp_path, batch=8, quiet=True)


# Labels.


def test_unlabeled_images_get_the_extra_label():
    data = labeled(toy_data(8, 200), 5)
    told = data.mask_labels(20, seed=1)
    assert torch.equal(told.images, data.images)
    known = told.labels < 5
    assert int(known.sum()) == 20
    assert torch.equal(told.labels[known], data.labels[known])
    assert torch.equal(torch.bincount(told.labels[known]), torch.full((5,), 4))
    assert set(told.labels[~known].tolist()) == {5}
    assert not torch.equal(told.labels, data.mask_labels(20, seed=2).labels)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("aae-semi-supervised", {"n_labeled": 15}, "multiple of the 10 classes"),
        ("mnist-net", {"n_labeled": 5000}, "500 labeled images per class are needed, and class '0' has"),
        ("aae-labeled-prior", {"n_labeled": 5000}, "500 labeled images per class are needed"),
        ("aae-semi-supervised", {"affine_strength": 3}, "affine_strength"),
        ("aae", {"prior": "swiss-roll"}, "has 2 dimensions, the latent code 8: give --latent-dim 2"),
        ("aae", {"prior": "gaussian", "prior_std": 0}, "prior_std"),
    ],
)
def test_bad_input_stops_before_the_first_round(name, arguments, words, tmp_path):
    with pytest.raises(SparringError, match=words):
        train(name, labeled(toy_data(28, 300), 10), rounds=1, out=tmp_path, quiet=True, batch=8, **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [16, 17, 28, 32])
def test_the_convolutional_encoder_takes_images_from_16_pixels(size):
    network = networks.convolutional((3, size, size), 7, noise=0.3)
    assert network(torch.rand(4, 3, size, size) * 2 - 1).shape == (4, 7)
    spread = [
        layer.weight.detach().std() * layer.weight[0].numel() ** 0.5
        for layer in network
        if hasattr(layer, "in_channels")
    ]
    assert spread == pytest.approx([2**0.5] * 2, rel=0.05)
    assert float(network[-1].weight.detach().std()) == pytest.approx(0.01, rel=0.05)


def test_the_convolutional_encoder_refuses_smaller_images(tmp_path):
    with pytest.raises(SparringError, match="size is at least 16 pixels, not 12: give --size 16"):
        train("aae-semi-supervised", labeled(toy_data(12, 300), 10), rounds=1, out=tmp_path, encoder="convolutional")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["aae-clustering", "aae-reduction"])
def test_even_clusters_all_have_the_same_chance_and_styles_stay_as_they_are(name):
    function = load_recipe(name, RECIPES)
    spec = toy_data(28, 4).spec
    torch.manual_seed(0)
    system = build_recipe(
        function, spec, resolve_arguments(function, {"width": 16, "balance_clusters": True, "clusters": 5})
    ).system
    raw, balance_clusters = system.encoder
    with torch.no_grad():
        raw[-1].bias[:5] = torch.tensor([9.0, 0.0, -4.0, 2.0, 1.0])  # without it, the first has nearly every image
        raw[-1].weight[:5] *= torch.tensor([1e3, 5e3, 1e4, 2e4, 5e4])[:, None]
        balance_clusters.gain.fill_(3.0)
    x = torch.rand(400, 1, 28, 28) * 2 - 1
    before = raw.train()(x)
    after = balance_clusters.train()(before)
    torch.testing.assert_close(after[:, :5].mean(0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(after[:, :5].std(0, correction=0), torch.full((5,), 3.0), atol=0.05, rtol=0)
    assert torch.equal(after[:, 5:], before[:, 5:])
    shares = after[:, :5].argmax(1).bincount(minlength=5) / len(x)
    assert float(shares.min()) > 0.1
    plain = build_recipe(function, spec, resolve_arguments(function, {"width": 16})).system.encoder
    assert not any(isinstance(module, networks.BalancedLogits) for module in plain.modules())


@pytest.mark.parametrize(
    ("name", "arguments", "player"),
    [
        ("aae-semi-supervised", {}, "encoder"),
        ("aae-semi-supervised", {"encoder": "convolutional"}, "encoder"),
        ("aae-clustering", {"width": 16}, "encoder"),
        ("aae-clustering", {"width": 16, "encoder": "convolutional"}, "encoder"),
        ("aae-reduction", {}, "encoder"),
        ("aae-labeled-reduction", {"encoder": "convolutional"}, "encoder"),
        ("mlp-classifier", {}, "C"),
        ("mnist-net", {}, "C"),
    ],
)
def test_distortion_comes_before_what_reads_images_and_nowhere_else(name, arguments, player):
    function = load_recipe(name, RECIPES)
    spec = toy_data(28, 4, classes=10).spec
    amounts = {
        amount: [
            (part, module.amount)
            for part, module in build_recipe(
                function, spec, resolve_arguments(function, arguments | {"affine_strength": amount})
            ).system.named_modules()
            if isinstance(module, Distortion)
        ]
        for amount in (0.0, 0.7)
    }
    assert amounts == {0.0: [], 0.7: [(f"{player}.0", 0.7)]}


@pytest.mark.parametrize(
    "name", ["mnist-net", "mlp-classifier", "aae-supervised", "aae-semi-supervised", "aae-labeled-prior"]
)
def test_labels_asked_for_where_there_are_none(name, tmp_path):
    with pytest.raises(SparringError, match="requires labels and the data has none"):
        train(name, toy_data(28, 300), rounds=1, out=tmp_path, quiet=True, batch=8)


def test_a_prior_needs_a_component_for_each_class():
    with pytest.raises(SparringError, match="10 components and the data 3 classes"):
        labeled_prior_aae(classes=3)


# Systems.


def encoder(outputs):
    return networks.encoder(SHAPE, 32, outputs)


def labeled_prior_aae(classes=10):
    return LabeledPriorAAE(
        encoder(2),
        networks.decoder(2, 32, SHAPE),
        networks.discriminator(2 + classes + 1, 32),
        prior=priors.gaussian_mixture(),
        classes=classes,
        game=game("non-saturating"),
    )


def semi_supervised_aae(kind=SemiSupervisedAAE, classes=4, latent_dim=3):
    counted = {"clusters": classes} if kind is ClusteringAAE else {"classes": classes}
    return kind(
        encoder(classes + latent_dim),
        networks.decoder(classes + latent_dim, 32, SHAPE),
        networks.discriminator(latent_dim, 32),
        networks.discriminator(classes, 32),
        **counted,
        prior=priors.gaussian(latent_dim),
        game=game("non-saturating"),
    )


def reduction_aae(kind=ReductionAAE, classes=4, distance=6.0):
    counted = {"clusters": classes} if kind is ReductionAAE else {"classes": classes}
    return kind(
        encoder(classes + 2),
        nn.Linear(classes, 2, bias=False),
        networks.decoder(2, 32, SHAPE),
        networks.discriminator(2, 32),
        networks.discriminator(classes, 32),
        **counted,
        prior=priors.gaussian(2),
        game=game("non-saturating"),
        min_distance=distance,
    )


def test_each_label_gets_codes_of_its_own_component():
    torch.manual_seed(0)
    system = labeled_prior_aae()
    y = torch.arange(11).repeat(200)
    drawn = system.prior_samples_for(y)
    centers = 1.4 * torch.stack([(0.2 * math.pi * torch.arange(10)).cos(), (0.2 * math.pi * torch.arange(10)).sin()], 1)
    for k in range(10):
        torch.testing.assert_close(drawn[y == k].mean(0), centers[k], atol=0.15, rtol=0)
    nearest = torch.cdist(drawn[y == 10], centers).argmin(1)
    assert len(nearest.unique()) == 10  # the unlabeled entry: anywhere
    asked = system.sample_latents(500, labels=7)
    torch.testing.assert_close(asked.mean(0), centers[7], atol=0.1, rtol=0)


def moves_of(system, feed):
    """The moves of one round that nobody answers: each loss where the weights are."""
    return list(system.round(feed))


def feed_of(x, y=None):
    return lambda stream: (x, y)


def test_the_discriminator_of_codes_is_told_the_label():
    """Wrong labels, nothing else changed, change its loss."""
    torch.manual_seed(0)
    system = labeled_prior_aae()
    with torch.no_grad():
        for p in system.D.parameters():
            p.normal_(0, 0.3)
    x, y = torch.rand(8, *SHAPE) * 2 - 1, torch.arange(8)
    losses = []
    for told in (y, y.flip(0)):
        torch.manual_seed(1)
        losses.append([m.loss.item() for m in moves_of(system, feed_of(x, told))])
    assert losses[0][0] == losses[1][0]  # reconstruction does not look at labels
    assert losses[0][1] != losses[1][1]
    assert losses[0][2] != losses[1][2]


def test_semi_supervised_losses_against_the_papers_words():
    torch.manual_seed(0)
    system = semi_supervised_aae()
    x, y = torch.rand(8, *SHAPE) * 2 - 1, torch.arange(8) % 4
    torch.manual_seed(5)
    moves = moves_of(system, feed_of(x, y))
    assert [m.player for m in moves] == ["autoencoder", "discriminators", "encoder", "classifier"]
    out = system.encoder(x)
    kinds, style = out[:, :4].softmax(1), out[:, 4:]
    painted = system.decoder(torch.cat([kinds, style], 1))
    torch.testing.assert_close(moves[0].loss, ((painted - x) / 2).pow(2).sum((1, 2, 3)).mean() / 2)
    torch.manual_seed(5)
    drawn_y, drawn_z = (system.draw_rows(p.draw, 8) for p in (system.category_prior, system.prior))
    bce = nn.functional.binary_cross_entropy_with_logits
    one, zero = torch.ones(8, 1), torch.zeros(8, 1)
    expected = bce(system.Dy(drawn_y), one) + bce(system.Dy(kinds), zero)
    expected = expected + bce(system.Dz(drawn_z), one) + bce(system.Dz(style), zero)
    torch.testing.assert_close(moves[1].loss, expected)
    torch.testing.assert_close(moves[2].loss, bce(system.Dy(kinds), one) + bce(system.Dz(style), one))
    torch.testing.assert_close(moves[3].loss, nn.functional.cross_entropy(out[:, :4], y))


def test_clustering_is_semi_supervision_without_the_labels():
    torch.manual_seed(0)
    system, told = semi_supervised_aae(ClusteringAAE), semi_supervised_aae()
    told.load_state_dict(system.state_dict())
    x, y = torch.rand(8, *SHAPE) * 2 - 1, torch.arange(8) % 4
    losses = []
    for one in (system, told):
        torch.manual_seed(5)
        losses.append([m.loss.item() for m in moves_of(one, feed_of(x, y))])
    assert losses[0] == losses[1][:3]
    assert torch.equal(system.sample_latents(8)[:, :4], torch.eye(4).repeat(2, 1))


def test_style_and_class_are_separate_inputs_of_the_supervised_decoder():
    torch.manual_seed(0)
    system = SupervisedAAE(
        encoder(3),
        networks.decoder(4 + 3, 32, SHAPE),
        networks.discriminator(3, 32),
        prior=priors.gaussian(3),
        classes=4,
        game=game("non-saturating"),
    )
    with torch.no_grad():
        for p in system.parameters():
            p.normal_(0, 0.3)
    x = torch.rand(4, *SHAPE) * 2 - 1
    code = torch.cat([torch.eye(4), system.encode(x)], 1)
    painted = system.decoder(code).detach()
    torch.testing.assert_close(system.reconstruct(x, labels=[0, 1, 2, 3]), painted)
    torch.testing.assert_close(system.decode(system.encode(x)), painted)  # each class in turn
    assert not torch.equal(system.reconstruct(x, labels=2), system.reconstruct(x, labels=1))
    (styles,) = system.traversals().values()
    assert styles.shape == (8, 4, 3)
    assert torch.equal(styles[:, 0], styles[:, 3])
    with pytest.raises(SparringError, match="label 4 is out of range"):
        system.sample(3, labels=4)


def test_crowded_heads_are_pushed_apart_and_distant_ones_left_alone():
    system = reduction_aae(distance=2.0)
    with torch.no_grad():
        system.heads.weight.copy_(torch.tensor([[0.0, 1.0, 10.0, 10.0], [0.0, 0.0, 0.0, 5.0]]))
    assert system.repulsion().item() == pytest.approx(1.0)  # one pair, at distance 1, lacks 1
    system.repulsion().backward()
    assert system.heads.weight.grad[0].tolist() == pytest.approx([1.0, -1.0, 0.0, 0.0])
    codes = system.sample_latents(4)
    style = system.prior.draw(make_generator("sample", 0), 4)
    torch.testing.assert_close(codes, system.heads.weight.T.detach() + style)


# Convergence in seconds.


def blobs(classes=4, count=512):
    """Images of one bright quarter each: classes that anybody can tell apart."""
    g = make_generator("blobs")
    y = torch.arange(count) % classes
    pixels = torch.randint(0, 60, (count, *SHAPE), generator=g)
    for k, (top, left) in enumerate([(0, 0), (0, 2), (2, 0), (2, 2)]):
        pixels[y == k, :, top : top + 2, left : left + 2] += 180
    return Dataset("blobs", pixels.to(torch.uint8), y, tuple("abcd"))


def play(system, streams, rounds, lr=2e-3, batch=64):
    """Adam whose rate falls to 0, from PyTorch's initial weights (N(0, .01^2) is for wide layers); the average."""
    for layer in system.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()

    def falling(r):
        return {"lr": lr * (1 - (r - 1) / rounds)}

    judge = Referee(
        system,
        streams,
        batch=batch,
        optimizers={player: partial(torch.optim.Adam, lr=lr, betas=(0.5, 0.999)) for player in system.players},
        schedules=dict.fromkeys(system.players, falling),
        ema_decay=0.95,
        precision="fp32",
    )
    for _ in range(rounds):
        judge.play()
    return judge.ema_system


def few(data, count=4):
    return {"unlabeled": data, "labeled": data.labeled_subset(count, 0).repeated(64)}


@pytest.mark.parametrize("make", [semi_supervised_aae, partial(reduction_aae, LabeledReductionAAE)])
def test_four_labels_are_enough_for_four_clear_classes(make):
    torch.manual_seed(0)
    data = blobs()
    system = play(make(), few(data), 300)
    assert float((system.classify(to_float(data.images)).argmax(1) == data.labels).float().mean()) > 0.98


def test_a_class_asked_for_is_painted():
    """The supervised decoder with a style of one number: bright quarters are where the label says."""
    torch.manual_seed(0)
    system = SupervisedAAE(
        encoder(1),
        networks.decoder(4 + 1, 32, SHAPE),
        networks.discriminator(1, 32),
        prior=priors.gaussian(1),
        classes=4,
        game=game("non-saturating"),
    )
    made = play(system, {"train": blobs()}, 300).sample(40)  # each class in turn
    quarters = torch.stack([made[:, 0, r : r + 2, c : c + 2].mean((1, 2)) for r in (0, 2) for c in (0, 2)], 1)
    assert float((quarters.argmax(1) == torch.arange(40) % 4).float().mean()) > 0.9


def test_clusters_are_found_without_labels():
    """Of four kinds at least three are told apart (seeds 0 to 3: three, three, three, four); chance tells none."""
    torch.manual_seed(0)
    data = blobs()
    system = play(semi_supervised_aae(ClusteringAAE, classes=16), {"train": data}, 400)
    found = system.cluster(to_float(data.images)).argmax(1)
    right = sum(int(torch.bincount(data.labels[found == k]).max()) for k in found.unique())
    assert right / len(data) > 0.7


@pytest.mark.parametrize(("prior", "reached"), [(priors.gaussian(2), 0.01), (priors.swiss_roll(), 0.1)])
def test_the_codes_come_to_follow_the_prior(prior, reached):
    """Energy distance between codes and prior; .7 and 1.4 before training, .002 for two draws of the prior."""
    torch.manual_seed(0)
    system = AAE(
        networks.encoder(SHAPE, 64, 2),
        networks.decoder(2, 64, SHAPE),
        networks.discriminator(2, 64),
        prior=prior,
        game=game("non-saturating"),
    )
    noise = Dataset(
        "noise", torch.randint(0, 256, (1000, *SHAPE), dtype=torch.uint8, generator=make_generator("noise"))
    )
    x = to_float(noise.images)
    assert energy(system.encode(x), system.sample_latents(1000)) > 0.5
    system = play(system, {"train": noise}, 600)
    assert energy(system.encode(x), system.sample_latents(1000)) < reached


def test_a_prior_of_the_users_own_is_played_and_sampled():
    def ring(g, n):
        return nn.functional.normalize(torch.randn(n, 2, generator=g))

    torch.manual_seed(0)
    system = AAE(
        networks.encoder(SHAPE, 16, 2),
        networks.decoder(2, 16, SHAPE),
        networks.discriminator(2, 16),
        prior=priors.from_sampler(ring, 2),
        game=game("non-saturating"),
    )
    shown = play(system, {"train": blobs()}, 5)
    torch.testing.assert_close(shown.sample_latents(7, seed=3).norm(dim=1), torch.ones(7))
    assert torch.equal(shown.sample(7, seed=3), shown.decode(shown.sample_latents(7, seed=3)))
    assert not shown.traversals()


def energy(a, b):
    """Szekely and Rizzo 2013: 2 E|a - b| - E|a - a'| - E|b - b'|."""
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())


def test_a_linear_autoencoder_learns_what_principal_components_can():
    """A linear one with a code of 3 comes to the reconstruction error of 3 principal components."""
    data, x = plane_of(3)
    torch.manual_seed(0)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    system = Autoencoder(flat, nn.Sequential(nn.Linear(3, 16), nn.Unflatten(1, SHAPE)), latent_dim=3)
    system = play(system, {"train": data}, 800, lr=0.03, batch=512)
    left = half_squared_error(system.reconstruct(x), x).mean()
    variances = torch.linalg.eigvalsh(((x.flatten(1) + 1) / 2).T.cov(correction=0))
    assert float(left) == pytest.approx(float(variances[:-3].sum() / 2), rel=0.02)


def plane_of(directions):
    """1024 Gaussian images of 16 pixels that vary in a few directions, and a little in all."""
    g = make_generator("plane")
    span = torch.randn(directions, 16, generator=g) * torch.tensor([[40.0], [30.0], [22.0]])[:directions]
    values = 128 + torch.randn(1024, directions, generator=g) @ span / 3 + 15 * torch.randn(1024, 16, generator=g)
    data = Dataset("plane", values.round().clamp(0, 255).to(torch.uint8).view(1024, *SHAPE))
    return data, to_float(data.images)


def test_a_linear_vae_comes_to_the_optimum_of_probabilistic_pca():
    """Tipping and Bishop 1999, eq. 8 with W of eq. 15: there the bound is the likelihood (Lucas et al. 2019)."""
    k, (data, x) = 3, plane_of(3)
    variances = torch.linalg.eigvalsh(((x.flatten(1) + 1) / 2).T.double().cov(correction=0))
    left = variances[:-k].mean()
    best = -(16 * math.log(2 * math.pi) + variances[-k:].log().sum() + (16 - k) * left.log() + 16) / 2

    torch.manual_seed(0)
    system = VAE(
        nn.Sequential(nn.Flatten(), nn.Linear(16, 2 * k)),
        nn.Sequential(nn.Linear(k, 16), nn.Unflatten(1, SHAPE)),
        latent_dim=k,
        nll=partial(gaussian_nll, std=float(left.sqrt())),
        to_image=nn.Identity(),
    )
    played = play(system, {"train": data}, 1500, lr=0.05, batch=1024)
    bound = played.log_likelihood(x, draws=1).mean()
    likelihood = played.log_likelihood(x, draws=200).mean()
    assert float(bound) == pytest.approx(float(best), abs=0.05)
    assert float(likelihood) == pytest.approx(float(best), abs=0.03)
    assert (played.kl(x).mean(0) > 0.5).all()  # no unit is asleep
    mean, drawn = played.encode(x), played.encode(x, seed=1)
    torch.testing.assert_close(drawn.var(0), torch.ones(3), rtol=0.1, atol=0)  # codes of all images: N(0, 1)
    assert (mean.var(0) < 0.97).all()
    assert torch.equal(drawn, played.encode(x, seed=1))


def test_importance_weights_come_to_the_likelihood_where_it_is_known():
    """x = z + noise in one pixel: p(x) = N(0, 1 + s^2); an encoder that is a little off gives it with many codes."""
    std = 0.5

    class Off(nn.Module):
        def forward(self, x):
            pixel = (x.flatten(1) + 1) / 2
            return torch.cat([0.7 * pixel, torch.full_like(pixel, math.log(0.3))], 1)

    class Same(nn.Module):
        def forward(self, z):
            return (2 * z - 1).view(-1, 1, 1, 1)

    system = VAE(Off(), Same(), latent_dim=1, nll=partial(gaussian_nll, std=std), to_image=nn.Identity())
    system.register_parameter("w", nn.Parameter(torch.zeros(1)))
    x = 2 * torch.linspace(-1.5, 1.5, 9).view(-1, 1, 1, 1) - 1
    known = torch.distributions.Normal(0.0, math.sqrt(1 + std**2)).log_prob((x.flatten() + 1) / 2)
    torch.testing.assert_close(system.log_likelihood(x, draws=20_000), known, atol=0.02, rtol=0)
    assert float(system.log_likelihood(x.repeat(300, 1, 1, 1), draws=1).mean()) < float(known.mean()) - 0.05


def test_held_out_digits_lie_in_clusters_while_training(tmp_path):
    data = labeled(toy_data(28, 200), 10).hold_out(0.3)
    run = train(
        "aae-clustering",
        data,
        rounds=2,
        width=16,
        batch=10,
        eval_every=1,
        out=tmp_path,
        quiet=True,
        balance_clusters=True,
    )
    errors = [m for m in run.read("metrics") if m["name"] == "clustering error"]
    assert [m["round"] for m in errors] == [0, 1, 2]
    assert errors[0]["n"] == len(data.held_out)
    assert errors[-1]["value"] == clustering_error(run.system(), data, "held_out").value
    page = report(run, data=data).read_text()
    assert f"{100 * errors[-1]['value']:.2f} % of {errors[0]['n']} held-out images are assigned to a cluster of" in page
    assert "Clustering error" in page
    assert "Clustering error on held-out images over the rounds" in page


def test_a_system_that_has_both_classes_and_clusters_is_examined_in_classes(tmp_path):
    data = labeled(toy_data(28, 200), 10).hold_out(0.3)
    run = train("aae-labeled-reduction", data, rounds=2, width=16, batch=10, n_labeled=10, out=tmp_path, quiet=True)
    assert all(run.system().supports(ability) for ability in ("classify", "cluster"))
    errors = {m["name"] for m in run.read("metrics") if "floor" not in m}
    assert errors == {"classification error"}
    page = report(run, data=data).read_text()
    assert "Classification error" in page
    assert "Clustering error" not in page


@pytest.mark.slow
def test_a_held_out_digit_is_named(tmp_path):
    """mnist-net on 5,000 digits: above 90 % of the held-out ones after a few seconds."""
    run = train("mnist-net", "digits", rounds=250, out=tmp_path, quiet=True, ema_decay=0.9)
    errors = [m for m in run.read("metrics") if m["name"] == "classification error"]
    assert errors[-1]["value"] < 0.1 < errors[0]["value"]
