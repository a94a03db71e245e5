"""Encoders: from an image to what the first layer sees in each time step."""

from .encoder import Direct, Encoder, Poisson
from .frequency import Frequency
from .randomised import RSC
from .timing import Burst, Latency

__all__ = [
    "RSC",
    "Burst",
    "Direct",
    "Encoder",
    "Frequency",
    "Latency",
    "Poisson",
]
