"""VAE/GAN (Larsen et al. 2016): its losses, who receives which, its networks, and what a run of it can do."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import toy_data
from PIL import Image
from torch import nn

import sparring
from sparring.cli import main
from sparring.data.dataset import Spec
from sparring.errors import SparringError
from sparring.losses import game, unit_gaussian_nll
from sparring.networks import vae_gan as networks
from sparring.recipes.recipe import build_recipe, resolve_arguments
from sparring.recipes.vae_gan import vae_gan
from sparring.systems.vae_gan import VAEGAN

LATENT, B = 2, 5


def test_the_loss_of_features_is_the_density_of_a_unit_gaussian_without_its_constant():
    mean, x = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    density = torch.distributions.Normal(mean, 1.0).log_prob(x).flatten(1).sum(1)
    constant = 12 * torch.distributions.Normal(0.0, 1.0).log_prob(torch.zeros(1))
    torch.testing.assert_close(unit_gaussian_nll(mean, x), constant - density)


def small(gamma=0.3, name="minimax", **options):
    """A VAE/GAN of images (1, 2, 2) in float64, with batch norm in every network."""
    torch.manual_seed(0)
    return VAEGAN(
        nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2 * LATENT)),
        nn.Sequential(nn.Linear(LATENT, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 4), nn.Unflatten(1, (1, 2, 2))),
        nn.Sequential(nn.Flatten(), nn.Linear(4, 7), nn.Tanh()),
        nn.Sequential(nn.BatchNorm1d(7), nn.Tanh(), nn.Linear(7, 1)),
        latent_dim=LATENT,
        gamma=gamma,
        game=game(name),
        **options,
    ).double()


def algorithm_1(system, x, noise, z_p, gamma, *, joint_batch):
    """The three losses of algorithm 1 at one set of weights, written with torch.distributions and log-sigmoids."""
    mean, log_variance = system.encoder(x).split(LATENT, 1)
    q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    l_prior = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    x_tilde, x_p = system.decoder(mean + q.stddev * noise), system.decoder(z_p)
    if joint_batch:
        features = system.T(torch.cat([x, x_tilde, x_p]))
        real, recon, fake = system.D(features).split(B)
    else:
        features = torch.cat([system.T(images) for images in (x, x_tilde, x_p)])
        real, recon, fake = (system.D(rows) for rows in features.split(B))
    l_llike = 0.5 * (features[:B] - features[B : 2 * B]).pow(2).sum(1).mean()
    of_fakes = (F.logsigmoid(-recon).mean() + F.logsigmoid(-fake).mean()) / 2
    l_gan = F.logsigmoid(real).mean() + of_fakes
    return {"encoder": l_prior + l_llike, "generator": gamma * l_llike + of_fakes, "discriminator": -l_gan}


def draws(monkeypatch, system):
    """The two draws of noise of the next round."""
    noise, z_p = torch.randn(2, B, LATENT, dtype=torch.float64)
    upcoming = iter([noise, z_p])
    monkeypatch.setattr(system, "noise", lambda n: next(upcoming))
    return noise, z_p


@pytest.mark.parametrize("joint_batch", [True, False])
def test_each_network_descends_its_line_of_algorithm_1_at_the_weights_before_the_round(monkeypatch, joint_batch):
    """Three steps of gradient descent equal one simultaneous step of all networks, each on its own loss."""
    system, reference = small(joint_batch=joint_batch), small()
    x = torch.randn(B, 1, 2, 2, dtype=torch.float64)
    noise, z_p = draws(monkeypatch, system)
    losses = algorithm_1(reference, x, noise, z_p, 0.3, joint_batch=joint_batch)
    expected = {}
    for player, names in system.players.items():
        weights = {f"{n}.{k}": w for n in names for k, w in getattr(reference, n).named_parameters()}
        gradients = torch.autograd.grad(losses[player], [*weights.values()], retain_graph=True)
        expected |= {k: w.detach() - 0.1 * g for (k, w), g in zip(weights.items(), gradients, strict=True)}

    order = []
    for move in system.round(lambda stream: (x, None)):
        order.append(move.player)
        torch.testing.assert_close(move.loss, losses[move.player])
        weights = [w for name in system.players[move.player] for w in getattr(system, name).parameters()]
        gradients = torch.autograd.grad(move.loss, weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= 0.1 * gradient
    assert order == ["encoder", "generator", "discriminator"]
    assert dict(system.named_parameters()).keys() == expected.keys()
    for name, weight in system.named_parameters():
        torch.testing.assert_close(weight.detach(), expected[name], rtol=1e-9, atol=1e-12)


def test_the_encoder_hears_nothing_of_the_game_and_the_discriminator_nothing_of_the_reconstruction(monkeypatch):
    """Scaling the scores changes the encoder's loss not at all; scaling gamma not the discriminator's."""
    losses = {}
    for scale, gamma in ((1.0, 0.3), (5.0, 0.3), (1.0, 40.0)):
        system = small(gamma)
        with torch.no_grad():
            system.D[-1].weight.mul_(scale)
        torch.manual_seed(1)
        x = torch.randn(B, 1, 2, 2, dtype=torch.float64)
        draws(monkeypatch, system)
        losses[scale, gamma] = [float(move.loss.detach()) for move in system.round(lambda stream, x=x: (x, None))]
    plain, loud, faithful = losses.values()
    assert [a == b for a, b in zip(plain, loud, strict=True)] == [True, False, False]
    assert [a == b for a, b in zip(plain, faithful, strict=True)] == [True, False, True]


def test_at_equilibrium_the_discriminator_has_the_loss_of_a_plain_game():
    assert small().equilibrium() == {"discriminator": pytest.approx(2 * np.log(2))}
    assert small(name="least-squares").equilibrium() == {"discriminator": pytest.approx(0.25)}


def test_it_has_no_likelihood_of_images():
    assert not small().supports("log_likelihood")
    assert small().supports("kl")


def numbers_of_weights(*layers):
    """Of layers (kernel, inputs, outputs) without bias, with batch norm."""
    return sum(kernel * inputs * outputs + 2 * outputs for kernel, inputs, outputs in layers)


def test_the_networks_have_the_weights_of_the_authors_code_at_64_pixels():
    def count(network):
        return sum(p.numel() for p in network.parameters())

    with torch.device("meta"):
        encoder = networks.encoder(128, 32, 3)
        decoder = networks.decoder(128, 32, 3)
        trunk, head = networks.trunk(32, 3), networks.head(32)
    blocks = numbers_of_weights((25, 3, 64), (25, 64, 128), (25, 128, 256), (64, 256, 1024))
    assert count(encoder) == blocks + 2 * (1024 * 128 + 128)
    blocks = numbers_of_weights((1, 128, 64 * 256), (25, 256, 256), (25, 256, 128), (25, 128, 32))
    assert count(decoder) == blocks + 25 * 32 * 3 + 3
    first = 25 * 3 * 32 + 32
    assert count(trunk) + count(head) == first + numbers_of_weights(
        (25, 32, 128), (25, 128, 256), (25, 256, 256), (64, 256, 512)
    ) + (512 + 1)
    assert len(trunk) == 9  # recon_depth=9


@pytest.mark.parametrize(("size", "side"), [(16, 2), (28, 4), (32, 4)])
def test_shapes_at_other_sizes(size, side):
    images = torch.rand(3, 2, size, size) * 2 - 1
    assert networks.encoder(5, 2, 2, size)(images).shape == (3, 10)
    assert networks.decoder(5, 2, 2, size)(torch.randn(3, 5)).shape == images.shape
    features = networks.trunk(2, 2)(images)
    assert features.shape == (3, 16, side, side)
    assert networks.head(2, size)(features).shape == (3, 1)
    with pytest.raises(SparringError, match="give --size 28"):
        networks.encoder(5, 2, 2, 29)


def test_initial_weights_are_uniform_within_their_bound():
    torch.manual_seed(0)
    layer = networks.trunk(4, 3)[2]
    assert float(layer.weight.detach().abs().max()) == pytest.approx((3 * 4 * 25) ** -0.5, rel=0.01)
    assert float(layer.weight.detach().std()) == pytest.approx((9 * 4 * 25) ** -0.5, rel=0.05)
    assert float(networks.encoder(3, 4, 3, 16)[-1].bias.detach().abs().max()) == 0


def test_gamma_and_the_game_are_arguments():
    with torch.device("meta"):
        made = build_recipe(vae_gan, Spec(1, 28, 28), resolve_arguments(vae_gan, {"gamma": "0.5", "game": "hinge"}))
    assert (made.system.gamma, made.system.game.name) == (0.5, "hinge")
    with pytest.raises(SparringError, match=r"gamma \(--gamma\) is -1"):
        resolve_arguments(vae_gan, {"gamma": -1})


def test_the_verbs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (120, 16, 16), dtype=np.uint8)
    np.save("toy.npy", pixels)
    Image.fromarray(pixels[0]).save("one.png")
    tiny = ["--width", "1", "--latent-dim", "3", "--batch", "8", "--size", "16", "--log-every", "1"]
    main(["train", "vae-gan", "--data", "toy.npy", *tiny, "--rounds", "2", "--threads", "1"])
    for line in ("sample 1 -n 4", "interpolate 1 --rows 2", "reconstruct 1 one.png --out pairs.png"):
        main(line.split())
    assert {file.name for file in tmp_path.glob("*.png")} == {
        "one.png",
        "pairs.png",
        "samples.png",
        "interpolation.png",
    }


def test_an_evaluation_measures_samples_reconstructions_and_codes():
    data = toy_data(16, 60)
    torch.manual_seed(0)
    small = {"width": 1, "latent_dim": 3}
    made = build_recipe(vae_gan, data.spec, resolve_arguments(vae_gan, small))
    found = sparring.evaluate(made.system, data, split="train", n=20)
    measured = {row.metric for row in found.measurements}
    assert {"FD", "reconstruction error", "blur ratio of reconstructions", "active units"} <= measured
    assert "log-likelihood" not in measured
