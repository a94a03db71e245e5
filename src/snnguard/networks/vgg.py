"""The VGG family of the RAT line, and smaller siblings for a CPU.

Convolutions are 3x3 with bias, each followed by tdBN and a neuron; "A" is a 2x2 average pooling after the neuron, so
what it passes on is real-valued. No normalisation and no dropout among the fully connected layers; the last one is a
plain linear readout. SOURCE: METHODS 2; parameter counts are checked by the tests.
"""

from collections.abc import Sequence
from typing import Literal

from torch import nn

from snnguard.layers import Body, Conv2d, Linear, OverTime

from .network import Plan, architecture

Stage = int | Literal["A"]


def vgg(plan: Plan, stages: Sequence[Stage], hidden: Sequence[int]) -> nn.Module:
    """The body for a list of stages and of hidden fully connected layers."""
    channels = plan.image_shape[0]
    layers: list[nn.Module] = []
    for stage in stages:
        if stage == "A":
            layers.append(OverTime(nn.AvgPool2d(2)))
        else:
            convolution = Conv2d(channels, stage, 3, padding=1)
            layers += [OverTime(convolution, plan.norm(stage)), plan.neuron()]
            channels = stage
    height, width = plan.halved(list(stages).count("A"))
    features = channels * height * width
    layers.append(OverTime(nn.Flatten()))
    for width_ in hidden:
        layers += [OverTime(Linear(features, width_)), plan.neuron()]
        features = width_
    return Body(*layers, OverTime(Linear(features, plan.classes)))


@architecture("vgg5")
def vgg5(plan: Plan) -> nn.Module:
    """VGG5 of the RAT family: 3 convolutions, 2 x 4096 hidden units"""
    return vgg(plan, [64, "A", 128, 128, "A"], [4096, 4096])


@architecture("vgg11")
def vgg11(plan: Plan) -> nn.Module:
    """VGG11 of the RAT family: 8 convolutions, 3 poolings, 2 x 4096 hidden units (61.4 M parameters for 10 classes)"""
    return vgg(plan, [64, "A", 128, 256, "A", 512, 512, 512, "A", 512, 512], [4096, 4096])


@architecture("vgg13")
def vgg13(plan: Plan) -> nn.Module:
    """VGG13: 10 convolutions, 5 poolings, 2 x 4096 hidden units"""
    stages: list[Stage] = [64, 64, "A", 128, 128, "A", 256, 256, "A", 512, 512, "A", 512, 512, "A"]
    return vgg(plan, stages, [4096, 4096])


@architecture("vgg16")
def vgg16(plan: Plan) -> nn.Module:
    """VGG16 of the RAT family: 13 convolutions, 5 poolings, 2 x 4096 hidden units (33.6 M parameters at 32x32)"""
    stages: list[Stage] = [64, 64, "A", 128, 128, "A", 256, 256, 256, "A", 512, 512, 512, "A", 512, 512, 512, "A"]
    return vgg(plan, stages, [4096, 4096])


@architecture("vgg5-slim")
def vgg5_slim(plan: Plan) -> nn.Module:
    """Five weighted layers for CPU-sized CIFAR-10: 3 convolutions of 32, 64, 128 channels, 256 hidden units"""
    return vgg(plan, [32, "A", 64, "A", 128, "A"], [256])


@architecture("vgg4-tiny")
def vgg4_tiny(plan: Plan) -> nn.Module:
    """Four weighted layers for 8x8 digits: 2 convolutions of 16 and 32 channels, 64 hidden units"""
    return vgg(plan, [16, 32, "A"], [64])
