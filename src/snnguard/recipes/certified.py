"""A run whose network draws Gaussian noise: certified accuracy, and how far attacks on the same classifier get."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

from snnguard import evaluation, rng
from snnguard.attacks import APGD, PGD, Attack, InputGradient
from snnguard.data import Dataset, load
from snnguard.errors import RequestError
from snnguard.evaluation import Certificates, certified, gather, smoothing_sigma, standing
from snnguard.record import Provenance, write_atomic
from snnguard.threat import L2
from snnguard.training import resolve_device

from .judge import shareable
from .run import Run

SHARES = (0.0, 0.5, 1.0, 1.5, 2.0)
"""The radii that are reported unless others are asked for, in units of sigma; a thousand votes reach about 2.4."""

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Certified:
    """What is certified and what was broken. Counts are of `len(labels)` images, one per radius.

    `classes` and `reach` are the certified class (-1: none) and radius per image. `empirical` counts by attack what
    stands; `contradictions` are (image, radius, attack) where an attack broke what was certified: a certificate
    that is wrong, as each one may be with probability `alpha`, or a fault.
    """

    name: str
    sigma: float
    n0: int
    n: int
    alpha: float
    radii: tuple[float, ...]
    labels: tuple[int, ...]
    classes: tuple[int, ...]
    reach: tuple[float, ...]
    certified: tuple[int, ...]
    empirical: dict[str, tuple[int, ...]]
    contradictions: tuple[tuple[int, float, str], ...]
    provenance: Provenance

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        value: dict[str, Any] = json.loads(json.dumps({"schema": 1, **dataclasses.asdict(self)}))
        return value


def certify(
    run: Run, *, images: int = 100, n: int = 1000, n0: int = 100, alpha: float = 0.001, radii: Sequence[float] | None = None,
    attack: bool = True, steps: int = 50, draws: int = 10, seed: int = 0, batch_size: int = 256,
    dataset: Dataset | None = None, report: Report | None = None,
) -> Certified:  # fmt: skip
    """Certifies a run on its first `images` test images, attacks it at each radius, saves RUN/certificate.json.

    `radii` are L2 in raw units (default 0 to 2 sigma). With `attack`, PGD and APGD of `steps` steps, their gradients averaged
    over `draws`, attack the smoothed classifier, and its vote judges them. Raises `RequestError` for a network without
    Gaussian noise, and for radii that are not finite or negative.
    """
    recipe = run.recipe
    dataset = dataset or load(recipe.data)
    model, checksum = run.model(dataset)
    device = resolve_device(recipe.training.device)
    model.to(device)
    sigma = smoothing_sigma(model)
    if not sigma:
        raise RequestError(
            f"{run.folder} draws no Gaussian noise around its images, so there is nothing to certify; "
            "train it with the defense `smoothing` or `rsc`"
        )
    chosen = tuple(sorted({share * sigma for share in SHARES} if radii is None else set(map(float, radii))))
    if not chosen or not all(0 <= radius < float("inf") for radius in chosen):
        raise RequestError(f"radii are L2 lengths in raw units, 0 or more; found {list(chosen)}")
    x, y = dataset.test.pixels(slice(0, images), device), dataset.test.labels[:images].to(device)
    given: dict[str, Any] = {"n": n, "alpha": alpha, "batch_size": batch_size, "report": report}
    found = evaluation.certify(model, x, n0=n0, seed=rng.derive(seed, "certify"), **given)
    left: dict[str, torch.Tensor] = {}
    if attack:
        threat = L2(eps=0.0, low=recipe.threat.low, high=recipe.threat.high)
        attacks = against(steps=steps, draws=draws)
        left = standing(
            model, x, y, attacks=attacks, threat=threat, radii=chosen, seed=rng.derive(seed, "attack"), **given
        )  # fmt: skip
    provenance = gather(
        seed=seed, recipe=shareable(recipe), weights=checksum,
        data=f"{dataset.describe()}; certified: {len(x)} test images",
    )  # fmt: skip
    provenance = dataclasses.replace(
        provenance, versions={**provenance.versions, "scipy": metadata.version("scipy")}
    )  # fmt: skip
    sure = torch.stack([certified(found, y, radius=radius) for radius in chosen])
    result = Certified(
        name=recipe.name, sigma=sigma, n0=n0, n=n, alpha=alpha, radii=chosen, labels=tuple(y.tolist()),
        classes=tuple(found.classes.tolist()), reach=tuple(found.radii.tolist()), certified=tuple(sure.sum(1).tolist()),
        empirical={name: tuple(rows.sum(1).tolist()) for name, rows in left.items()},
        contradictions=contradictions(found, y, radii=chosen, left=left), provenance=provenance,
    )  # fmt: skip
    write_atomic(run.folder / "certificate.json", json.dumps(result.to_json(), indent=1).encode())
    return result


def against(*, steps: int, draws: int) -> dict[str, Attack]:
    """The attacks on a smoothed classifier: they climb on the loss averaged over draws of its noise."""
    gradient = InputGradient(draws=draws)
    return {"pgd": PGD(steps=steps, gradient=gradient), "apgd": APGD(steps=steps, gradient=gradient)}


def contradictions(
    found: Certificates, y: torch.Tensor, *, radii: Sequence[float], left: dict[str, torch.Tensor]
) -> tuple[tuple[int, float, str], ...]:
    """(image, radius, attack) wherever an image is certified and yet broken."""
    return tuple(
        (image, radius, name)
        for name, rows in left.items()
        for radius, stands in zip(radii, rows, strict=True)
        for image in (certified(found, y, radius=radius) & ~stands).nonzero().flatten().tolist()
    )
