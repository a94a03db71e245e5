"""Networks: raw images to logits, with normalisation, encoding, time and readout inside."""

from .classifier import SpikingClassifier
from .network import Network, Plan, architecture, build, construct, names

__all__ = ["Network", "Plan", "SpikingClassifier", "architecture", "build", "construct", "names"]
