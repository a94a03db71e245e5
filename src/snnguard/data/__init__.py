"""Data sets in memory: named ones, own images, splits that never move, augmentation on the batch."""

from .augment import Augmentation
from .dataset import Dataset, Split
from .digits import digits
from .fake import fake
from .source import Data, default_augmentation, load
from .split import hash_order, holdout

__all__ = [
    "Augmentation",
    "Data",
    "Dataset",
    "Split",
    "default_augmentation",
    "digits",
    "fake",
    "hash_order",
    "holdout",
    "load",
]
