"""SNNGuard: spiking neural networks, trained, attacked and judged.

import snnguard as sg

model = sg.networks.build("vgg11", steps=4, classes=10, image_shape=(3, 32, 32))
x_adv = sg.attacks.PGD(steps=7, step_size=0.01)(model, x, y, threat=sg.Linf(eps=8 / 255), seed=0)
record = sg.evaluate(model, x, y, suite=sg.evaluation.suite("paper"), threat=sg.Linf(eps=8 / 255), seed=0)
run = sg.train(sg.recipes.get("digits-mpd-sgr"), out="runs/x")
"""

from snnguard import (
    analysis,
    attacks,
    data,
    defenses,
    encoders,
    evaluation,
    layers,
    networks,
    neurons,
    recipes,
    report,
    training,
)
from snnguard.evaluation import evaluate
from snnguard.recipes import train
from snnguard.record import Record
from snnguard.threat import L2, Linf, Threat

__version__ = "0.1.0"

__all__ = [
    "L2",
    "Linf",
    "Record",
    "Threat",
    "analysis",
    "attacks",
    "data",
    "defenses",
    "encoders",
    "evaluate",
    "evaluation",
    "layers",
    "networks",
    "neurons",
    "recipes",
    "report",
    "train",
    "training",
]
