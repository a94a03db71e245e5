"""Common corruptions: what lenses, sensors, weather and file formats do to images, with no regard for the model."""

from collections.abc import Callable
from typing import Any, Literal, final, get_args

from pydantic import Field, field_validator
from torch import Tensor

from snnguard import rng
from snnguard.choice import unknown
from snnguard.errors import InvalidInput, UnknownName
from snnguard.threat import Threat

from .aim import Aim
from .attack import Attack
from .blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from .dice import Dice
from .digital import contrast, elastic, jpeg, pixelate
from .grain import gaussian_noise, impulse_noise, shot_noise
from .model import Model
from .weather import brightness, fog, frost, snow

Name = Literal[
    "gaussian-noise", "shot-noise", "impulse-noise", "defocus-blur", "glass-blur", "motion-blur", "zoom-blur",
    "snow", "frost", "fog", "brightness", "contrast", "elastic", "pixelate", "jpeg",
]  # fmt: skip
NAMES: tuple[Name, ...] = get_args(Name)

TRANSFORMS: dict[Name, Callable[[Tensor, int, Dice], Tensor]] = {
    "gaussian-noise": gaussian_noise, "shot-noise": shot_noise, "impulse-noise": impulse_noise,
    "defocus-blur": defocus_blur, "glass-blur": glass_blur, "motion-blur": motion_blur, "zoom-blur": zoom_blur,
    "snow": snow, "frost": frost, "fog": fog, "brightness": brightness,
    "contrast": contrast, "elastic": elastic, "pixelate": pixelate, "jpeg": jpeg,
}  # fmt: skip
"""Each maps images [N, C, H, W] in [0, 1], float64 on the CPU, at a severity from 1 to 5, with random numbers of their own."""


@final
class Corruption(Attack, kind="corruption"):
    """One of the 15 corruptions of CIFAR-10-C at one of its five severities; not bounded by eps, so no evidence about the ball.

    For any number of channels and any size; the range is mapped to [0, 1] and back. The chance in it belongs to the image and
    is the same at every severity. SOURCE: Hendrycks & Dietterich 2019, the constants of its authors' CIFAR-10-C.
    DEVIATION: generated here, not their files: other random numbers, no rounding to 8 bits (except in JPEG), and what the
    functions name, above all frost without photographs of frost.
    """

    name: Name = "gaussian-noise"
    severity: int = Field(default=3, ge=1, le=5)

    @field_validator("name", mode="before")
    @classmethod
    def _is_known(cls, name: Any) -> Any:
        if isinstance(name, str) and name not in NAMES:
            raise UnknownName(unknown("corruption", name, NAMES))
        return name

    @property
    def bounded(self) -> bool:
        return False

    def run(self, model: Model, x: Tensor, aim: Aim, threat: Threat, seed: int) -> Tensor:  # noqa: ARG002
        if x.ndim != 4:
            raise InvalidInput(f"corruptions are for images [N, C, H, W], found {tuple(x.shape)}; take GaussianNoise instead")
        width = threat.high - threat.low
        unit = ((x.cpu().double() - threat.low) / width).clamp(0, 1)
        dice = Dice(x, rng.derive(seed, "corruption", self.name))
        corrupted = TRANSFORMS[self.name](unit, self.severity, dice).clamp(0, 1)
        return (threat.low + width * corrupted).to(x)
