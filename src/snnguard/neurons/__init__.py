"""Spiking neurons: surrogates, the equations and their fused kernel, gradient rules, watched membranes."""

from .dynamics import Dynamics, unroll
from .fused import fused
from .neuron import LIF, NLIF, Neuron, lif, neurons_of, use_rule
from .rule import BPTT, FiredMask, GradientRule, RateGradient, SlopeRule
from .surrogate import ATan, Rectangular, Sigmoid, SuperSpike, Surrogate, Triangle
from .watch import Membrane, Watch

__all__ = [
    "BPTT",
    "LIF",
    "NLIF",
    "ATan",
    "Dynamics",
    "FiredMask",
    "GradientRule",
    "Membrane",
    "Neuron",
    "RateGradient",
    "Rectangular",
    "Sigmoid",
    "SlopeRule",
    "SuperSpike",
    "Surrogate",
    "Triangle",
    "Watch",
    "fused",
    "lif",
    "neurons_of",
    "unroll",
    "use_rule",
]
