"""CSC321 (Toronto), lecture 12: inverted labels (real 0, fake 1), real and generated images in one batch."""

from typing import TYPE_CHECKING

from sparring.recipes.arguments import Adam, Batch, EmaDecay, GANOptions, Latent, MLPOptions, Noise
from sparring.recipes.recipe import Recipe, recipe

if TYPE_CHECKING:
    from sparring.data.dataset import Spec


@recipe(paper="CSC321, lecture 12; game: Goodfellow et al. 2014, arXiv 1406.2661", size=28)
def csc321_mlp(
    data: "Spec",
    *,
    latent_dim: Latent = 100,
    noise: Noise = "normal",
    batch: Batch = 128,
    layers: MLPOptions = MLPOptions(output="sigmoid"),
    adam: Adam = Adam(2e-4, 1e-3),
    ema_decay: EmaDecay = 0.999,
    options: GANOptions = GANOptions(real_label=0.0, fake_label=1.0, half_d_loss=True, joint_batch=True),
) -> Recipe:
    """Fully connected GAN of the lecture: pixels in [0, 1], sigmoid output of G, LeakyReLU .2.

    D's loss is the mean over one joint batch of real and generated images, half the sum of the two means. The lecture
    says that real 0 / fake 1 works better; the last layer of D is symmetric, so nothing should change: try
    --real-label 1 --fake-label 0.

    | the lecture | here | why |
    |---|---|---|
    | no optimizer, batch or length | Adam, 2e-4 (D) and 1e-3 (G), 128, 20,000 rounds | 2e-4 for both loses classes |
    | no criterion named | cross-entropy of logits | its D ends without a sigmoid |

    Measured (docs/results/mnist.md; seed 0, one CPU thread, --no-half-d-loss, which hardly affects Adam):
    FD-lenet-mnist@10000 365 on MNIST after 20,000 rounds in 3 minutes, where real images score 3.1.
    """
    G, D = layers.networks(latent_dim, data.shape, generator=[300], discriminator=[300, 100], slope=0.2)
    system = options.make_gan(G, D, latent_dim=latent_dim, noise=noise)
    system.caveats += layers.caveats
    return Recipe(
        system=system,
        optimizers=adam.optimizers(),
        batch=batch,
        rounds=20_000,
        ema_decay=ema_decay,
    )
