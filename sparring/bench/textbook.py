"""Training loops as in lectures and tutorials, the baseline of `sparring bench`.

Each is a generator that yields after every iteration. All read a torchvision-style data set with one transform per
image, compute in float32, and use PyTorch's default layouts and optimizer kernels. Networks and optimizer settings are
those of the recipe.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from torchvision import transforms

from sparring.data.dataset import Dataset

Batches = Iterator[tuple[Tensor, Tensor]]
Loop = Callable[[Any, Mapping[str, Optimizer], Mapping[str, Batches]], Iterator[None]]


class ImageDataset(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Single images as in torchvision's data sets: a PIL image, then a transform."""

    def __init__(self, data: Dataset, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images = data.images.permute(0, 2, 3, 1).squeeze(-1).numpy()
        self.labels = data.labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        label = 0 if self.labels is None else int(self.labels[index])
        return self.transform(Image.fromarray(self.images[index])), label


def batches(data: Dataset, batch: int, device: torch.device) -> Batches:
    """Endless shuffled batches on the device: images in [-1, 1] and labels."""
    steps: list[Callable[..., Any]] = []
    if data.augment is not None:  # CycleGAN: resize, crop, flip
        side = data.images.shape[-1]
        steps += [transforms.Resize(side * 286 // 256), transforms.RandomCrop(side), transforms.RandomHorizontalFlip()]
    gray = data.images.shape[1] == 1
    steps += [transforms.ToTensor(), transforms.Normalize((0.5,) * (1 if gray else 3), (0.5,) * (1 if gray else 3))]
    loader = DataLoader(ImageDataset(data, transforms.Compose(steps)), batch, shuffle=True, drop_last=True)
    while True:
        for x, y in loader:
            yield x.to(device), y.to(device)


def gan(system: Any, optimizers: Mapping[str, Optimizer], streams: Mapping[str, Batches]) -> Iterator[None]:
    """The standard GAN: binary cross-entropy, one step of D, one step of G."""
    G, D = system.G, system.D
    bce = nn.BCEWithLogitsLoss()
    for x, _ in streams["train"]:
        fake = G(_noise(len(x), system))
        real_score, fake_score = D(x), D(fake.detach())
        loss = bce(real_score, torch.ones_like(real_score)) + bce(fake_score, torch.zeros_like(fake_score))
        optimizers["discriminator"].zero_grad()
        loss.backward()
        optimizers["discriminator"].step()

        score = D(G(_noise(len(x), system)))
        loss = bce(score, torch.ones_like(score))
        optimizers["generator"].zero_grad()
        loss.backward()
        optimizers["generator"].step()
        yield


def wgan_gp(system: Any, optimizers: Mapping[str, Optimizer], streams: Mapping[str, Batches]) -> Iterator[None]:
    """Gulrajani et al. 2017, algorithm 1, line by line; the gradient is with respect to pixels in [0, 1]."""
    G, D = system.G, system.D
    while True:
        for _ in range(5):
            x, _ = next(streams["train"])
            fake = G(_noise(len(x), system)).detach()
            epsilon = torch.rand(len(x), 1, 1, 1, device=x.device)
            x_hat = (epsilon * x + (1 - epsilon) * fake).requires_grad_()
            (gradient,) = torch.autograd.grad(D(x_hat).sum(), x_hat, create_graph=True)
            penalty = (2 * gradient.flatten(1).norm(dim=1) - 1).square().mean()
            loss = D(fake).mean() - D(x).mean() + 10 * penalty
            optimizers["critic"].zero_grad()
            loss.backward()
            optimizers["critic"].step()

        loss = -D(G(_noise(len(x), system))).mean()
        optimizers["generator"].zero_grad()
        loss.backward()
        optimizers["generator"].step()
        yield


def biggan(system: Any, optimizers: Mapping[str, Optimizer], streams: Mapping[str, Batches]) -> Iterator[None]:
    """The class-conditional hinge game, four steps of D per step of G."""
    G, D = system.G, system.D
    while True:
        for _ in range(4):
            x, y = next(streams["train"])
            labels = torch.randint(system.classes, (len(x),), device=x.device)
            fake = G(_noise(len(x), system), labels).detach()
            loss = F.relu(1 - D(x, y)).mean() + F.relu(1 + D(fake, labels)).mean()
            optimizers["discriminator"].zero_grad()
            loss.backward()
            optimizers["discriminator"].step()

        labels = torch.randint(system.classes, (len(x),), device=x.device)
        loss = -D(G(_noise(len(x), system), labels), labels).mean()
        optimizers["generator"].zero_grad()
        loss.backward()
        optimizers["generator"].step()
        yield


def aae_semi_supervised(
    system: Any, optimizers: Mapping[str, Optimizer], streams: Mapping[str, Batches]
) -> Iterator[None]:
    """Makhzani et al. 2016, section 5: reconstruction, both discriminators, encoder against both, classifier."""
    encoder, decoder, Dz, Dy = system.encoder, system.decoder, system.Dz, system.Dy
    bce, classes = nn.BCEWithLogitsLoss(), system.classes

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        code = encoder(x)
        return code[:, :classes].softmax(1), code[:, classes:]

    def step(player: str, loss: Tensor) -> None:
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        loss.backward()
        optimizers[player].step()

    for x, _ in streams["unlabeled"]:
        y, z = encode(x)
        error = (decoder(torch.cat([y, z], 1)) - x) / 2  # of pixels in [0, 1]
        step("autoencoder", error.square().sum() / 2 / len(x))

        y, z = encode(x)
        prior_y = F.one_hot(torch.randint(classes, (len(x),), device=x.device), classes).float()
        prior_z = torch.randn_like(z)
        ones, zeros = x.new_ones(len(x), 1), x.new_zeros(len(x), 1)
        loss = bce(Dy(prior_y), ones) + bce(Dy(y.detach()), zeros)
        step("discriminators", loss + bce(Dz(prior_z), ones) + bce(Dz(z.detach()), zeros))

        y, z = encode(x)
        step("encoder", bce(Dy(y), ones) + bce(Dz(z), ones))

        x, labels = next(streams["labeled"])
        step("classifier", F.cross_entropy(encoder(x)[:, :classes], labels))
        yield


def cyclegan(system: Any, optimizers: Mapping[str, Optimizer], streams: Mapping[str, Batches]) -> Iterator[None]:
    """Zhu et al. 2017: adversarial, cycle and identity losses; then the discriminators, with pools of 50 images."""
    G, back, DA, DB = system.G, system.F, system.DA, system.DB
    pools: dict[str, list[Tensor]] = {"a": [], "b": []}

    def from_pool(fakes: Tensor, pool: list[Tensor]) -> Tensor:
        replayed = []
        for fake in fakes.detach():
            if len(pool) < 50:
                pool.append(fake)
            elif random.random() < 0.5:
                k = random.randrange(50)
                fake, pool[k] = pool[k], fake
            replayed.append(fake)
        return torch.stack(replayed)

    def is_real(score: Tensor) -> Tensor:
        return F.mse_loss(score, torch.ones_like(score))

    def is_fake(score: Tensor) -> Tensor:
        return F.mse_loss(score, torch.zeros_like(score))

    for (a, _), (b, _) in zip(streams["a"], streams["b"], strict=False):
        fake_b, fake_a = G(a), back(b)
        loss = is_real(DB(fake_b)) + is_real(DA(fake_a))
        loss = loss + 10 * (F.l1_loss(back(fake_b), a) + F.l1_loss(G(fake_a), b))
        loss = loss + 5 * (F.l1_loss(G(b), b) + F.l1_loss(back(a), a))
        optimizers["translators"].zero_grad()
        loss.backward()
        optimizers["translators"].step()

        replayed_a, replayed_b = from_pool(fake_a, pools["a"]), from_pool(fake_b, pools["b"])
        loss = (is_real(DA(a)) + is_fake(DA(replayed_a)) + is_real(DB(b)) + is_fake(DB(replayed_b))) / 2
        optimizers["discriminators"].zero_grad()
        loss.backward()
        optimizers["discriminators"].step()
        yield


def _noise(n: int, system: Any) -> Tensor:
    """(n, latent_dim) latent codes from the distribution that the system samples with."""
    uniform = system.noise_distribution == "uniform"
    shape, device = (n, system.latent_dim), system.device
    return 2 * torch.rand(shape, device=device) - 1 if uniform else torch.randn(shape, device=device)
