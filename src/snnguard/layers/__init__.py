"""Layers around the neurons: time folding, tdBN, normalisation of images, residual merges, membrane watching."""

from .affine import Conv2d, Linear
from .firing import Body, fire
from .normalize import Normalize
from .recompute import recomputed
from .residual import ConvexCombination, Merge, Sum, merge
from .statistics import untracked
from .tdbn import TDBN
from .time import OverTime, fold, unfold
from .watching import watching

__all__ = [
    "TDBN",
    "Body",
    "Conv2d",
    "ConvexCombination",
    "Linear",
    "Merge",
    "Normalize",
    "OverTime",
    "Sum",
    "fire",
    "fold",
    "merge",
    "recomputed",
    "unfold",
    "untracked",
    "watching",
]
