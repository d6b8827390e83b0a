"""GANs for CIFAR-10 frogs: Chollet's (Deep Learning with Python, 8.5) and the SMU course's PyTorch versions of it."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from sparring.errors import SparringError
from sparring.recipes.arguments import Batch, EmaDecay, GANOptions, Latent, Noise, Rate
from sparring.recipes.recipe import Measured, Recipe, recipe, require_size
from sparring.recipes.schedules import inverse_time_decay, with_gradient_clipping, with_weight_clipping
from sparring.recipes.wasserstein import Beta1, CriticSteps, GpWeight

if TYPE_CHECKING:
    from sparring.data.dataset import Spec
    from sparring.referee import MakeOptimizer, Schedule

CLIP, DECAY = 1.0, 1e-8


@dataclass(frozen=True)
class RMSprop:
    """RMSprop with Keras's `clipvalue=1.0` and `decay=1e-8`, as in Keras or as translated by the SMU notebook."""

    discriminator_lr: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, description="D's learning rate")] = 8e-4
    generator_lr: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, description="G's learning rate")] = 4e-4
    clip: Annotated[
        Literal["gradients", "weights", "none"],
        Field(description="clip to [-1, 1]: gradients of both players (Keras), or weights of D (SMU)"),
    ] = "gradients"
    decay: Annotated[
        Literal["rate", "weights", "none"],
        Field(description="apply 1e-8 as learning-rate decay, 1 / (1 + 1e-8 rounds) (Keras), or as weight decay (SMU)"),
    ] = "rate"

    def optimizers(self, *, alpha: float) -> "dict[str, MakeOptimizer]":
        """Player -> function that makes its optimizer; alpha is the decay of the squared gradient (Keras: rho)."""
        import torch

        rmsprop = partial(torch.optim.RMSprop, alpha=alpha, weight_decay=DECAY if self.decay == "weights" else 0.0)
        discriminator: MakeOptimizer = partial(rmsprop, lr=self.discriminator_lr)
        generator: MakeOptimizer = partial(rmsprop, lr=self.generator_lr)
        if self.clip == "gradients":
            discriminator, generator = (
                with_gradient_clipping(discriminator, CLIP),
                with_gradient_clipping(generator, CLIP),
            )
        if self.clip == "weights":
            discriminator = with_weight_clipping(discriminator, CLIP)
        return {"discriminator": discriminator, "generator": generator}

    def schedules(self) -> "dict[str, Schedule]":
        """Player -> its learning-rate schedule, if the rate decays."""
        if self.decay != "rate":
            return {}
        return {
            "discriminator": inverse_time_decay(self.discriminator_lr, DECAY),
            "generator": inverse_time_decay(self.generator_lr, DECAY),
        }


RMSPROP = RMSprop()
"""The defaults of both sources."""


