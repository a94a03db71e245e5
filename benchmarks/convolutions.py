"""Layers on the matrix units beside PyTorch's, in float32: seconds of each of their three products, and how far each is from
float64.

Both take turns, medians over the rounds. Errors are the largest difference from float64, in units of 2^-24 of the sum of the
sizes of all terms. Writes benchmarks/convolutions.json. Run: make bench
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from snnguard import rng
from snnguard.bench import alternate
from snnguard.evaluation import gather
from snnguard.layers import Conv2d, matrix

IMAGES = 128
LAYERS = {
    "64 to 64, 32x32": (64, 64, 32, 1),
    "64 to 128, 16x16": (64, 128, 16, 1),
    "128 to 256, 16x16": (128, 256, 16, 1),
    "128 to 256, 16x16, stride 2": (128, 256, 16, 2),
    "256 to 512, 8x8": (256, 512, 8, 1),
    "512 to 512, 8x8": (512, 512, 8, 1),
    "512 to 512, 4x4": (512, 512, 4, 1),
}
"""Channels, outputs, size of the images and stride of 3x3 convolutions of 0.2 dense spikes: those of VGG11 and WRN16-4."""


def products(layer: nn.Conv2d, x: Tensor, gradient: Tensor) -> dict[str, Callable[[], Tensor]]:
    """What computes each of the three, with as little as possible beside it."""
    leaf = x.detach().requires_grad_()
    layer.weight.requires_grad_(False)
    by_input = layer(leaf)
    layer.weight.requires_grad_(True)
    by_weight = layer(x)

    def output() -> Tensor:
        with torch.no_grad():
            return layer(x)

    return {
        "output": output,
        "input gradient": lambda: torch.autograd.grad(by_input, leaf, gradient, retain_graph=True)[0],
        "weight gradient": lambda: torch.autograd.grad(by_weight, layer.weight, gradient, retain_graph=True)[0],
    }


def measured(channels: int, outputs: int, size: int, stride: int, rounds: int) -> dict[str, dict[str, float]]:
    """Of one layer: seconds and errors of each product, ours and PyTorch's."""
    with rng.scope(0):
        ours = Conv2d(channels, outputs, 3, stride=stride, padding=1, bias=False).to(memory_format=torch.channels_last)
        x = (torch.rand(IMAGES, channels, size, size) < 0.2).float().contiguous(memory_format=torch.channels_last)
        gradient = torch.randn_like(ours(x))
    theirs = nn.Conv2d(channels, outputs, 3, stride=stride, padding=1, bias=False).to(memory_format=torch.channels_last)
    exact, sizes = (nn.Conv2d(channels, outputs, 3, stride=stride, padding=1, bias=False).double() for _ in range(2))
    with torch.no_grad():
        theirs.weight.copy_(ours.weight)
        exact.weight.copy_(ours.weight)
        sizes.weight.copy_(ours.weight.abs())
    ways = {"ours": products(ours, x, gradient), "pytorch": products(theirs, x, gradient)}
    few = slice(0, 8)  # float64 is slow
    wanted, terms = (
        products(exact, x[few].double(), gradient[few].double()),
        products(sizes, x[few].double(), gradient[few].double().abs()),
    )
    near = {"ours": products(ours, x[few], gradient[few]), "pytorch": products(theirs, x[few], gradient[few])}
    found = {}
    for name in wanted:
        seconds = alternate({who: way[name] for who, way in ways.items()}, rounds=rounds)
        right, scale = wanted[name](), terms[name]().clamp_min(1e-300)
        found[name] = {f"seconds {who}": statistics.median(values) for who, values in seconds.items()} | {
            f"error {who}": float(((way[name]() - right).abs() / scale).max() * 2**24) for who, way in near.items()
        }
    return found


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    if matrix.library() is None:
        print("This processor has no matrix units that can be used (snnguard doctor): there is nothing to compare.")
        return  # `make bench` goes on
    rows = {name: measured(*layer, given.rounds) for name, layer in LAYERS.items()}
    where = gather(seed=0)
    kept = {"rows": rows, "images": IMAGES, "rounds": given.rounds, "hardware": where.hardware, "versions": where.versions,
            "created": where.created, "command": where.command}  # fmt: skip
    given.out.write_text(json.dumps(kept, indent=1) + "\n")
    for name, row in rows.items():
        print(name, {product: f"{cell['seconds pytorch'] / cell['seconds ours']:.2f}" for product, cell in row.items()})


if __name__ == "__main__":
    main()
