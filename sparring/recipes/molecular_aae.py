"""Molecular fingerprints conditioned on growth inhibition of cancer cells: Kadurin et al. 2017."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.errors import SparringError
from sparring.recipes.arguments import Batch, EmaDecay, Rate
from sparring.recipes.recipe import Measured, Recipe, recipe

if TYPE_CHECKING:
    from sparring.data.dataset import Dataset, Spec

Manifold = Annotated[
    float, Field(ge=0, allow_inf_nan=False, description="weight of 1 - cos between a molecule's codes at two doses")
]


@recipe(
    paper="Kadurin et al. 2017, The cornucopia of meaningful leads, Oncotarget 8, 10883-10890; their aae_v3.py",
    measured=Measured(
        data="nci",
        rounds=20_000,
        minutes=2,
        result="a reconstruction error of .051 a cell (the mean molecule: .110)",
        options="--lr 0.003",
    ),
    modality="molecules",
)
def molecular_aae(
    data: "Spec",
    *,
    latent_dim: Annotated[
        int, Field(ge=2, le=1024, description="length of the latent code without the growth neuron")
    ] = 4,
    manifold: Manifold = 0.0,
    batch: Batch = 64,
    lr: Rate = 0.01,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """An adversarial autoencoder of 166 MACCS keys and a concentration; one neuron of the code is the cell growth.

    Data: `nci` (5,000 molecules shipped with RDKit, with synthetic growth values), or a file of SMILES with your
    measurements. The authors' measurements (NCI-60, MCF-7 cells) are not included. Their code pre-trains the encoder
    with the manifold loss and then drops it; here `--manifold` is its weight in all rounds, and there is no
    pre-training. Each move uses its own batch. `system.screen` ranks molecules by the output for a given growth.

    At the published learning rate the six units of the discriminator tend to die within some thousand rounds: its loss
    stays at 1.386 and the codes are no longer matched to the prior. At `--lr 0.003` this happens later.

    Measured (docs/results/autoencoders.md; seed 0, --lr 0.003): a reconstruction error of .051 a cell after 20,000
    rounds and 2 minutes on one CPU thread, where the mean molecule has .110; the codes are still far from the prior.
    """
    import torch

    from sparring import priors
    from sparring.losses import game
    from sparring.networks import molecular_aae as networks
    from sparring.systems.molecular_aae import MolecularAAE

    system = MolecularAAE(
        networks.trunk(),
        networks.head(latent_dim),
        networks.head(1),
        networks.decoder(latent_dim),
        networks.discriminator(latent_dim),
        prior=priors.gaussian(latent_dim),
        game=game("non-saturating"),
        manifold=manifold,
    )

    def initialize(dataset: "Dataset") -> None:
        if dataset.values is None:
            raise SparringError(
                f"'{dataset.name}' has no concentration and growth: give --data nci, or a file of SMILES"
            )
        system.set_growth_percentiles(dataset.values[:, 1])

    return Recipe(
        system=system,
        optimizers=dict.fromkeys(system.players, partial(torch.optim.Adam, lr=lr)),
        batch=batch,
        rounds=500_000,
        ema_decay=ema_decay,
        precision="fp32",
        prepare=initialize,
    )
