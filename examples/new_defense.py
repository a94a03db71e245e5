"""A defense of one's own in a few lines: trained, judged, and compared image by image with the undefended network.

python examples/new_defense.py
"""

from typing import ClassVar, final

from pydantic import Field
from torch import Tensor, nn

import snnguard as sg
from snnguard.defenses import Batch, Defense, Step


@final
class QuietLogits(Defense, kind="quiet-logits"):
    """Loss + strength * mean(logits^2): an example, and no good one."""

    changes: ClassVar[str] = "loss"
    strength: float = Field(default=0.05, ge=0)

    def penalty(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor | None:  # noqa: ARG002
        return self.strength * logits.square().mean() if self.strength else None


def judged(defense: Defense) -> sg.Record:
    """The same network, seed, images and attacks, whatever the defense."""
    data = sg.data.load(sg.data.Data(name="digits", train_size=800, test_size=200))
    network = defense.design(sg.networks.Network(name="vgg4-tiny", steps=4))
    model = sg.networks.construct(
        network, classes=data.classes, image_shape=data.image_shape, mean=data.mean, std=data.std, seed=0
    )
    training = sg.training.Training(epochs=4, batch_size=64, optimiser=sg.training.AdamW(learning_rate=5e-3))
    sg.training.fit(model, data.train, data.validation, defense=defense, training=training, seed=0)
    x, y = data.test.pixels(slice(None)), data.test.labels
    return sg.evaluate(
        model, x, y, suite=sg.evaluation.suite("quick"), threat=sg.Linf(eps=16 / 255), required=defense.adaptive()
    )


def main() -> None:
    before, after = judged(sg.defenses.Stack()), judged(QuietLogits(strength=0.05))
    print(f"worst case: undefended {100 * before.worst.point:.1f} %, quiet logits {100 * after.worst.point:.1f} %")
    test = sg.evaluation.paired(before, after)
    print(f"of {test.total} images {test.only_one} stand undefended alone, {test.only_other} defended alone: p = {test.p:.2g}")
    print("a difference beyond chance" if test.p < 0.05 else "no difference beyond chance", "of this one pair of trainings")


if __name__ == "__main__":
    main()
