"""A network from another framework, judged: it keeps its membranes, and has a gradient in training mode only.

Attacks fail without a word. The card names both faults; a suite with repairs, such as `spike`, attacks around them.
"""

import torch
from torch import Tensor, nn

import snnguard as sg


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u >= 1).float()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad * (1 - (ctx.saved_tensors[0] - 1).abs()).clamp(min=0)


class Foreign(nn.Module):
    """Integrate-and-fire with a state that nobody resets, and no surrogate in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.u = nn.Linear(64, 64), nn.Linear(64, 10), None

    def forward(self, x: Tensor) -> Tensor:
        logits, current = 0, self.first(x.flatten(1) * 2 - 1)
        for _ in range(4):
            self.u = current if self.u is None or len(self.u) != len(x) else self.u.detach() + current
            spikes = Spike.apply(self.u) if self.training else (self.u >= 1).float()
            self.u, logits = self.u * (1 - spikes), logits + self.last(spikes) / 4
        return logits


def main() -> None:
    torch.manual_seed(0)
    data, model = sg.data.load(sg.data.Data(name="digits")), Foreign()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        model.u, _ = None, optimiser.zero_grad()
        nn.functional.cross_entropy(model(data.train.pixels(slice(None))), data.train.labels).backward()
        optimiser.step()
    x, y, threat = data.test.pixels(slice(0, 48)), data.test.labels[:48], sg.Linf(eps=32 / 255)
    quick = sg.evaluation.suite("quick")
    mended = quick.model_copy(update={"name": "quick, repaired", "repairs": True})
    for suite in (quick, mended, sg.evaluation.suite("checks")):
        model.eval().u = None
        record = sg.evaluate(model, x, y, suite=suite, threat=threat)
        print(f"{suite.name}: {100 * record.accuracy.point:.1f} % clean, {100 * record.worst.point:.1f} % in the worst case")
    for s in (*record.suspicions, *record.passed):
        print(f"{'SUSPICIOUS' if s.raised else 'passed':<11}{s.code:<24}{s.measured:8.3g}, limit {s.limit:.3g}")


if __name__ == "__main__":
    main()
