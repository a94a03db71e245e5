"""Attacks: frozen settings that are called, `attack(model, x, y, threat=..., seed=...) -> x_adv`."""

from .aim import Aim
from .apgd import APGD
from .attack import Attack
from .carlini_wagner import CW
from .corruption import Corruption
from .ensemble import Ensemble, auto_attack
from .fab import FAB
from .gradient import Ascent, InputGradient, weight_gradient
from .hop_skip_jump import HopSkipJump
from .loss import DLR, CrossEntropy, Loss, Margin
from .model import Model, check_labels, frozen, hard, is_soft, predict
from .multi_targeted import MultiTargeted, apgd_t, mt_pgd
from .noise import GaussianNoise, UniformNoise
from .pgd import PGD, bim, fgsm, mifgsm, rfgsm
from .random_search import RandomSearch
from .sa_pgd import SAPGD
from .spsa import SPSA, nes
from .square import Square

__all__ = [
    "APGD",
    "CW",
    "DLR",
    "FAB",
    "PGD",
    "SAPGD",
    "SPSA",
    "Aim",
    "Ascent",
    "Attack",
    "Corruption",
    "CrossEntropy",
    "Ensemble",
    "GaussianNoise",
    "HopSkipJump",
    "InputGradient",
    "Loss",
    "Margin",
    "Model",
    "MultiTargeted",
    "RandomSearch",
    "Square",
    "UniformNoise",
    "apgd_t",
    "auto_attack",
    "bim",
    "check_labels",
    "fgsm",
    "frozen",
    "hard",
    "is_soft",
    "mifgsm",
    "mt_pgd",
    "nes",
    "predict",
    "rfgsm",
    "weight_gradient",
]
