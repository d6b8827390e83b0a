"""The Wasserstein GAN with gradient penalty of Gulrajani et al. 2017."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.errors import require_size
from sparring.recipes.arguments import Batch, Beta1, CriticSteps, EmaDecay, GpWeight, Latent, Noise, Rate, Width
from sparring.recipes.recipe import Recipe, recipe
from sparring.recipes.schedules import linear_decay, schedule

if TYPE_CHECKING:
    from sparring.data.dataset import Spec


@recipe(paper="Gulrajani et al. 2017, arXiv 1704.00028; their gan_mnist.py", size=28)
def wgan_gp(
    data: "Spec",
    *,
    latent_dim: Latent = 128,
    noise: Noise = "normal",
    width: Width = 64,
    batch: Batch = 50,
    lr: Rate = 1e-4,
    beta1: Beta1 = 0.5,
    critic_steps: CriticSteps = 5,
    gp_weight: GpWeight = 10.0,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """WGAN-GP with the authors' MNIST networks, without normalization; Adam with beta 2 = .9; 28x28 only.

    The gradient norm is with respect to pixels in [0, 1], as in their code (which trains on 50,000 images). The
    default learning rate is for 200,000 rounds.

    Measured (docs/results/mnist.md; seed 0, --width 32 --lr 0.0005, with PyTorch's initial weights and gradients with
    respect to pixels in [-1, 1]): on MNIST FD-lenet-mnist@10000 88 after 1,500 rounds and 9 minutes on one CPU
    thread, where real images score 3.1; with the default learning rate 425 after 2,500.
    """
    import torch

    from sparring.networks import wgan_gp
    from sparring.systems.wgan_gp import WGANGP

    require_size("wgan-gp", data.size, [28], others="wgan, r3gan")
    adam = partial(torch.optim.Adam, lr=lr, betas=(beta1, 0.9))
    system = WGANGP(
        wgan_gp.mnist_generator(latent_dim, width, data.channels),
        wgan_gp.mnist_critic(width, data.channels),
        latent_dim=latent_dim,
        noise=noise,
        critic_steps=critic_steps,
        gp_weight=gp_weight,
        unit_range=True,
    )
    return Recipe(
        system=system,
        optimizers=dict.fromkeys(system.players, adam),
        batch=batch,
        rounds=200_000,
        ema_decay=ema_decay,
    )


@recipe(paper="Gulrajani et al. 2017, arXiv 1704.00028, appendix F; their gan_cifar_resnet.py", size=32)
def wgan_gp_resnet(
    data: "Spec",
    *,
    latent_dim: Latent = 128,
    noise: Noise = "normal",
    width: Width = 128,
    batch: Batch = 64,
    lr: Rate = 2e-4,
    lr_decay_rounds: Annotated[int, Field(ge=1, description="rounds of linear learning-rate decay to 0")] = 100_000,
    critic_steps: CriticSteps = 5,
    generator_batch: Annotated[int, Field(ge=1, description="batch of G's step, as a multiple of --batch")] = 2,
    gp_weight: GpWeight = 10.0,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """WGAN-GP with the CIFAR-10 ResNet, unconditional, batch norm in G only; Adam (0, .9), decay to 0; 32x32 only.

    Initial weights, dequantization noise on real images and a generator batch of twice the critic's are the authors'.
    Their code samples with batch statistics, here with running ones.

    Measured (docs/results/mnist.md; seed 0, --width 16 --lr 0.001 --lr-decay-rounds 900 --ema-decay 0.99
    --generator-batch 1, with PyTorch's initial weights): on MNIST FD-lenet-mnist@10000 96 after 900 rounds and 10
    minutes on one CPU thread, where real images score 2.3.
    """
    import torch

    from sparring.networks import wgan_gp
    from sparring.systems.wgan_gp import WGANGP

    require_size("wgan-gp-resnet", data.size, [32], others="wgan, r3gan")

    adam = partial(torch.optim.Adam, lr=lr, betas=(0.0, 0.9))
    system = WGANGP(
        wgan_gp.resnet_generator(latent_dim, width, data.channels),
        wgan_gp.resnet_critic(width, data.channels),
        latent_dim=latent_dim,
        noise=noise,
        critic_steps=critic_steps,
        generator_batch=generator_batch,
        gp_weight=gp_weight,
        dequantize=True,
    )
    return Recipe(
        system=system,
        optimizers=dict.fromkeys(system.players, adam),
        schedules=dict.fromkeys(system.players, schedule(lr=linear_decay(lr, first=1, last=1 + lr_decay_rounds))),
        batch=batch,
        rounds=100_000,
        ema_decay=ema_decay,
    )
