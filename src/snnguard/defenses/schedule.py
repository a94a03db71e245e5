"""How the weight of a penalty rises over training."""

import math
from typing import Literal

Rise = Literal["constant", "linear", "cosine"]


def risen(weight: float, rise: Rise, progress: float) -> float:
    """`weight` times 1, `progress`, or (1 - cos(pi progress)) / 2: the cosine is 0 at the start, 1/2 midway, 1 at the end."""
    if rise == "constant":
        return weight
    share = progress if rise == "linear" else (1 - math.cos(math.pi * progress)) / 2
    return weight * share
