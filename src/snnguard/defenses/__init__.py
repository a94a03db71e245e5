"""Defenses: what is added to training so that the network withstands attacks."""

from .adversarial_training import AdversarialTraining
from .asgl import ASGL
from .awp import AWP
from .catalogue import catalogue
from .coding import PoissonDefense, RSCDefense
from .defense import Batch, Defense, Group, Step
from .distill import Distill
from .dlif import DLIF
from .dspike import Dspike
from .ema import EMA
from .feel import FEEL
from .hire import HIRE
from .hosnn import HoSNN
from .im_loss import IMLoss
from .inflor import InfLoR
from .label_smoothing import LabelSmoothing
from .lsg import LSG
from .mart import MART
from .mixup import Mixup
from .mpd_sgr import MPDSGR, omega
from .named import rat
from .ndl import NDL
from .plif import PLIF
from .recdis import RecDis
from .reg import REG, ConvexResiduals
from .rmp import RMPLoss
from .smoothing import Smoothing
from .soft_reset import SoftReset
from .sr import SR
from .stack import Stack
from .stog import StoG
from .tgo import TGO, tgo_mc, tgo_nlif
from .tgo_adaptive import AdaptiveTGO
from .trades import TRADES

__all__ = [
    "ASGL",
    "AWP",
    "DLIF",
    "EMA",
    "FEEL",
    "HIRE",
    "LSG",
    "MART",
    "MPDSGR",
    "NDL",
    "PLIF",
    "REG",
    "SR",
    "TGO",
    "TRADES",
    "AdaptiveTGO",
    "AdversarialTraining",
    "Batch",
    "ConvexResiduals",
    "Defense",
    "Distill",
    "Dspike",
    "Group",
    "HoSNN",
    "IMLoss",
    "InfLoR",
    "LabelSmoothing",
    "Mixup",
    "PoissonDefense",
    "RMPLoss",
    "RSCDefense",
    "RecDis",
    "Smoothing",
    "SoftReset",
    "Stack",
    "Step",
    "StoG",
    "catalogue",
    "omega",
    "rat",
    "tgo_mc",
    "tgo_nlif",
]
