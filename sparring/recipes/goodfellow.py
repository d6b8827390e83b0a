"""The MNIST model of the first GAN paper, from its published configuration (mnist.yaml)."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.recipes.arguments import Average, Batch, Images, Latent, Noise, Rate, Rules, first
from sparring.recipes.recipe import Recipe, published

if TYPE_CHECKING:
    from sparring.data.dataset import Dataset, Spec


@published(paper="Goodfellow et al. 2014, Generative Adversarial Nets, arXiv 1406.2661", size=28)
def goodfellow_mlp(
    data: "Spec",
    *,
    latent: Latent = 100,
    noise: Noise = "unit-uniform",
    batch: Batch = 100,
    lr: Rate = 0.1,
    momentum: Annotated[float, Field(ge=0, lt=1, description="SGD's momentum at the start")] = 0.5,
    final_momentum: Annotated[float, Field(ge=0, lt=1, description="SGD's momentum from round 125,000 on")] = 0.7,
    images: Images = 50_000,
    average: Average = 0.999,
    rules: Rules = Rules(halved=True),
) -> Recipe:
    """Maxout discriminator with dropout against a ReLU generator with a sigmoid, SGD with rising momentum.

    The rate falls by 1.000004 per update, down to a hundred-thousandth of its start.

    | mnist.yaml | here | why |
    |---|---|---|
    | both players move at once, on one batch of fakes | D, then G on new fakes | algorithm 1 of the paper |
    | 50,000 images of MNIST, 10,000 for validation | 50,000 of ours, 6,000 held out | --images 0: all of ours |
    | live weights shown | a moving average | less noise in what is shown; --average 0 |

    Not trained to the end here. In its first 14,000 rounds the discriminator wins at the published rate; --flips 0.1
    keeps it from that, with few kinds of digits in the samples (docs/results/mnist.md; with --noise normal --images 0).
    """
    import torch

    from sparring.networks import mlp

    def settings(round_number: int) -> dict[str, float]:
        decayed = lr * max(1.000004**-round_number, 1e-5)
        return {"lr": decayed, "momentum": momentum + (final_momentum - momentum) * min(1.0, round_number / 125_000)}

    G = mlp.goodfellow_generator(latent, 1200, data.shape)
    D = mlp.goodfellow_discriminator(data.shape, 240, 5)

    def start(dataset: "Dataset") -> None:
        mlp.start_at_marginals(G, dataset.images)

    sgd = partial(torch.optim.SGD, lr=lr, momentum=momentum)
    return Recipe(
        system=rules.gan(G, D, latent=latent, noise=noise),
        optimisers={"discriminator": sgd, "generator": sgd},
        schedules={"discriminator": settings, "generator": settings},
        batch=batch,
        rounds=125_000,
        average=average,
        prepare=start,
        streams=first(images),
    )
