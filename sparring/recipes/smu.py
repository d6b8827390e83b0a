"""PyTorch versions of Chollet's GAN and VAE from an SMU course (CS 8321)."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.errors import SparringError, require_size
from sparring.recipes.arguments import (
    Batch,
    Beta1,
    CriticSteps,
    EmaDecay,
    GANOptions,
    GpWeight,
    Latent,
    LatentLength,
    Noise,
    Rate,
)
from sparring.recipes.chollet import RMSprop
from sparring.recipes.recipe import Measured, Recipe, recipe, variant
from sparring.recipes.vae import Objective, VarianceAsDeviation, kl_weight, variational

if TYPE_CHECKING:
    from sparring.data.dataset import Spec


@recipe(
    paper="SMU, notebook GansWithTorch, first GAN; after Chollet 2017",
    size=32,
    measured=Measured(
        data="mnist",
        rounds=2_000,
        minutes=7,
        result="FD-lenet-mnist@10000 52 (real 2.3)",
        options="--size 32 --batch 64",
    ),
)
def smu_frogs(
    data: "Spec",
    *,
    latent_dim: Latent = 32,
    noise: Noise = "normal",
    batch: Batch = 250,
    bug_sigmoid: Annotated[
        bool, Field(description="bug of the least-squares notebook: squared errors of D's sigmoid")
    ] = False,
    rmsprop: RMSprop = RMSprop(),
    ema_decay: EmaDecay = 0.999,
    options: GANOptions = GANOptions(
        real_label_noise=-0.05, fake_label_noise=0.05, half_d_loss=True, resample_noise=False
    ),
) -> Recipe:
    """Bilinear upsampling in G, batch norm after LeakyReLU in D; any multiple of 16 pixels.

    | the notebook | here | why |
    |---|---|---|
    | all weights of D within [-1, 1] | both players' gradients | the meaning of Keras's clipvalue; --clip weights |
    | a weight decay of 1e-8 | learning rates / (1 + 1e-8 rounds) | the meaning of Keras's decay; --decay weights |
    | labels plus .05 U(0, 1), up to 1.05 | real: 1 - .05 U(0, 1) | a probability; --real-label-noise 0.05 |
    | step of G, then D | D, then G | algorithm 1; both use one batch of fakes |
    | samples of the live weights | of the EMA weights | less noise in the samples; --ema-decay 0 |

    Measured (docs/results; seed 0, --batch 64): on MNIST at 32x32 FD-lenet-mnist@10000 52 after 2,000 rounds in 7
    minutes, where real images score 2.3; on frogs no frog was recognizable after 4,000.
    """
    from sparring.networks import init, smu

    if bug_sigmoid and options.game != "least-squares":
        raise SparringError(
            f"--bug-sigmoid is for the least-squares game: the {options.game} game needs unbounded scores"
        )
    return Recipe(
        system=options.make_gan(
            init.smu(smu.generator(latent_dim, data.channels, data.size)),
            init.smu(smu.discriminator(data.channels, data.size, sigmoid=bug_sigmoid)),
            latent_dim=latent_dim,
            noise=noise,
        ),
        optimizers=rmsprop.optimizers(alpha=0.99),
        schedules=rmsprop.schedules(),
        batch=batch,
        rounds=10_000,
        ema_decay=ema_decay,
    )


@variant(
    smu_frogs,
    paper="SMU, notebook GansWithTorch, second GAN; game: Mao et al. 2017, arXiv 1611.04076",
    size=32,
    measured=Measured(
        data="mnist",
        rounds=2_000,
        minutes=5,
        result="FD-lenet-mnist@10000 60 (real 2.3)",
        options="--size 32 --batch 64",
    ),
    options=GANOptions(game="least-squares", real_label_noise=-0.05, fake_label_noise=0.05, resample_noise=False),
)
def smu_frogs_lsgan() -> None:
    """smu-frogs with the least-squares game; its differences from the notebook apply here, too.

    | the notebook | here | why |
    |---|---|---|
    | squared errors of D's sigmoid | of unbounded scores | as in Mao et al. 2017; --bug-sigmoid |
    | G's squared error | half of it | as in Mao et al. 2017; no effect with RMSprop |

    With the sigmoid the gradient vanishes where D is confident: the saturation that least squares should prevent (their
    section 3). In the notebook's log D has won after 490 epochs: its loss is .0009, G's is .95.

    Measured (docs/results/mnist.md; seed 0, --size 32 --batch 64): FD-lenet-mnist@10000 60 on MNIST after 2,000 rounds
    in 5 minutes, where real images score 2.3.
    """


@recipe(
    paper="SMU, notebook GansWithTorch, third GAN; game: Gulrajani et al. 2017, arXiv 1704.00028",
    size=32,
    measured=Measured(
        data="mnist",
        rounds=1_000,
        minutes=10,
        result="FD-lenet-mnist@10000 60 (real 2.3)",
        options="--size 32 --batch 64",
    ),
)
def smu_frogs_wgan_gp(
    data: "Spec",
    *,
    latent_dim: Latent = 32,
    noise: Noise = "normal",
    batch: Batch = 250,
    lr: Rate = 1e-4,
    beta1: Beta1 = 0.0,
    critic_steps: CriticSteps = 5,
    gp_weight: GpWeight = 10.0,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """WGAN-GP with the generator of smu-frogs and a critic with layer norm; Adam with beta 2 = .9.

    This part of the notebook starts from PyTorch's default initial weights, and was continued to 1,580 epochs of 20
    critic moves. Its generator step reuses the critic's last codes, ours draws new ones (algorithm 1).

    Measured (docs/results/mnist.md; seed 0, --size 32 --batch 64): FD-lenet-mnist@10000 60 on MNIST after 1,000 rounds
    in 10 minutes, where real images score 2.3.
    """
    import torch

    from sparring.networks import smu
    from sparring.systems.wgan_gp import WGANGP

    adam = partial(torch.optim.Adam, lr=lr, betas=(beta1, 0.9))
    system = WGANGP(
        smu.generator(latent_dim, data.channels, data.size),
        smu.critic(data.channels, data.size),
        latent_dim=latent_dim,
        noise=noise,
        critic_steps=critic_steps,
        gp_weight=gp_weight,
    )
    return Recipe(
        system=system,
        optimizers=dict.fromkeys(system.players, adam),
        batch=batch,
        rounds=6_320,
        ema_decay=ema_decay,
    )


@recipe(paper="SMU CS 8321, notebook 07a; Kingma and Welling 2014", size=28)
def smu_vae(
    data: "Spec",
    *,
    latent_dim: LatentLength = 2,
    batch: Batch = 32,
    lr: Rate = 1e-4,
    objective: Objective = "bound",
    bug_variance_as_std: VarianceAsDeviation = False,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """A smaller convolutional VAE with a 2-D latent code; kernel sizes of its decoder are multiples of the stride.

    The rounds are the notebook's 15 epochs. Its bugs are those of chollet-vae: `--objective notebook
    --bug-variance-as-std` reproduces it.

    Measured (docs/results/autoencoders.md; seed 0, --objective notebook --lr 0.001, from PyTorch's initial weights):
    a loss of .1847 in the notebook's scale on held-out digits after 25,300 rounds and 16 minutes on one CPU thread; the
    notebook, with its bug, has .1889 on its training digits.
    """
    import torch

    from sparring.networks import smu as networks

    require_size("smu-vae", data.size, [28], others="vae, aae")
    return variational(
        networks.vae_encoder(latent_dim, data.channels),
        networks.vae_decoder(latent_dim, data.channels),
        latent_dim=latent_dim,
        beta=kl_weight(objective, data, latent_dim),
        bug_variance_as_std=bug_variance_as_std,
        optimizer=partial(torch.optim.Adam, lr=lr, eps=1e-7),
        batch=batch,
        rounds=25_300,
        ema_decay=ema_decay,
    )
