"""What a report shows beside the verdicts: attacked images."""

import base64
import io
from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor

from snnguard import rng
from snnguard.attacks import Attack, Model, predict
from snnguard.record import Picture
from snnguard.threat import Threat


def pictures(
    model: Model, x: Tensor, y: Tensor, *, attacks: Mapping[str, Attack], threat: Threat, labels: Sequence[str], seed: int = 0,
    count: int = 8, draws: int = 1,
) -> tuple[Picture, ...]:  # fmt: skip
    """What each attack makes of the same `count` images, which are spread over the classes; `attacks` are named as shown.

    The difference is amplified to the full range, by one factor for each attack.
    """
    chosen = spread(y, count)
    x, y = x[chosen], y[chosen]
    shown: list[Picture] = []
    for name, attack in attacks.items():
        x_adv = attack(model, x, y, threat=threat, seed=rng.derive(seed, "pictures"))
        shown += _exhibited(model, x, x_adv, y, name=name, threat=threat, labels=labels, seed=seed, draws=draws)
    return tuple(shown)


def spread(y: Tensor, count: int) -> Tensor:
    """Places of `count` labels `y` [N]: the first of each class in the order of the classes, then the second of each, ...

    Fewer where there are fewer. So the first images shown do not all come from the class that happens to lead the data.
    """
    turns = torch.zeros_like(y)
    for label in y.unique():
        members = y == label
        turns[members] = torch.arange(int(members.sum()), device=y.device)
    order = sorted(range(len(y)), key=lambda i: (int(turns[i]), int(y[i])))
    return torch.tensor(order[:count], device=y.device, dtype=torch.long)


def _exhibited(
    model: Model, x: Tensor, x_adv: Tensor, y: Tensor, *, name: str, threat: Threat, labels: Sequence[str], seed: int,
    draws: int,
) -> list[Picture]:  # fmt: skip
    with rng.scope(rng.derive(seed, "pictures", "judgement")):
        before, after = (predict(model, images, draws=draws).argmax(1) for images in (x, x_adv))
    size = threat.high - threat.low
    largest = float((x_adv - x).abs().max())
    amplification = float(f"{size / (2 * largest):.3g}") if largest > 0 else 1.0
    return [
        Picture(
            attack=name, label=labels[int(y[i])], clean_label=labels[int(before[i])], adversarial_label=labels[int(after[i])],
            clean=png((x[i] - threat.low) / size), adversarial=png((x_adv[i] - threat.low) / size),
            difference=png(0.5 + (x_adv[i] - x[i]) * amplification / size), amplification=amplification,
        )
        for i in range(len(x))
    ]  # fmt: skip


def png(image: Tensor) -> str:
    """[C, H, W] in [0, 1] as a PNG in base64: grey for one channel, else the first three as colours."""
    file = io.BytesIO()
    to_image(image).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def to_image(image: Tensor) -> Image.Image:
    """[C, H, W] in [0, 1] as a picture."""
    pixels = (image.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels[0].numpy() if len(pixels) < 3 else pixels[:3].permute(1, 2, 0).contiguous().numpy())