@recipe(
    paper="Chollet 2017, Deep Learning with Python, section 8.5",
    size=32,
    measured=Measured(
        data="mnist",
        rounds=2_500,
        minutes=27,
        result="FD-lenet-mnist@10000 159 (real 2.3)",
        options="--size 32 --width 64",
    ),
)
def chollet_frogs(
    data: "Spec",
    *,
    latent_dim: Latent = 32,
    noise: Noise = "normal",
    width: Annotated[int, Field(gt=0, description="channels of D's layers; G has as many, then twice")] = 128,
    batch: Batch = 20,
    bug_unit_data: Annotated[
        bool, Field(description="bug of the original: real pixels in [0, 1], generated ones in [-1, 1]")
    ] = False,
    rmsprop: RMSprop = RMSPROP,
    ema_decay: EmaDecay = 0.999,
    options: GANOptions = GANOptions(
        real_label=0.0, fake_label=1.0, label_noise=0.05, half_d_loss=True, joint_batch=True
    ),
) -> Recipe:
    """Large kernels, no batch norm in G, dropout in D, noisy inverted labels, one joint batch; 32x32 only.

    | the book | here | why |
    |---|---|---|
    | real pixels in [0, 1], G's tanh in [-1, 1] | both in [-1, 1] | the book's own first trick; --bug-unit-data |
    | labels plus .05 U(0, 1), up to 1.05 | noise moves targets inward | 1.05 is not a probability; no option |
    | images in fixed order | shuffled in every epoch | standard practice |
    | samples of the live weights | of the EMA weights | less noise in the samples; --ema-decay 0 |

    With --bug-unit-data D gets the same inputs as in the book, and samples are clamped to [-1, 1].

    Measured (docs/results/mnist.md; seed 0, --width 64): on MNIST at 32x32 FD-lenet-mnist@10000 159 after 2,500 rounds
    and 27 minutes on one CPU thread of a busy machine, where real images score 2.3.
    """
    from sparring.networks import chollet

    require_size(data, "chollet-frogs", 32, "smu-frogs, dcgan, r3gan")
    return Recipe(
        system=options.make_gan(
            chollet.generator(latent_dim, width, data.channels, unit=bug_unit_data),
            chollet.discriminator(width, data.channels, unit=bug_unit_data),
            latent_dim=latent_dim,
            noise=noise,
        ),
        optimizers=rmsprop.optimizers(alpha=0.9),
        schedules=rmsprop.schedules(),
        batch=batch,
        rounds=10_000,
        ema_decay=ema_decay,
    )


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
    rmsprop: RMSprop = RMSPROP,
    ema_decay: EmaDecay = 0.999,
    options: GANOptions = GANOptions(label_noise=0.05, half_d_loss=True, resample_noise=False),
) -> Recipe:
    """Bilinear upsampling in G, batch norm after LeakyReLU in D; any multiple of 16 pixels.

    | the notebook | here | why |
    |---|---|---|
    | all weights of D within [-1, 1] | both players' gradients | the meaning of Keras's clipvalue; --clip weights |
    | a weight decay of 1e-8 | learning rates / (1 + 1e-8 rounds) | the meaning of Keras's decay; --decay weights |
    | labels plus .05 U(0, 1), up to 1.05 | noise moves targets inward | 1.05 is not a probability; no option |
    | step of G, then D | D, then G | algorithm 1; both use one batch of fakes |
    | samples of the live weights | of the EMA weights | less noise in the samples; --ema-decay 0 |

    Measured (docs/results; seed 0, --batch 64): on MNIST at 32x32 FD-lenet-mnist@10000 52 after 2,000 rounds in 7
    minutes, where real images score 2.3; on frogs no frog was recognizable after 4,000.
    """
    from sparring.networks import smu

    return Recipe(
        system=options.make_gan(
            smu.init(smu.generator(latent_dim, data.channels, data.size)),
            smu.init(smu.discriminator(data.channels, data.size)),
            latent_dim=latent_dim,
            noise=noise,
        ),
        optimizers=rmsprop.optimizers(alpha=0.99),
        schedules=rmsprop.schedules(),
        batch=batch,
        rounds=10_000,
        ema_decay=ema_decay,
    )


@recipe(
    paper="SMU, notebook GansWithTorch, second GAN; game: Mao et al. 2017, arXiv 1611.04076",
    size=32,
    measured=Measured(
        data="mnist",
        rounds=2_000,
        minutes=5,
        result="FD-lenet-mnist@10000 60 (real 2.3)",
        options="--size 32 --batch 64",
    ),
)
def smu_frogs_lsgan(
    data: "Spec",
    *,
    latent_dim: Latent = 32,
    noise: Noise = "normal",
    batch: Batch = 250,
    bug_sigmoid: Annotated[bool, Field(description="bug of the original: squared errors of D's sigmoid")] = False,
    rmsprop: RMSprop = RMSPROP,
    ema_decay: EmaDecay = 0.999,
    options: GANOptions = GANOptions(game="least-squares", label_noise=0.05, resample_noise=False),
) -> Recipe:
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
    from sparring.networks import smu

    if bug_sigmoid and options.game != "least-squares":
        raise SparringError(
            f"--bug-sigmoid is for the least-squares game: the {options.game} game needs unbounded scores"
        )
    return Recipe(
        system=options.make_gan(
            smu.init(smu.generator(latent_dim, data.channels, data.size)),
            smu.init(smu.discriminator(data.channels, data.size, sigmoid=bug_sigmoid)),
            latent_dim=latent_dim,
            noise=noise,
        ),
        optimizers=rmsprop.optimizers(alpha=0.99),
        schedules=rmsprop.schedules(),
        batch=batch,
        rounds=10_000,
        ema_decay=ema_decay,
    )


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
    return Recipe(
        system=WGANGP(
            smu.generator(latent_dim, data.channels, data.size),
            smu.critic(data.channels, data.size),
            latent_dim=latent_dim,
            noise=noise,
            critic_steps=critic_steps,
            gp_weight=gp_weight,
        ),
        optimizers={"critic": adam, "generator": adam},
        batch=batch,
        rounds=6_320,
        ema_decay=ema_decay,
    )
