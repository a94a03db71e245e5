"""The defenses that a set of recipes offers: every one by its name, alone and after adversarial training."""

from collections.abc import Iterator, Mapping

from snnguard.attacks import Attack
from snnguard.defenses import TGO, AdversarialTraining, Defense, Distill, Stack
from snnguard.errors import DefenseConflict
from snnguard.threat import Threat

HIDDEN = {"stack", "convex-residuals"}
"""Names of the family that are no defense by themselves."""


def variants(
    *, training: AdversarialTraining, tuned: Mapping[str, Defense] | None = None, tuned_at: Mapping[str, Defense] | None = None
) -> dict[str, Defense]:
    """Defenses by the names that they have in recipes: "undefended", NAME, "at-NAME" where a stack allows it, and TGO with
    distillation from an undefended teacher ("tgo-distill"), which is to win back the clean accuracy that TGO costs.

    A defense that crafts images crafts them as `training` does. `tuned` has the settings that were chosen for these
    recipes, `tuned_at` those for use after adversarial training, both by name; the rest keeps its defaults.
    """
    found: dict[str, Defense] = {"undefended": Stack()}
    found["tgo-distill"] = Stack(parts=((tuned or {}).get("tgo", TGO()), Distill()))
    for name in defense_names():
        alone = (tuned or {}).get(name) or crafting(Defense.parse(name), training.attack, training.threat)
        found[name] = alone
        beside = (tuned_at or {}).get(name) or alone
        try:
            found[f"at-{name}"] = Stack(parts=(training, beside))
        except DefenseConflict:
            continue  # the two cannot be had together, and the stack says why to whoever asks for it
    return found


def defense_names() -> Iterator[str]:
    """Every defense that ships with SNNGuard, sorted."""
    for name, make in Defense.members().items():
        if name not in HIDDEN and make.__module__.startswith("snnguard."):
            yield name


def crafting(defense: Defense, attack: Attack, threat: Threat) -> Defense:
    """`defense`, crafting its images with this attack under this threat, wherever it has such fields."""
    if isinstance(defense, Stack):
        return Stack(parts=tuple(crafting(part, attack, threat) for part in defense.parts))
    given = {"attack": attack, "threat": threat}
    return defense.model_copy(update={name: given[name] for name in given.keys() & type(defense).model_fields.keys()})
