"""The MNIST model of the first GAN paper, from its published configuration (mnist.yaml)."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.recipes.arguments import Batch, EmaDecay, GANOptions, Latent, NImages, Noise, Rate, first
from sparring.recipes.recipe import Recipe, recipe
from sparring.recipes.schedules import exponential_decay, schedule, warmup

if TYPE_CHECKING:
    from sparring.data.dataset import Dataset, Spec


@recipe(paper="Goodfellow et al. 2014, Generative Adversarial Nets, arXiv 1406.2661", size=28)
def goodfellow_mlp(
    data: "Spec",
    *,
    latent_dim: Latent = 100,
    noise: Noise = "unit-uniform",
    batch: Batch = 100,
    lr: Rate = 0.1,
    momentum: Annotated[float, Field(ge=0, lt=1, description="SGD's momentum at the start")] = 0.5,
    final_momentum: Annotated[float, Field(ge=0, lt=1, description="SGD's momentum from round 125,000 on")] = 0.7,
    n_images: NImages = 50_000,
    ema_decay: EmaDecay = 0.999,
    options: GANOptions = GANOptions(half_d_loss=True),
) -> Recipe:
    """Maxout discriminator with dropout, ReLU generator with sigmoid output, SGD with increasing momentum.

    The learning rate is divided by 1.000004 per update, down to 1e-5 of its initial value.

    | mnist.yaml | here | why |
    |---|---|---|
    | simultaneous steps on one batch of fakes | D, then G on new fakes | algorithm 1 of the paper |
    | 50,000 images of MNIST, 10,000 for validation | 50,000 of ours, 6,000 held out | --n-images 0: all |
    | samples of the live weights | of the EMA weights | less noise in the samples; --ema-decay 0 |

    Not trained to the end here. At the published learning rate the discriminator dominates in the first 14,000 rounds;
    --label-flip-prob 0.1 prevents this, but the samples contain few digits (docs/results/mnist.md; with --noise normal
    --n-images 0).
    """
    import torch

    from sparring.networks import gan as networks

    G = networks.generator(latent_dim, 1200, data.shape)
    D = networks.discriminator(data.shape, 240, 5)

    def initialize(dataset: "Dataset") -> None:
        networks.init_bias_to_marginals(G, dataset.images)

    system = options.make_gan(G, D, latent_dim=latent_dim, noise=noise)
    settings = schedule(
        lr=exponential_decay(lr, 1.000004, floor=1e-5), momentum=warmup(final_momentum, 125_000, start=momentum)
    )
    return Recipe(
        system=system,
        optimizers=dict.fromkeys(system.players, partial(torch.optim.SGD, lr=lr, momentum=momentum)),
        schedules=dict.fromkeys(system.players, settings),
        batch=batch,
        rounds=125_000,
        ema_decay=ema_decay,
        prepare=initialize,
        streams=first(n_images),
    )
