"""Several defenses as one."""

from typing import Any, final

from pydantic import field_validator
from torch import Tensor, nn

from snnguard.attacks import Attack
from snnguard.errors import DefenseConflict
from snnguard.networks import Network
from snnguard.neurons import Watch

from .defense import Batch, Defense, Group, Step


@final
class Stack(Defense, kind="stack"):
    """Parts contribute from left to right; `Stack(parts=())` is no defense. Stacks inside a stack are flattened.

    Raises `DefenseConflict` when it is made, if two parts replace the loss, change the same field of the network in
    different ways, or are of the same kind.
    """

    changes = "what its parts change"

    parts: tuple[Defense, ...] = ()

    def __init__(self, parts: tuple[Defense, ...] = (), **rest: Any) -> None:
        super().__init__(**{"parts": parts, **rest})
        self._refuse_conflicts()  # not in a validator: pydantic would turn the `DefenseConflict` into an error of its own

    @field_validator("parts", mode="after")
    @classmethod
    def _flat(cls, parts: tuple[Defense, ...]) -> tuple[Defense, ...]:
        return tuple(one for part in parts for one in (part.parts if isinstance(part, Stack) else (part,)))

    def _refuse_conflicts(self) -> None:
        kinds = [part.kind for part in self.parts]
        for kind in kinds:
            if kinds.count(kind) > 1:
                raise DefenseConflict(f"{kind!r} stands {kinds.count(kind)} times in one stack; give it once")
        objectives = [part.kind for part in self.parts if type(part).objective is not Defense.objective]
        if len(objectives) > 1:
            raise DefenseConflict(f"{' and '.join(objectives)} each replace the training loss; keep one of them")
        base = Network(name="vgg5-slim")
        changed: dict[str, tuple[str, Any]] = {}
        for part in self.parts:
            after = part.design(base)
            for field in Network.model_fields:
                value = getattr(after, field)
                if value == getattr(base, field):
                    continue
                other, earlier = changed.setdefault(field, (part.kind, value))
                if earlier != value:
                    raise DefenseConflict(
                        f"{other} and {part.kind} both set the network's {field}, to {earlier} and {value}; keep one"
                    )

    @property
    def watch(self) -> Watch:
        watch = Watch()
        for part in self.parts:
            watch = watch | part.watch
        return watch

    def design(self, network: Network) -> Network:
        for part in self.parts:
            network = part.design(network)
        return network

    def groups(self, model: nn.Module) -> list[Group]:
        return [group for part in self.parts for group in part.groups(model)]

    def batch(self, model: nn.Module, batch: Batch, step: Step) -> Batch:
        for part in self.parts:
            batch = part.batch(model, batch, step)
        return batch

    def objective(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> Tensor | None:
        found = [part.objective(model, batch, logits, step) for part in self.parts]
        return next((loss for loss in found if loss is not None), None)

    def penalties(self, model: nn.Module, batch: Batch, logits: Tensor, step: Step) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for part in self.parts:
            found |= part.penalties(model, batch, logits, step)
        return found

    def constrain(self, model: nn.Module, step: Step) -> None:
        for part in self.parts:
            part.constrain(model, step)

    def adaptive(self) -> tuple[Attack, ...]:
        return tuple(attack for part in self.parts for attack in part.adaptive())
