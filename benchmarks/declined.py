"""What was tried for speed and is not done, because it costs more than it gives on this machine: the draws of a random network
in one batch, and `torch.compile`.

Ratios of two ways that take turns, medians over the rounds; above 1 the way that was declined is slower. Writes declined.json.
Run: python benchmarks/declined.py
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnguard import networks
from snnguard.evaluation.provenance import hardware
from snnguard.neurons import LIF, StochasticGate

ROUNDS, DRAWS = 5, 10
RANDOM = LIF(traits=(StochasticGate(),))
Way = Callable[[], object]


def network(name: str, shape: tuple[int, int, int], neuron: LIF) -> nn.Module:
    model = networks.build(name, image_shape=shape, neuron=neuron).eval().requires_grad_(False)
    return model.to(memory_format=torch.channels_last)


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(functional.cross_entropy(model(x), y, reduction="sum"), x)[0]


def ratio(done: Way, declined: Way) -> float:
    """Of the time of `declined` to that of `done`."""
    found = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        done()
        between = time.perf_counter()
        declined()
        found.append((time.perf_counter() - between) / (between - start))
    return round(statistics.median(found[1:]), 3)


def draws(name: str, shape: tuple[int, int, int], images: int) -> float:
    """The expectation over ten draws, one after another, beside one batch of ten copies of every image."""
    model = network(name, shape, RANDOM)
    x, y = torch.rand(images, *shape), torch.randint(10, (images,))
    return ratio(
        lambda: [gradient(model, x, y) for _ in range(DRAWS)],
        lambda: gradient(model, x.repeat(DRAWS, 1, 1, 1), y.repeat(DRAWS)),
    )


def compiled(name: str, shape: tuple[int, int, int], images: int) -> float:
    """An input gradient, beside that of the network after `torch.compile`."""
    model = network(name, shape, LIF())
    x, y = torch.rand(images, *shape), torch.randint(10, (images,))
    quick = torch.compile(model, dynamic=False)
    return ratio(lambda: gradient(model, x, y), lambda: gradient(quick, x, y))


def main() -> None:
    """Measures and writes."""
    torch.manual_seed(0)
    cases = [
        ("vgg4-tiny", (1, 8, 8), 8),
        ("vgg4-tiny", (1, 8, 8), 128),
        ("vgg5-slim", (3, 32, 32), 8),
        ("vgg5-slim", (3, 32, 32), 128),
    ]
    rows = [
        {"what": what, "network": name, "images": images, "ratio": measure(name, shape, images)}
        for what, measure in (("draws in one batch", draws), ("torch.compile", compiled))
        for name, shape, images in cases
    ]
    kept = {"rows": rows, "rounds": ROUNDS, "torch": torch.__version__, "hardware": hardware()}
    Path(__file__).with_name("declined.json").write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
