"""Neurons that papers call by a name of their own: LIF with one trait."""

from snnguard.choice import named

from .dynamics import Dynamics, Reset
from .gain import StepGain
from .leak import LearnedLeak
from .neuron import LIF
from .noise import MembraneNoise
from .surrogate import DEFAULT_SURROGATE, Surrogate


@named(Dynamics, "nlif")
def nlif(
    *, sigma: float = 0.2, inference_noise: bool = False, decay: float = 1.0, threshold: float = 1.0, reset: Reset = "zero",
    detach_reset: bool = False, surrogate: Surrogate = DEFAULT_SURROGATE,
) -> LIF:  # fmt: skip
    """LIF with noise in its membrane. SOURCE: TGO (ICLR 2026)."""
    return LIF(
        decay=decay, threshold=threshold, reset=reset, detach_reset=detach_reset, surrogate=surrogate,
        traits=(MembraneNoise(sigma=sigma, inference=inference_noise),),
    )  # fmt: skip


@named(Dynamics, "plif")
def plif(
    *, start: float = 0.5, threshold: float = 1.0, reset: Reset = "zero", detach_reset: bool = False,
    surrogate: Surrogate = DEFAULT_SURROGATE,
) -> LIF:  # fmt: skip
    """LIF whose decay is learned, one per layer. SOURCE: Fang 2021."""
    leak = LearnedLeak(start=start)
    return LIF(
        decay=start, threshold=threshold, reset=reset, detach_reset=detach_reset, surrogate=surrogate, traits=(leak,)
    )  # fmt: skip


@named(Dynamics, "dlif")
def dlif(
    *, decay: float = 0.99, threshold: float = 1.0, reset: Reset = "zero", detach_reset: bool = False,
    surrogate: Surrogate = DEFAULT_SURROGATE,
) -> LIF:  # fmt: skip
    """LIF with a learned gain per time step, the neuron of the defense `dlif`. SOURCE: Ding 2024."""
    return LIF(
        decay=decay, threshold=threshold, reset=reset, detach_reset=detach_reset, surrogate=surrogate, traits=(StepGain(),)
    )  # fmt: skip
