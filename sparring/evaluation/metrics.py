"""The table of all metrics. To add one, write a function and a row; nothing else names metrics one by one.

The function of a metric of samples compares statistics of real images and samples, keyword-only `real=` and `fake=`.
Evaluation calls it for each set of samples and for sets of real images in place of the samples, which gives the
intervals, the floor and the light. Its result is a number, or a NamedTuple of which the row names a field. None means
that it cannot be computed for these images. The function of any other metric takes the `Context` of the evaluation
and returns measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from sparring.evaluation.classes import class_agreement, classification, clustering
from sparring.evaluation.disentanglement import disentanglement
from sparring.evaluation.domains import paired_errors, translation_errors
from sparring.evaluation.memorization import copied_images
from sparring.evaluation.parzen import parzen_window
from sparring.evaluation.reconstruction import (
    blur_of_reconstructions,
    code_error,
    distance_to_prior,
    latent_units,
    log_likelihood,
    reconstruction_error,
)
from sparring.evaluation.stacked import stacked_modes
from sparring.metrics.bins import chi_square_p, jensen_shannon, missing_share, ndb, total_variation
from sparring.metrics.blur import median_edge_ratio
from sparring.metrics.distances import frechet_distance, frechet_infinity, kernel_distance, prdc
from sparring.metrics.memorization import duplicates, effective_support
from sparring.metrics.spectrum import checkerboard_peak, checkerboard_ratio, high_frequency_ratio
from sparring.metrics.two_samples import classifier_test, one_nn_accuracy

if TYPE_CHECKING:
    from sparring.evaluation.features import Features
    from sparring.evaluation.panel import Panel

Inputs = Callable[["Panel", "Features"], dict[str, Any] | None]

FROM_FEATURES: Mapping[str, Inputs] = {
    "features": lambda panel, fake: {"real": panel.real.features, "fake": fake.features},
    "regions": lambda panel, fake: {"real": panel.regions(panel.real), "fake": panel.regions(fake)},
    "classes": lambda panel, fake: (
        {"real": panel.class_counts(panel.real), "fake": panel.class_counts(fake)} if panel.classes else None
    ),
    "neighbors": lambda panel, fake: {"fake": fake.features, "within": panel.duplicate_below},
}
FROM_PIXELS: Mapping[str, Inputs] = {
    "pixels": lambda panel, fake: {"real": panel.real.images, "fake": fake.images},
    "edges": lambda panel, fake: {"real": panel.real.edges, "fake": fake.edges},
    "spectrum": lambda panel, fake: {"real": panel.real.spectrum, "fake": fake.spectrum},
    "pixel neighbors": lambda panel, fake: {"fake": fake.coarse, "within": panel.duplicate_pixels},
}
OF_SAMPLES = {**FROM_FEATURES, **FROM_PIXELS}
"""What the function of a metric of samples may need -> its arguments; None if these images do not have it.

