"""Wasserstein GANs: Arjovsky et al. 2017 with weight clipping, Gulrajani et al. 2017 with gradient penalty."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.recipes.arguments import Batch, EmaDecay, Latent, Noise, Rate, Width
from sparring.recipes.recipe import Recipe, recipe, require_size

if TYPE_CHECKING:
    from sparring.data.dataset import Spec

CriticSteps = Annotated[int, Field(ge=1, description="critic moves per round")]
GpWeight = Annotated[float, Field(ge=0, allow_inf_nan=False, description="weight of the gradient penalty (lambda)")]
Beta1 = Annotated[float, Field(ge=0, lt=1, description="beta 1 of Adam")]


@recipe(paper="Arjovsky et al. 2017, Wasserstein GAN, arXiv 1701.07875", size=64)
def wgan(
    data: "Spec",
    *,
    latent_dim: Latent = 100,
    noise: Noise = "normal",
    width: Width = 64,
    batch: Batch = 64,
    lr: Rate = 5e-5,
    critic_steps: CriticSteps = 5,
    warm_start: Annotated[int, Field(ge=1, description="critic moves in rounds 1 to 25 and in every 500th")] = 100,
    clip: Annotated[float, Field(gt=0, description="clip the critic's weights to +- this")] = 0.01,
    clip_first: Annotated[bool, Field(description="clip before the critic's step, as in the authors' code")] = False,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """WGAN with the networks of dcgan, RMSprop, weight clipping, and the authors' warm start of the critic.

    Weights are clipped after each critic step, as in algorithm 1; the authors' code clips before.

    Measured (docs/results/mnist.md; seed 0, --size 32 --width 32, about 26 minutes of CPU time): on MNIST
    FD-lenet-mnist@10000 134 after 10,000 rounds, where real images score 2.3.
    """
    import torch

    from sparring.networks import dcgan
    from sparring.systems.wgan import WGAN

    rmsprop = partial(torch.optim.RMSprop, lr=lr)
    return Recipe(
        system=WGAN(
            dcgan.generator(latent_dim, width, data.channels, data.size),
            dcgan.discriminator(width, data.channels, data.size),
            latent_dim=latent_dim,
            noise=noise,
            critic_steps=critic_steps,
            warm_start=warm_start,
            clip=clip,
            clip_first=clip_first,
        ),
        optimizers={"critic": rmsprop, "generator": rmsprop},
        batch=batch,
        rounds=100_000,
        ema_decay=ema_decay,
    )


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

    require_size(data, "wgan-gp", 28, "wgan, r3gan")
    adam = partial(torch.optim.Adam, lr=lr, betas=(beta1, 0.9))
    return Recipe(
        system=WGANGP(
            wgan_gp.mnist_generator(latent_dim, width, data.channels),
            wgan_gp.mnist_critic(width, data.channels),
            latent_dim=latent_dim,
            noise=noise,
            critic_steps=critic_steps,
            gp_weight=gp_weight,
            unit=True,
        ),
        optimizers={"critic": adam, "generator": adam},
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

    require_size(data, "wgan-gp-resnet", 32, "wgan, r3gan")

    def lr_decay(round_number: int) -> dict[str, float]:
        return {"lr": lr * max(0.0, 1 - (round_number - 1) / lr_decay_rounds)}

    adam = partial(torch.optim.Adam, lr=lr, betas=(0.0, 0.9))
    return Recipe(
        system=WGANGP(
            wgan_gp.resnet_generator(latent_dim, width, data.channels),
            wgan_gp.resnet_critic(width, data.channels),
            latent_dim=latent_dim,
            noise=noise,
            critic_steps=critic_steps,
            generator_batch=generator_batch,
            gp_weight=gp_weight,
            dequantize=True,
        ),
        optimizers={"critic": adam, "generator": adam},
        schedules={"critic": lr_decay, "generator": lr_decay},
        batch=batch,
        rounds=100_000,
        ema_decay=ema_decay,
    )
