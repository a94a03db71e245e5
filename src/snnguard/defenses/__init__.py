"""Defenses: what is added to training so that the network withstands attacks."""

from .adversarial_training import AdversarialTraining
from .defense import Batch, Defense, Group, Step
from .mpd_sgr import MPDSGR, omega
from .named import rat
from .reg import REG, ConvexResiduals
from .stack import Stack
from .tgo import TGO, tgo_mc, tgo_nlif

__all__ = [
    "MPDSGR",
    "REG",
    "TGO",
    "AdversarialTraining",
    "Batch",
    "ConvexResiduals",
    "Defense",
    "Group",
    "Stack",
    "Step",
    "omega",
    "rat",
    "tgo_mc",
    "tgo_nlif",
]
