"""The MNIST model of the first GAN paper, from its published configuration (mnist.yaml)."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.recipes.arguments import Average, Batch, Latent, Noise, Rate, Rules
from sparring.recipes.recipe import Recipe, published

if TYPE_CHECKING:
    from sparring.data.dataset import Dataset, Spec


@published(paper="Goodfellow et al. 2014, Generative Adversarial Nets, arXiv 1406.2661", size=28)
def goodfellow_mlp(
    data: "Spec",
    *,
    latent: Latent = 100,
    noise: Noise = "normal",
    batch: Batch = 100,
    lr: Rate = 0.1,
    momentum: Annotated[float, Field(ge=0, lt=1, description="SGD's momentum at the start")] = 0.5,
    final_momentum: Annotated[float, Field(ge=0, lt=1, description="SGD's momentum from round 125,000 on")] = 0.7,
    average: Average = 0.999,
    rules: Rules = Rules(halved=True),
) -> Recipe:
    """Maxout discriminator with dropout against a ReLU generator with a sigmoid, SGD with rising momentum.

    The rate falls by 1.000004 per update, down to a hundred-thousandth of its start. The original updates both
    players at the same time; here they alternate, as the paper's algorithm 1 does.

    Not trained to the end here. In its first 14,000 rounds the discriminator wins at the published rate; --flips 0.1
    keeps it from that, with few kinds of digits in the samples (docs/results/mnist.md).
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
    )
