"""Several defenses as one."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
        claimed: dict[str, str] = {}
        for part in self.parts:
            for claim in part.claims:
                if (other := claimed.setdefault(claim, part.kind)) != part.kind:
                    raise DefenseConflict(f"{other} and {part.kind} both {claim}; keep one of them")
        base = Network(name="vgg5-slim")
        changed: dict[str, tuple[str, Any]] = {}
        for part in self.parts:
            for place, value in changes(base, part.design(base)).items():
                other, earlier = changed.setdefault(place, (part.kind, value))
                if earlier != value:
                    raise DefenseConflict(
                        f"{other} and {part.kind} both set the network's {place}, to {earlier} and {value}; keep one"
                    )
        left = changes(base, self.design(base))
        for place, (kind, value) in changed.items():
            if left.get(place) != value:
                raise DefenseConflict(f"another part undoes what {kind} sets as the network's {place}; keep one of them")

    def touches(self) -> str:
        return ", ".join(dict.fromkeys(word for part in self.parts for word in part.touches().split(", "))) or self.changes

    def credits(self) -> str:
        return "; ".join(dict.fromkeys(credit for part in self.parts for credit in part.credits().split("; ")))

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

    def teachers(self) -> dict[str, Defense]:
        return {name: teacher for part in self.parts for name, teacher in part.teachers().items()}

    def groups(self, model: nn.Module) -> list[Group]:
        return [group for part in self.parts for group in part.groups(model)]

    def prepare(self, model: nn.Module, batch: Batch, step: Step) -> None:
        for part in self.parts:
            part.prepare(model, batch, step)

    def batch(self, model: nn.Module, batch: Batch, step: Step) -> Batch:
        for part in self.parts:
            batch = part.batch(model, batch, step)
        return batch

    @contextmanager
    def around(self, model: nn.Module, batch: Batch, step: Step) -> Iterator[None]:
        with ExitStack() as contexts:
            for part in self.parts:
                contexts.enter_context(part.around(model, batch, step))
            yield

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

    def finish(self, model: nn.Module, step: Step) -> None:
        for part in self.parts:
            part.finish(model, step)

    def adaptive(self) -> tuple[Attack, ...]:
        return tuple(dict.fromkeys(attack for part in self.parts for attack in part.adaptive()))


def changes(before: Network, after: Network) -> dict[str, Any]:
    """What differs between two descriptions of a network, by place: its fields, its neuron's, and the slots of its traits."""
    found = {f"{name}": value for name, value in after if name != "neuron" and value != getattr(before, name)}
    for name, value in after.neuron:
        if name != "traits" and value != getattr(before.neuron, name):
            found["neuron's leak" if name == "decay" else f"neuron.{name}"] = value
    had = before.neuron.traits
    return found | {f"neuron's {trait.slot}": trait for trait in after.neuron.traits if trait not in had}
