"""Spiking neurons: surrogates, the equations and their fused kernel, gradient rules, watched membranes, traits."""

from .assg import ASSG
from .dynamics import Dynamics, straight_through, unroll
from .gain import StepGain
from .gate import StochasticGate
from .hart import HART
from .homeostasis import HomeostaticThreshold
from .kernels import Normalisation, batch_moments, fused, holds_spikes, may_normalise, native, packed_spikes
from .leak import EvolutionaryLeak, LearnedLeak
from .learned import AdaptiveSmooth, LearnedWindow
from .memory import Memory
from .named import dlif, nlif, plif
from .neuron import LIF, Neuron, lif, mechanisms_of, neurons_of, use_rule
from .noise import MembraneNoise
from .pdsg import PDSG
from .rectifier import MembraneRectifier
from .rule import BPTT, FiredMask, GradientRule, RateGradient, SlopeRule, StraightThrough
from .sampled import SampledFiring
from .surrogate import ATan, Dspike, Exponential, Gaussian, Rectangular, Sigmoid, SuperSpike, Surrogate, Triangle
from .temperature import DspikeFiring
from .trait import Firing, Mechanism, Slot, Trait, is_unsettled, settled, unsettled
from .watch import Membrane, Watch

__all__ = [
    "ASSG",
    "BPTT",
    "HART",
    "LIF",
    "PDSG",
    "ATan",
    "AdaptiveSmooth",
    "Dspike",
    "DspikeFiring",
    "Dynamics",
    "EvolutionaryLeak",
    "Exponential",
    "FiredMask",
    "Firing",
    "Gaussian",
    "GradientRule",
    "HomeostaticThreshold",
    "LearnedLeak",
    "LearnedWindow",
    "Mechanism",
    "Membrane",
    "MembraneNoise",
    "MembraneRectifier",
    "Memory",
    "Neuron",
    "Normalisation",
    "RateGradient",
    "Rectangular",
    "SampledFiring",
    "Sigmoid",
    "SlopeRule",
    "Slot",
    "StepGain",
    "StochasticGate",
    "StraightThrough",
    "SuperSpike",
    "Surrogate",
    "Trait",
    "Triangle",
    "Watch",
    "batch_moments",
    "dlif",
    "fused",
    "holds_spikes",
    "is_unsettled",
    "lif",
    "may_normalise",
    "mechanisms_of",
    "native",
    "neurons_of",
    "nlif",
    "packed_spikes",
    "plif",
    "settled",
    "straight_through",
    "unroll",
    "unsettled",
    "use_rule",
]
