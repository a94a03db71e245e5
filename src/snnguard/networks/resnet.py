"""ResNet-19 in the style of tdBN: basic blocks, the last norm of both paths scaled by 1/sqrt(2) before their sum."""

import math

from torch import Tensor, nn

from snnguard.layers import Body, Conv2d, Linear, OverTime, fire

from .network import Plan, architecture

BRANCH_ALPHA = 1 / math.sqrt(2)


class BasicBlock(nn.Module):
    """conv-norm-neuron-conv-norm, merged with the skip, then a neuron. SOURCE: Zheng 2021."""

    affine_between_neurons = True

    def __init__(self, plan: Plan, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = OverTime(Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), plan.norm(outputs))
        self.neuron1 = plan.neuron()
        self.second = OverTime(Conv2d(outputs, outputs, 3, padding=1, bias=False), plan.norm(outputs, alpha=BRANCH_ALPHA))
        self.shortcut: nn.Module | None = None
        if inputs != outputs or stride != 1:
            convolution = Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = OverTime(convolution, plan.norm(outputs, alpha=BRANCH_ALPHA))
        self.merge, self.neuron2 = plan.merge("sum"), plan.neuron()

    def forward(self, x: Tensor) -> Tensor:
        branch = self.second(fire(self.first, self.neuron1, x))
        skip = x if self.shortcut is None else self.shortcut(x)
        out: Tensor = self.neuron2(self.merge(skip, branch))
        return out


@architecture("resnet19")
def resnet19(plan: Plan) -> nn.Module:
    """ResNet-19 of tdBN: stages of 3, 3 and 2 blocks with 128, 256 and 512 channels, 256 hidden units"""
    first = OverTime(Conv2d(plan.image_shape[0], 128, 3, padding=1, bias=False), plan.norm(128))
    layers: list[nn.Module] = [first, plan.neuron()]
    channels = 128
    for outputs, stride, blocks in ((128, 1, 3), (256, 2, 3), (512, 2, 2)):
        for index in range(blocks):
            layers.append(BasicBlock(plan, channels, outputs, stride if index == 0 else 1))
            channels = outputs
    height, width = plan.halved(2)
    layers += [OverTime(nn.AvgPool2d((height, width)), nn.Flatten()), OverTime(Linear(channels, 256)), plan.neuron()]
    return Body(*layers, OverTime(Linear(256, plan.classes)))
