"""Combinations that papers call by a name of their own."""

from snnguard.attacks import Attack
from snnguard.choice import named
from snnguard.threat import Threat

from .adversarial_training import AdversarialTraining
from .defense import Defense
from .reg import REG, ConvexResiduals
from .stack import Stack


@named(Defense, "rat")
def rat(*, beta: float = 0.004, attack: Attack | None = None, threat: Threat | None = None) -> Stack:
    """Regularised adversarial training: AT + REG + convex residuals.

    SOURCE: Ding 2022 (SNN-RAT), beta 0.004. DEVIATION: the authors' checkpoint was trained with FGSM at 2/255; two PGD steps
    within 2/255 are what MPD-SGR calls AT. Its text on mixed neighbourhoods could not be matched to a formula.
    """
    given = {"attack": attack, "threat": threat}
    training = AdversarialTraining.parse({name: value for name, value in given.items() if value is not None})
    return Stack(parts=(training, REG(beta=beta), ConvexResiduals()))
