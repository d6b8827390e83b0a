"""Functions of features, keyword-only `real=` and `fake=`, and the networks that make the features."""

from sparring.metrics.blur import blur_ratio, edges
from sparring.metrics.classes import ClassShare, class_histogram, total_variation
from sparring.metrics.codes import active_units, energy_distance, named_by_examples, squared_errors
from sparring.metrics.distances import Neighbours, frechet_distance, kernel_distance, neighbours
from sparring.metrics.extractors import (
    EXTRACTORS,
    LENET_FASHION_MNIST,
    LENET_MNIST,
    RANDOM_CONV64,
    Extractor,
    extractor,
    for_dataset,
)
from sparring.metrics.intervals import mean_interval, wilson_interval
from sparring.metrics.parzen import SIGMAS, Parzen, parzen_log_likelihood
from sparring.metrics.spectrum import nyquist_energy

__all__ = [
    "EXTRACTORS",
    "LENET_FASHION_MNIST",
    "LENET_MNIST",
    "RANDOM_CONV64",
    "SIGMAS",
    "ClassShare",
    "Extractor",
    "Neighbours",
    "Parzen",
    "active_units",
    "blur_ratio",
    "class_histogram",
    "edges",
    "energy_distance",
    "extractor",
    "for_dataset",
    "frechet_distance",
    "kernel_distance",
    "mean_interval",
    "named_by_examples",
    "neighbours",
    "nyquist_energy",
    "parzen_log_likelihood",
    "squared_errors",
    "total_variation",
    "wilson_interval",
]
