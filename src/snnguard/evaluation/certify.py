"""Randomised smoothing: certificates of a noisy classifier's majority vote, and attacks on that same vote.

The smoothed classifier of a model f is g(x) = the class that f(x + N(0, sigma^2)) gives most often. Whatever f is, no
perturbation of Euclidean length below sigma Phi^-1(p) changes g(x), if that class has probability p > 1/2 (Cohen 2019).
Further randomness in f does no harm: the probability of a class is then taken over it as well.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from scipy import stats
from torch import Tensor, nn

from snnguard import rng
from snnguard.attacks import Attack, Model, check_labels, frozen
from snnguard.errors import RequestError
from snnguard.networks import SpikingClassifier
from snnguard.threat import L2

ABSTAINED = -1
"""Stands for the class where the votes do not settle it."""

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Certificates:
    """Per image the certified class, int64 [N] (-1: abstained), and the L2 radius in raw units, float64 [N] (then 0)."""

    classes: Tensor
    radii: Tensor


def certify(
    model: Model, x: Tensor, *, sigma: float | None = None, n0: int = 100, n: int = 1000, alpha: float = 0.001, seed: int = 0,
    batch_size: int = 256, report: Report | None = None,
) -> Certificates:  # fmt: skip
    """Certificates of the smoothed classifier around raw images `x` [N, *F]; each is wrong with probability `alpha` at most.

    With `sigma` the noise is added here; without it the model must draw its own (see `smoothing_sigma`). `n0` votes choose
    the class, `n` fresh ones bound its probability p from below (Clopper-Pearson, one-sided, level `alpha`): the radius is
    sigma Phi^-1(p), or none where p does not exceed one half. `n` votes reach at most sigma Phi^-1(alpha^(1/n)).
    An image's votes depend on the image, `seed` and `batch_size`, not on its neighbours. SOURCE: Cohen 2019, CERTIFY.

    Raises `RequestError` where there is no Gaussian noise to certify with, and for images that differ from step to step,
    around which a model's own noise, the same in all steps, is no Gaussian in all directions.
    """
    own = sigma is None
    model, sigma = _noisy(model, sigma)
    if own and isinstance(model, SpikingClassifier) and x.ndim > 1 + len(model.image_shape):
        raise RequestError("a model's own noise certifies images [N, C, H, W]; for images [N, T, C, H, W] give sigma=")
    _check(n=min(n, n0), alpha=alpha)
    classes, radii = [], []
    for i, (first, second) in enumerate(zip(*_seeds(x, seed, "choice", "bound"), strict=True)):
        top = int(_votes(model, x[i], n=n0, seed=first, batch_size=batch_size).argmax())
        found = _votes(model, x[i], n=n, seed=second, batch_size=batch_size)
        p = lower_bound(int(found[top]), n, alpha=alpha)
        classes.append(top if p > 0.5 else ABSTAINED)
        radii.append(sigma * float(stats.norm.ppf(p)) if p > 0.5 else 0.0)
        if report is not None:
            report("certify", i + 1, len(x))
    return Certificates(torch.tensor(classes, dtype=torch.int64), torch.tensor(radii, dtype=torch.float64))


def certified(certificates: Certificates, y: Tensor, *, radius: float) -> Tensor:
    """Whether each image is certified to be of class `y` [N] for every perturbation of length `radius`, bool [N]."""
    # At the certified radius itself the vote may stand at one half, so it does not count; at radius 0 every certificate does.
    reaches = certificates.radii > radius if radius > 0 else certificates.classes != ABSTAINED
    return (certificates.classes == y.cpu()) & reaches


def certified_accuracy(certificates: Certificates, y: Tensor, *, radius: float) -> float:
    """The share of images that are certified to be of class `y` for every perturbation of length `radius`."""
    return float(certified(certificates, y, radius=radius).double().mean())


def vote(
    model: Model, x: Tensor, *, sigma: float | None = None, n: int = 1000, alpha: float | None = 0.001, seed: int = 0,
    batch_size: int = 256,
) -> Tensor:  # fmt: skip
    """The smoothed classifier's prediction, int64 [N]: the class with most of `n` votes, or -1 for abstained.

    It abstains unless a two-sided binomial test at level `alpha` tells the first class from the second; then the class is
    another than the true majority with probability `alpha` at most. `alpha=None` never abstains: the plain majority.
    SOURCE: Cohen 2019, PREDICT.
    """
    model, _ = _noisy(model, sigma)
    _check(n=n, alpha=alpha if alpha is not None else 0.5)
    (seeds,) = _seeds(x, seed, "vote")
    classes = []
    for image, own in zip(x, seeds, strict=True):
        counts = _votes(model, image, n=n, seed=own, batch_size=batch_size)
        first, second = (*counts.sort(descending=True, stable=True).values[:2].tolist(), 0)[:2]
        settled = alpha is None or stats.binomtest(first, first + second, 0.5).pvalue <= alpha
        classes.append(int(counts.argmax()) if settled else ABSTAINED)
    return torch.tensor(classes, dtype=torch.int64)


def standing(
    model: Model, x: Tensor, y: Tensor, *, attacks: Mapping[str, Attack], threat: L2, radii: Sequence[float],
    sigma: float | None = None, n: int = 1000, alpha: float = 0.001, seed: int = 0, batch_size: int = 256,
    report: Report | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """Which images each attack on the smoothed classifier leaves standing at each radius: bool [radii, N] by name.

    An image has fallen where `vote` settles on another class than `y`; where it abstains, the image stands. So this is an
    upper bound of what withstands, as a certificate is a lower one. What falls at a radius stays fallen at larger ones.
    `radii` ascend; the attacks need an `InputGradient` of several draws, since they climb on an expectation (EoT): PGD and
    APGD under L2. Of `threat` the range counts, its eps is replaced by each radius.
    """
    check_labels(x, y)
    if list(radii) != sorted(radii):
        raise RequestError(f"radii must ascend, found {list(radii)}")
    model, _ = _noisy(model, sigma)
    judged = partial(vote, model, n=n, alpha=alpha, batch_size=batch_size)
    y_cpu, flags = y.cpu(), {}
    clean = ~_lost(judged(x, seed=seed), y_cpu)
    for name, attack in attacks.items():
        left, rows = clean.clone(), []
        for i, radius in enumerate(radii):
            index = left.nonzero().flatten()
            if radius > 0 and len(index):
                own, chosen = rng.derive(seed, name), index.to(x.device)
                wider = threat.model_copy(update={"eps": radius})
                parts = zip(x[chosen].split(batch_size), y[chosen].split(batch_size), strict=True)
                x_adv = torch.cat([attack(model, a, b, threat=wider, seed=own) for a, b in parts])
                left[index] = ~_lost(judged(x_adv, seed=own), y_cpu[index])
            rows.append(left.clone())
            if report is not None:
                report(name, i + 1, len(radii))
        flags[name] = torch.stack(rows)
    return flags


def smoothing_sigma(model: Model) -> float:
    """The standard deviation of the Gaussian noise that a model draws around each image itself; 0 for none.

    Input noise and the encoder's add up as independent Gaussians, sqrt(input_noise^2 + encoder^2). Valid, since RSC's mean
    over the steps is the image plus N(0, sigma^2 / T), and what the steps add to their mean is independent of both it and
    the image: mere further randomness of the model.
    """
    if isinstance(model, Noisy):
        return model.sigma
    if not isinstance(model, SpikingClassifier):
        return 0.0
    return math.hypot(model.input_noise, model.encoder.smoothing_sigma(model.steps))


def lower_bound(hits: int, n: int, *, alpha: float) -> float:
    """The probability that `hits` of `n` show at least, at confidence 1 - alpha. SOURCE: Clopper & Pearson 1934."""
    return float(stats.beta.ppf(alpha, hits, n - hits + 1)) if hits else 0.0


class Noisy(nn.Module):
    """model(x + N(0, sigma^2)), drawn anew in every call."""

    def __init__(self, model: Model, *, sigma: float) -> None:
        super().__init__()
        self.model, self.sigma = model, sigma

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x + self.sigma * torch.randn_like(x))


def _noisy(model: Model, sigma: float | None) -> tuple[Model, float]:
    """A model that draws Gaussian noise itself, and with which standard deviation."""
    if sigma is None:
        sigma = smoothing_sigma(model)
        if not sigma:
            raise RequestError(
                "this model draws no Gaussian noise around its images, so there is nothing to certify; train it with the "
                "defense `smoothing` or `rsc`, or give sigma"
            )
        return model, sigma
    if not (sigma > 0 and math.isfinite(sigma)):
        raise RequestError(f"sigma must be positive, found {sigma}")
    return Noisy(model, sigma=sigma), sigma


def _check(*, n: int, alpha: float) -> None:
    if n < 1 or not 0 < alpha < 1:
        raise RequestError(f"a vote needs n >= 1 and n0 >= 1 draws and an alpha between 0 and 1; found {n} and {alpha}")


def _seeds(x: Tensor, seed: int, *purposes: str) -> list[list[int]]:
    """A seed for each image and purpose, from the image itself."""
    return [[g.initial_seed() for g in rng.per_sample(x, rng.derive(seed, "smoothing", purpose))] for purpose in purposes]


def _votes(model: Model, image: Tensor, *, n: int, seed: int, batch_size: int) -> Tensor:
    """How often each class is the largest of `n` calls, int64 [K]."""
    counts = torch.zeros(1, dtype=torch.int64)
    with torch.no_grad(), frozen(model), rng.scope(seed):
        for begin in range(0, n, batch_size):
            logits = model(image.expand(min(batch_size, n - begin), *image.shape))
            found = torch.bincount(logits.argmax(1).cpu(), minlength=logits.shape[1])
            counts = counts + found
    return counts


def _lost(votes: Tensor, y: Tensor) -> Tensor:
    return (votes != y) & (votes != ABSTAINED)
