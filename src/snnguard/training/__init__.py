"""Training: the loop, optimisers and schedules, checkpoints."""

from .checkpoint import load_weights, read_tensors, write_tensors
from .fit import Outcome, Stopped, fit
from .optimiser import SGD, AdamW, Optimiser
from .settings import Training, resolve_device
from .steps import Diverged

__all__ = [
    "SGD",
    "AdamW",
    "Diverged",
    "Optimiser",
    "Outcome",
    "Stopped",
    "Training",
    "fit",
    "load_weights",
    "read_tensors",
    "resolve_device",
    "write_tensors",
]
