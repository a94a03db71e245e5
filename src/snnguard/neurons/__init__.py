"""Spiking neurons: surrogates, the equations and their fused kernel, gradient rules, watched membranes, traits."""

from .dynamics import Dynamics, straight_through, unroll
from .fused import fused
from .neuron import LIF, Neuron, lif, mechanisms_of, neurons_of, use_rule
from .noise import MembraneNoise, nlif
from .rule import BPTT, FiredMask, GradientRule, RateGradient, SlopeRule
from .surrogate import ATan, Rectangular, Sigmoid, SuperSpike, Surrogate, Triangle
from .trait import Mechanism, Slot, Trait, is_unsettled, settled, unsettled
from .watch import Membrane, Watch

__all__ = [
    "BPTT",
    "LIF",
    "ATan",
    "Dynamics",
    "FiredMask",
    "GradientRule",
    "Mechanism",
    "Membrane",
    "MembraneNoise",
    "Neuron",
    "RateGradient",
    "Rectangular",
    "Sigmoid",
    "SlopeRule",
    "Slot",
    "SuperSpike",
    "Surrogate",
    "Trait",
    "Triangle",
    "Watch",
    "fused",
    "is_unsettled",
    "lif",
    "mechanisms_of",
    "neurons_of",
    "nlif",
    "settled",
    "straight_through",
    "unroll",
    "unsettled",
    "use_rule",
]
