"""Functions of features, keyword-only `real=` and `fake=`, and the networks that make the features."""

from sparring.metrics.classes import ClassShare, class_histogram, total_variation
from sparring.metrics.distances import Neighbours, frechet_distance, kernel_distance, neighbours
from sparring.metrics.extractors import EXTRACTORS, LENET_MNIST, RANDOM_CONV64, Extractor, extractor, for_dataset
from sparring.metrics.intervals import mean_interval, wilson_interval
from sparring.metrics.spectrum import nyquist_energy

__all__ = [
    "EXTRACTORS",
    "LENET_MNIST",
    "RANDOM_CONV64",
    "ClassShare",
    "Extractor",
    "Neighbours",
    "class_histogram",
    "extractor",
    "for_dataset",
    "frechet_distance",
    "kernel_distance",
    "mean_interval",
    "neighbours",
    "nyquist_energy",
    "total_variation",
    "wilson_interval",
]
