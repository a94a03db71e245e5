"""Attacks: frozen settings that are called, `attack(model, x, y, threat=..., seed=...) -> x_adv`."""

from .aim import Aim
from .apgd import APGD
from .attack import Attack
from .carlini_wagner import CW
from .gradient import Ascent, InputGradient, weight_gradient
from .loss import DLR, CrossEntropy, Loss, Margin
from .model import Model, check_labels, frozen, hard, is_soft, predict
from .noise import GaussianNoise, UniformNoise
from .pgd import PGD, bim, fgsm, mifgsm, rfgsm

__all__ = [
    "APGD",
    "CW",
    "DLR",
    "PGD",
    "Aim",
    "Ascent",
    "Attack",
    "CrossEntropy",
    "GaussianNoise",
    "InputGradient",
    "Loss",
    "Margin",
    "Model",
    "UniformNoise",
    "bim",
    "check_labels",
    "fgsm",
    "frozen",
    "hard",
    "is_soft",
    "mifgsm",
    "predict",
    "rfgsm",
    "weight_gradient",
]
