"""Load images from data set names, folders, archives and arrays."""

from sparring.data.check import check
from sparring.data.dataset import Dataset, Spec
from sparring.data.loading import load

__all__ = ["Dataset", "Spec", "check", "load"]