features         (N, F) features
regions          (K,) number of images in each cell of the feature space
classes          (K,) number of images of each class, as predicted by the extractor
neighbors        `fake` (N, F) features, and `within`, the distance below which two images are near-duplicates
pixels           (N, C, S, S) uint8 images
edges            (N,) variance of the Laplacian
spectrum         (S, S) mean power spectrum
pixel neighbors  as neighbors, with coarse pixels
"""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A row of the table.

    name      short name, unique in the table
    function  see the docstring of this module; rows that share a function are computed by one call
    needs     a key of `OF_SAMPLES`, or the capability of the system that the function uses ("encode or infer_codes":
              one of these)
    meaning   in one line
    section   of the evaluation; "": "samples" for metrics of samples, "others" for the others
    better    "lower", "higher", "floor" (nearer to the floor), or "" if neither direction is better
    field     of the function's result; "" if the result is a number
    pooled    (sum over the sets, images per set, number of sets) -> value and interval; None: the mean over the sets
    p         p-value of the difference, from the same statistics of all sets together; None if unknown
    distance  whether its scale is that of the extractor's features: extractor and n become part of its name
    ratio     whether the verdict is the ratio to the floor instead of the difference
    least     minimum number of real images (and of samples) for a light; see below
    plot      whether it is measured and plotted during training

    A light is green if the metric does not differ significantly from that of real images, which is always so with few
    images. `least` is measured by benchmarks/power.py: real images are compared with samples that have a gross fault
    the metric should detect (no detail left, half of the data missing, a tenth as many images repeated, half of the
    samples copied, a checkerboard), and the light must not be green in all trials but at most one, on the dataset of
    three that needs most: 10 trials each on MNIST and Fashion-MNIST and 4 to 6 on drawn faces, at 30, 60, 100, 150,
    250 and 400 images. A green light makes these faults unlikely and says nothing about smaller ones.
    """

    name: str
    function: Callable[..., Any]
    needs: str
    meaning: str
    section: str = ""
    better: Literal["lower", "higher", "floor", ""] = "floor"
    field: str = ""
    pooled: Callable[[int, int, int], tuple[float, tuple[float, float]]] | None = None
    p: Callable[..., float] | None = None
    distance: bool = False
    ratio: bool = False
    least: int = 0
    plot: bool = False

    def __post_init__(self) -> None:
        """Fill in the section."""
        if not self.section:
            object.__setattr__(self, "section", "samples" if self.needs in OF_SAMPLES else "others")


def extrapolated(*, real: Tensor, fake: Tensor) -> float | None:
    """FD-infinity; None with fewer images than it needs."""
    return frechet_infinity(real=real, fake=fake) if len(real) >= 8 * real.shape[1] else None


