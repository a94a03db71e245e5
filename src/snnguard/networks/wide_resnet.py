"""Wide ResNet 16-4 of the RAT line: pre-activation blocks whose skip and branch are merged by a convex combination."""

from torch import Tensor, nn

from snnguard.layers import Body, Conv2d, Linear, OverTime, fire

from .network import Plan, architecture


def _conv(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> nn.Module:
    return OverTime(Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False))


class PreActivationBlock(nn.Module):
    """norm-neuron-conv-norm-neuron-conv. Where the shape changes, the skip is a 1x1 convolution of the activated input."""

    affine_between_neurons = True

    def __init__(self, plan: Plan, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.neuron1 = OverTime(plan.norm(inputs)), plan.neuron()
        self.conv1 = _conv(inputs, outputs, stride=stride)
        self.norm2, self.neuron2 = OverTime(plan.norm(outputs)), plan.neuron()
        self.conv2 = _conv(outputs, outputs)
        reshapes = inputs != outputs or stride != 1
        self.shortcut = _conv(inputs, outputs, size=1, stride=stride) if reshapes else None
        self.merge = plan.merge("convex")

    def forward(self, x: Tensor) -> Tensor:
        active = fire(self.norm1, self.neuron1, x)
        branch = self.conv2(fire(self.norm2, self.neuron2, self.conv1(active)))
        skip = x if self.shortcut is None else self.shortcut(active)
        merged: Tensor = self.merge(skip, branch)
        return merged


@architecture("wrn16")
def wrn16(plan: Plan) -> nn.Module:
    """Wide ResNet 16-4 of the RAT family (2.7 M parameters with the convex residual)"""
    layers: list[nn.Module] = [_conv(plan.image_shape[0], 16)]
    channels = 16
    for outputs, stride in ((64, 1), (128, 2), (256, 2)):
        for index in range(2):
            layers.append(PreActivationBlock(plan, channels, outputs, stride if index == 0 else 1))
            channels = outputs
    height, width = plan.halved(2)
    pool = OverTime(nn.AvgPool2d((height, width)), nn.Flatten())
    layers += [OverTime(plan.norm(channels)), plan.neuron(), pool, OverTime(Linear(channels, plan.classes))]
    return Body(*layers)
