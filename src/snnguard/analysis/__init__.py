"""Analysis of networks: numbers, not pictures."""

from .catalogue import ANALYSES, Subject, analyse
from .classes import class_robustness
from .constants import constant_sweep, with_constant
from .distribution import membranes_over_time
from .energy import energy
from .flips import flips
from .gradients import gradient_statistics
from .jacobians import FixedPattern, jacobian, jacobian_norms, operator_norm
from .membranes import histogram, membranes, summary
from .moments import channel_moments, feeding
from .patterns import patterns
from .surfaces import surfaces
from .sweeps import curve, step_sweep

__all__ = [
    "ANALYSES",
    "FixedPattern",
    "Subject",
    "analyse",
    "channel_moments",
    "class_robustness",
    "constant_sweep",
    "curve",
    "energy",
    "feeding",
    "flips",
    "gradient_statistics",
    "histogram",
    "jacobian",
    "jacobian_norms",
    "membranes",
    "membranes_over_time",
    "operator_norm",
    "patterns",
    "step_sweep",
    "summary",
    "surfaces",
    "with_constant",
]
