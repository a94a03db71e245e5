"""Encoders: how an image becomes a sequence."""

from .encoder import Direct, Encoder, Poisson

__all__ = ["Direct", "Encoder", "Poisson"]
