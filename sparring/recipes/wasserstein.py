"""Wasserstein GANs: Arjovsky et al. 2017 with clipped weights, Gulrajani et al. 2017 with a gradient penalty."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.recipes.arguments import Batch, EmaDecay, Latent, Noise, Rate, Width
from sparring.recipes.recipe import Recipe, recipe, require_size

if TYPE_CHECKING:
    from sparring.data.dataset import Spec

CriticSteps = Annotated[int, Field(ge=1, description="critic moves per round")]
GpWeight = Annotated[float, Field(ge=0, allow_inf_nan=False, description="weight of the slope penalty (lambda)")]
Beta1 = Annotated[float, Field(ge=0, lt=1, description="Adam's momentum")]


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
    clip: Annotated[float, Field(gt=0, description="the critic's weights stay within this of 0")] = 0.01,
    clip_first: Annotated[bool, Field(description="clip before the critic's step, as the authors' code does")] = False,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """DCGAN's networks, RMSprop, clipped critic weights, and the authors' warm start of the critic.

    Weights are clipped after each of the critic's steps, as algorithm 1 has it; the authors' code clips before.

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
    """The MNIST networks and initial weights of the paper's code, without any norm; Adam with beta 2 = .9; 28x28 only.

    The slope that is held to 1 is that of pixels in [0, 1], as in their code (which learns from 50,000 of MNIST's
    images). The preset's rate is for 200,000 rounds.

    Measured (docs/results/mnist.md; seed 0, --width 32 --lr 0.0005, with PyTorch's initial weights and slopes of pixels
    in [-1, 1]): on MNIST FD-lenet-mnist@10000 88 after 1,500 rounds and 9 minutes of one CPU thread, where real images
    score 3.1; at the preset's rate 425 after 2,500.
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
    lr_decay_rounds: Annotated[
        int, Field(ge=1, description="rounds over which the rate falls linearly to 0")
    ] = 100_000,
    critic_steps: CriticSteps = 5,
    generator_batch: Annotated[int, Field(ge=1, description="images of G's step, for each of the critic's")] = 2,
    gp_weight: GpWeight = 10.0,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """The CIFAR-10 ResNet, unconditional: batch norm in G, none in the critic; Adam (0, .9), rate falling to 0.

    Initial weights, noise on real images (uniform between two of the 256 levels) and a generator's batch of twice the
    critic's are the authors'. Their code shows images normalized by the statistics of their own batch, here by running
    ones. 32x32 only.

    Measured (docs/results/mnist.md; seed 0, --width 16 --lr 0.001 --lr-decay-rounds 900 --ema-decay 0.99
    --generator-batch 1, with PyTorch's initial weights): on MNIST FD-lenet-mnist@10000 96 after 900 rounds and 10
    minutes of one CPU thread, where real images score 2.3.
    """
    import torch

    from sparring.networks import wgan_gp
    from sparring.systems.wgan_gp import WGANGP

    require_size(data, "wgan-gp-resnet", 32, "wgan, r3gan")

    def falling(round_number: int) -> dict[str, float]:
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
        schedules={"critic": falling, "generator": falling},
        batch=batch,
        rounds=100_000,
        ema_decay=ema_decay,
    )
