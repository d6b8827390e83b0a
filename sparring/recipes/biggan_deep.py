"""BigGAN-deep (Brock et al. 2019, appendix B) at 32 to 256 pixels."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.recipes.arguments import Batch, Latent
from sparring.recipes.biggan import PAPER, Attention, BigGANOptions, OrthoWeight, Width, attention_within
from sparring.recipes.recipe import Recipe, recipe, require_classes

if TYPE_CHECKING:
    from sparring.data.dataset import Spec


@recipe(paper=f"{PAPER}, appendix B", size=128, classes=1000)
def biggan_deep(
    data: "Spec",
    *,
    latent_dim: Latent = 128,
    width: Width = 128,
    embed_dim: Annotated[int, Field(gt=0, description="length of the class embedding shared in G")] = 128,
    attention: Attention = 64,
    batch: Batch = 2048,
    ortho_weight: OrthoWeight = 1e-4,
    training: BigGANOptions = BigGANOptions(),
) -> Recipe:
    """BigGAN with bottleneck blocks, two per resolution, and the whole latent code in every batch norm.

    No public training of these networks to the paper's results is known, and none was tried here.
    """
    from sparring.networks import biggan_deep as networks

    classes, attention = require_classes(data, "biggan-deep"), attention_within(data, attention)
    return training.recipe(
        networks.Generator(
            latent_dim, width, data.channels, data.size, classes=classes, embed_dim=embed_dim, attention=attention
        ),
        networks.Discriminator(width, data.channels, data.size, classes=classes, attention=attention),
        latent_dim=latent_dim,
        classes=classes,
        ortho_weight=ortho_weight,
        batch=batch,
    )
