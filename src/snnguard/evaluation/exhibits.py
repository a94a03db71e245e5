"""What a report shows beside the verdicts: attacked images."""

import base64
import io
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from snnguard import rng
from snnguard.attacks import Attack, Model, predict
from snnguard.record import Picture
from snnguard.threat import Threat


def pictures(
    model: Model, x: Tensor, y: Tensor, *, attack: Attack, threat: Threat, labels: Sequence[str], seed: int = 0,
    count: int = 8, draws: int = 1,
) -> tuple[Picture, ...]:  # fmt: skip
    """The first `count` images with what the attack makes of them; the difference is amplified to the full range."""
    x, y = x[:count], y[:count]
    x_adv = attack(model, x, y, threat=threat, seed=rng.derive(seed, "pictures"))
    with rng.scope(rng.derive(seed, "pictures", "judgement")):
        before, after = (predict(model, images, draws=draws).argmax(1) for images in (x, x_adv))
    size = threat.high - threat.low
    largest = float((x_adv - x).abs().max())
    amplification = float(f"{size / (2 * largest):.3g}") if largest > 0 else 1.0
    return tuple(
        Picture(
            label=labels[int(y[i])], clean_label=labels[int(before[i])], adversarial_label=labels[int(after[i])],
            clean=png((x[i] - threat.low) / size), adversarial=png((x_adv[i] - threat.low) / size),
            difference=png(0.5 + (x_adv[i] - x[i]) * amplification / size), amplification=amplification,
        )
        for i in range(len(x))
    )  # fmt: skip


def png(image: Tensor) -> str:
    """[C, H, W] in [0, 1] as a PNG in base64: grey for one channel, else the first three as colours."""
    file = io.BytesIO()
    to_image(image).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def to_image(image: Tensor) -> Image.Image:
    """[C, H, W] in [0, 1] as a picture."""
    pixels = (image.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels[0].numpy() if len(pixels) < 3 else pixels[:3].permute(1, 2, 0).contiguous().numpy())
