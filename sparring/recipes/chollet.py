"""The GAN and the VAE of Chollet 2017, Deep Learning with Python, sections 8.5 and 8.4."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from sparring.errors import require_size
from sparring.recipes.arguments import Batch, EmaDecay, GANOptions, Latent, LatentLength, Noise, Rate
from sparring.recipes.optimizers import with_gradient_clipping, with_weight_clipping
from sparring.recipes.recipe import Measured, Recipe, recipe
from sparring.recipes.schedules import inverse_time, schedule, warmup
from sparring.recipes.vae import Objective, VarianceAsDeviation, kl_weight, variational

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
            "discriminator": schedule(lr=inverse_time(self.discriminator_lr, DECAY)),
            "generator": schedule(lr=inverse_time(self.generator_lr, DECAY)),
        }


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
    rmsprop: RMSprop = RMSprop(),
    ema_decay: EmaDecay = 0.999,
    options: GANOptions = GANOptions(
        real_label=0.0,
        fake_label=1.0,
        real_label_noise=0.05,
        fake_label_noise=-0.05,
        half_d_loss=True,
        joint_batch=True,
    ),
) -> Recipe:
    """Large kernels, no batch norm in G, dropout in D, noisy inverted labels, one joint batch; 32x32 only.

    | the book | here | why |
    |---|---|---|
    | real pixels in [0, 1], G's tanh in [-1, 1] | both in [-1, 1] | the book's own first trick; --bug-unit-data |
    | labels plus .05 U(0, 1), up to 1.05 | generated: 1 - .05 U(0, 1) | a probability; --fake-label-noise 0.05 |
    | images in fixed order | shuffled in every epoch | standard practice |
    | samples of the live weights | of the EMA weights | less noise in the samples; --ema-decay 0 |

    With --bug-unit-data D gets the same inputs as in the book, and samples are clamped to [-1, 1].

    Measured (docs/results/mnist.md; seed 0, --width 64): on MNIST at 32x32 FD-lenet-mnist@10000 159 after 2,500 rounds
    and 27 minutes on one CPU thread of a busy machine, where real images score 2.3.
    """
    from sparring.networks import chollet

    require_size("chollet-frogs", data.size, [32], others="smu-frogs, dcgan, r3gan")
    return Recipe(
        system=options.make_gan(
            chollet.generator(latent_dim, width, data.channels, unit_range=bug_unit_data),
            chollet.discriminator(width, data.channels, unit_range=bug_unit_data),
            latent_dim=latent_dim,
            noise=noise,
        ),
        optimizers=rmsprop.optimizers(alpha=0.9),
        schedules=rmsprop.schedules(),
        batch=batch,
        rounds=10_000,
        ema_decay=ema_decay,
    )


@recipe(paper="Chollet 2017, Deep Learning with Python, section 8.4; Kingma and Welling 2014", size=28)
def chollet_vae(
    data: "Spec",
    *,
    latent_dim: LatentLength = 2,
    batch: Batch = 16,
    lr: Rate = 1e-3,
    lr_warmup_rounds: Annotated[int, Field(ge=0, description="rounds of linear learning-rate warm-up")] = 500,
    objective: Objective = "bound",
    bug_variance_as_std: VarianceAsDeviation = False,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """A convolutional VAE with a 2-D latent code.

    | the book, and SMU's slides | here | why |
    |---|---|---|
    | codes: mean + exp(log_variance) noise | exp(log_variance / 2) | as in the KL divergence; --bug-variance-as-std |
    | loss: mean of pixels + 5e-4 mean of units | the ELBO | 5e-4 lowers the KL weight; --objective notebook |
    | slides: no factors 1/2; 1e-4 for 5e-4; wrong sign | the ELBO | bugs; --objective formula, slide-weight, slide |
    | full learning rate from the first step | warm-up | else 5 of 6 trials diverged; --lr-warmup-rounds 0 |

    The slide's line of code adds 1e-4 to the divergence where the notebook multiplies by -5e-4: `slide` is the printed
    version, in which the constant has no effect; `slide-weight` is the probable intention.

    Measured (docs/results/autoencoders.md; seed 0, --objective notebook; a decoder shifted by one pixel from
    Keras's, a longer EMA warm-up): after 33,750 rounds in 13 minutes a loss of .1799 in the book's scale on
    held-out digits; the book, with its bug, has .1801.
    """
    import torch

    from sparring.networks import chollet as networks

    require_size("chollet-vae", data.size, [28], others="vae, aae")
    return variational(
        networks.vae_encoder(latent_dim, data.channels),
        networks.vae_decoder(latent_dim, data.channels),
        latent_dim=latent_dim,
        beta=kl_weight(objective, data, latent_dim),
        bug_variance_as_std=bug_variance_as_std,
        optimizer=partial(torch.optim.RMSprop, lr=lr, alpha=0.9),
        schedule=schedule(lr=warmup(lr, lr_warmup_rounds)),
        batch=batch,
        rounds=33_750,
        ema_decay=ema_decay,
    )
