"""The names of players and of the numbers that their moves log.

Log, report and health monitor refer to players and numbers by name. These tables are the names that the systems of the
library use; a system of yours may have others, which are logged and plotted without an explanation.
"""

from __future__ import annotations

PLAYERS: dict[str, str] = {
    "discriminator": "scores images or latent codes",
    "discriminators": "two discriminators, which are updated together",
    "critic": "scores images, without a fixed scale (Wasserstein)",
    "generator": "generates images",
    "encoder": "maps images to latent codes that follow the prior",
    "autoencoder": "reconstructs its input",
    "translators": "map images of one domain to the other",
    "classifier": "predicts classes",
    "regressor": "predicts the growth of cells",
}
"""Player -> what it does."""

NUMBERS: dict[str, str] = {
    # Of every move.
    "loss": "the loss that the player minimizes",
    "gradient": "norm of its gradient",
    # Mean scores.
    "real": "mean score of real images",
    "fake": "mean score of generated images",
    "prior": "mean score of codes from the prior",
    "code": "mean score of codes of images",
    "distance": "mean score of real images minus that of generated images",
    # Penalties.
    "gradient_penalty": "gradient penalty, without its weight",
    "gradient_penalties": "sum of the gradient penalties, without their weights",
    "ortho": "orthogonal penalty on the generator's weights, without its weight",
    "repulsion": "penalty on cluster centroids that are closer than the minimum distance",
    # Parts of a loss.
    "nll": "-log p(image | code), in nats",
    "nll_features": "half the squared difference of the features of images and reconstructions, sum over the features",
    "kl": "KL divergence of the codes from the prior, in nats",
    "reconstruction": "half the squared reconstruction error of an image",
    "category": "adversarial loss of the categorical part of the code",
    "style": "adversarial loss of the style part of the code",
    "information": "lower bound of the mutual information of codes and images, in nats",
    "adversarial": "adversarial loss, without the other terms",
    "cycle": "mean absolute cycle-consistency error, pixels in [-1, 1], sum of both directions",
    "l1": "mean absolute difference of the generator's output and its target, pixels in [-1, 1]",
    "identity": "mean absolute change of an image that is already in the target domain",
    "a": "loss of the discriminator of domain a",
    "b": "loss of the discriminator of domain b",
    "manifold": "mean of 1 - cos of the codes of a molecule at two concentrations, without its weight",
    "nll_keys": "cross-entropy of the keys of a fingerprint, mean over the keys, in nats",
    "nll_concentration": "squared error of the logarithm of the concentration",
    # Classes.
    "class_loss": "cross-entropy of the classes of labeled images",
    "class_loss_real": "cross-entropy of the classes of real images",
    "class_loss_fake": "cross-entropy of the classes of generated images",
    "accuracy": "fraction of the batch that is classified correctly",
    # Augmentation.
    "augment_p": "probability of each augmentation of the discriminator's images",
}
"""Logged number -> its meaning."""