def classifier_p(*, real: Tensor, fake: Tensor) -> float:
    """p-value of the classifier two-sample test with the first set of samples."""
    return classifier_test(real=real, fake=fake[: len(real)]).p


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="FD",
            function=frechet_distance,
            needs="features",
            meaning="Fréchet distance: difference in mean and covariance of the features",
            distance=True,
            ratio=True,
            least=100,
            plot=True,
        ),
        Metric(
            name="FD-infinity",
            function=extrapolated,
            needs="features",
            meaning="FD extrapolated to infinitely many samples",
            least=512,
        ),
        Metric(
            name="KID",
            function=kernel_distance,
            needs="features",
            meaning="kernel distance between the distributions of the features",
            distance=True,
            least=60,
            plot=True,
        ),
        Metric(
            name="precision",
            function=prdc,
            field="precision",
            needs="features",
            meaning="share of samples inside the neighborhoods of real images",
            least=250,  # detects images shrunk to 4 x 4 pixels in 80 to 100 % of the trials, but hardly ever a blur
        ),
        Metric(
            name="recall",
            function=prdc,
            field="recall",
            needs="features",
            meaning="share of real images inside the neighborhoods of samples",
            least=30,
        ),
        Metric(
            name="density",
            function=prdc,
            field="density",
            needs="features",
            meaning="how crowded the real images are around a sample; above 1: too close to the centers",
            least=100,
        ),
        Metric(
            name="coverage",
            function=prdc,
            field="coverage",
            needs="features",
            meaning="share of real images with a sample in their neighborhood",
            least=150,
        ),
        Metric(
            name="cells-JS",
            function=jensen_shannon,
            needs="regions",
            meaning="Jensen-Shannon divergence between the frequencies of regions of the data",
            p=chi_square_p,
            least=100,
        ),
        Metric(
            name="cells-NDB",
            function=ndb,
            needs="regions",
            meaning="share of regions that are generated too often or too rarely",
            least=150,
        ),
        Metric(
            name="missing",
            function=missing_share,
            needs="regions",
            meaning="share of the real images in regions that are hardly ever generated",
            least=100,
        ),
        Metric(
            name="classes-TV",
            function=total_variation,
            needs="classes",
            meaning="share of samples in the wrong class",
            p=chi_square_p,
            ratio=True,
            least=100,
        ),
        Metric(
            name="duplicates",
            function=duplicates,
            field="share",
            needs="neighbors",
            meaning="share of samples with a near-duplicate among the samples",
            least=30,
        ),
        Metric(
            name="duplicates-pixels",
            function=duplicates,
            field="share",
            needs="pixel neighbors",
            meaning="the same on pixels, where noise images are not similar",
            least=30,  # as for duplicates
        ),
        Metric(
            name="effective support",
            function=duplicates,
            field="pairs",
            needs="neighbors",
            meaning="estimated number of different images (birthday paradox)",
            pooled=effective_support,
        ),
        Metric(
            name="C2ST",
            function=classifier_test,
            field="accuracy",
            needs="features",
            meaning="accuracy of a classifier of samples against real images; 0.5: indistinguishable",
            p=classifier_p,
            least=100,
        ),
        Metric(
            name="1-NN real",
            function=one_nn_accuracy,
            field="real",
            needs="features",
            meaning="share of real images whose nearest neighbor is real; 0.5: indistinguishable",
            least=150,
        ),
        Metric(
            name="1-NN fake",
            function=one_nn_accuracy,
            field="fake",
            needs="features",
            meaning="share of samples whose nearest neighbor is a sample; below 0.5: copies",
            least=60,
        ),
        Metric(
            name="blur ratio",
            function=median_edge_ratio,
            needs="edges",
            meaning="edge strength of the median sample, divided by that of the median real image",
            least=30,
        ),
        Metric(
            name="HF ratio",
            function=high_frequency_ratio,
            needs="spectrum",
            meaning="high frequencies of samples, divided by those of real images",
            least=30,
        ),
        Metric(
            name="Nyquist ratio",
            function=partial(checkerboard_ratio, period=2),
            needs="spectrum",
            meaning="power of the finest checkerboard, divided by that of real images",
            least=30,
        ),
        Metric(
            name="Nyquist peak",
            function=partial(checkerboard_peak, period=2),
            needs="spectrum",
            meaning="the same power, divided by that of the surrounding frequencies; about 1: no pattern",
            least=30,
        ),
        Metric(
            name="quarter ratio",
            function=partial(checkerboard_ratio, period=4),
            needs="spectrum",
            meaning="power of a checkerboard twice as coarse, divided by that of real images",
            least=30,
        ),
        Metric(
            name="quarter peak",
            function=partial(checkerboard_peak, period=4),
            needs="spectrum",
            meaning="the same power, divided by that of the surrounding frequencies; about 1: no pattern",
            least=30,
        ),
        Metric(
            name="copied-features",
            function=copied_images,
            needs="sample",
            meaning="share of samples that are copies of training images",
            section="samples",
            least=400,
        ),
        Metric(
            name="copied-pixels",
            function=copied_images,
            needs="sample",
            meaning="the same on pixels",
            section="samples",
            least=400,
        ),
        Metric(
            name="authentic",
            function=copied_images,
            needs="sample",
            meaning="share of samples farther from their nearest training image than its own nearest neighbor",
            section="samples",
            least=100,
        ),
        Metric(
            name="class agreement",
            function=class_agreement,
            needs="sample",
            meaning="share of samples that a classifier assigns to the requested class",
            section="classes",
            better="higher",
        ),
        Metric(
            name="classification error",
            function=classification,
            needs="classify",
            meaning="share of labeled images that the system assigns to a wrong class",
            section="classes",
            better="lower",
        ),
        Metric(
            name="clustering error",
            function=clustering,
            needs="cluster",
            meaning="share of labeled images whose class is not that of their cluster",
            section="classes",
            better="lower",
        ),
        Metric(
            name="reconstruction error",
            function=reconstruction_error,
            needs="reconstruct",
            meaning="mean squared error per pixel, pixels from 0 to 1",
            section="reconstruction",
            better="lower",
        ),
        Metric(
            name="blur ratio of reconstructions",
            function=blur_of_reconstructions,
            needs="reconstruct",
            meaning="edge strength of reconstructions, divided by that of their originals",
            section="blur",
        ),
        Metric(
            name="latent reconstruction error",
            function=code_error,
            needs="encode",
            meaning="mean squared error of E(G(w)) per unit of the code w",
            section="codes",
            better="lower",
        ),
        Metric(
            name="energy distance to the prior",
            function=distance_to_prior,
            needs="encode",
            meaning="energy distance of the latent codes of images to codes from the prior",
            section="codes",
        ),
        Metric(
            name="MIG",
            function=disentanglement,
            needs="encode or infer_codes",
            meaning="gap between the two units that know most about a factor, as a share of its entropy",
            section="codes",
            better="higher",
        ),
        Metric(
            name="disentanglement",
            function=disentanglement,
            needs="encode or infer_codes",
            meaning="DCI: does a unit of the code predict one factor only? 1: one, 0: all equally",
            section="codes",
            better="higher",
        ),
        Metric(
            name="completeness",
            function=disentanglement,
            needs="encode or infer_codes",
            meaning="DCI: is a factor predicted from one unit only? 1: one, 0: all equally",
            section="codes",
            better="higher",
        ),
        Metric(
            name="informativeness",
            function=disentanglement,
            needs="encode or infer_codes",
            meaning="DCI: share of the variance of the factors that is predicted from the code",
            section="codes",
            better="higher",
        ),
        Metric(
            name="modularity",
            function=disentanglement,
            needs="encode or infer_codes",
            meaning="does a unit have mutual information with one factor only? 1: one",
            section="codes",
            better="higher",
        ),
        Metric(
            name="KL divergence",
            function=latent_units,
            needs="kl",
            meaning="of the latent codes of an image from the prior",
            section="codes",
            better="",
        ),
        Metric(
            name="active units",
            function=latent_units,
            needs="kl",
            meaning="latent units whose mean code varies over the images",
            section="codes",
            better="",
        ),
        Metric(
            name="log-likelihood",
            function=log_likelihood,
            needs="log_likelihood",
            meaning="importance-weighted lower bound of the log-likelihood of an image",
            section="likelihood",
            better="higher",
        ),
        Metric(
            name="Parzen log-likelihood",
            function=parzen_window,
            needs="sample",
            meaning="log-likelihood of test images under a Parzen window of samples; not a measure of quality",
            section="parzen",
            better="",
        ),
        Metric(
            name="cycle error",
            function=translation_errors,
            needs="translate",
            meaning="mean absolute difference of an image and its translation, translated back",
            section="domains",
            better="lower",
        ),
        Metric(
            name="identity distance",
            function=translation_errors,
            needs="translate",
            meaning="mean absolute change of an image by its translation",
            section="domains",
            better="",
        ),
        Metric(
            name="translation FD",
            function=translation_errors,
            needs="translate",
            meaning="Fréchet distance of translations to real images of the target domain",
            section="domains",
        ),
        Metric(
            name="cycle error with noise",
            function=translation_errors,
            needs="translate",
            meaning="the cycle error if noise destroys faint patterns in the translation",
            section="domains",
            better="",
        ),
        Metric(
            name="paired L1",
            function=paired_errors,
            needs="translate",
            meaning="mean absolute difference of translations and their targets",
            section="domains",
            better="lower",
        ),
        Metric(
            name="paired SSIM",
            function=paired_errors,
            needs="translate",
            meaning="structural similarity of translations and their targets",
            section="domains",
            better="higher",
        ),
        Metric(
            name="modes",
            function=stacked_modes,
            needs="sample",
            meaning="number of the 1,000 modes of stacked digits among 26,000 samples",
            section="modes",
            better="higher",
        ),
        Metric(
            name="reverse KL of the modes",
            function=stacked_modes,
            needs="sample",
            meaning="how unevenly these samples are distributed over the modes",
            section="modes",
            better="lower",
        ),
    )
}
"""Short name -> row. Evaluation, report, comparison and docs/evaluation.md follow this table and its order."""
