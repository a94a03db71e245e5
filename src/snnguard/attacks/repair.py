"""A model whose code hides its gradient or keeps its state, made attackable without moving its answers."""

import copy
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from snnguard.neurons import straight_through


class Repaired(nn.Module):
    """Answers as `model` does, bit for bit, with the gradient that it should have.

    `bridged` modules, by name, pass the gradient straight through where their output has the shape of their input (BPDA:
    Athalye 2018). `awake` computes in training mode, normalisation, dropout and our own modules apart, for models that
    have a surrogate gradient in that mode only. `fresh` begins every call in the state that the model was in when this was
    made; what a call leaves behind is gone.
    """

    def __init__(
        self, model: nn.Module, *, bridged: Collection[str] = (), awake: bool = False, fresh: bool = False
    ) -> None:  # fmt: skip
        super().__init__()
        self.model, self.bridged, self.awake = model, tuple(bridged), awake
        self.state = _state(model) if fresh else None

    def mending(self, *, bridged: Collection[str], awake: bool, fresh: bool) -> "Repaired":
        """Another one of the same model and the same state."""
        other = Repaired(self.model, bridged=bridged, awake=awake)
        other.state = self.state if fresh else None
        return other

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block the model itself begins every call in that state: for who has to know its parts by name."""
        state = self.state or []
        handle = self.model.register_forward_pre_hook(lambda *_: _restore(state))
        try:
            yield
        finally:
            handle.remove()
            _restore(state)

    def forward(self, x: Tensor) -> Tensor:
        with ExitStack() as stack:
            if self.state is not None:
                _restore(self.state)
                stack.callback(_restore, self.state)
            if self.awake:
                stack.enter_context(awake(self.model))
            for name in self.bridged:
                handle = self.model.get_submodule(name).register_forward_hook(_bridge)
                stack.callback(handle.remove)
            logits: Tensor = self.model(x)
        return logits


@contextmanager
def awake(model: nn.Module) -> Iterator[None]:
    """Within the block every foreign module is in training mode but those that normalise or drop out.

    Ours never change their gradient with the mode (tests/contracts/test_neurons.py), and what they do add in training,
    noise for instance, is meant.
    """
    quiet = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)
    foreign = [m for m in model.modules() if not isinstance(m, quiet) and not _ours(m)]
    modes = [m.training for m in foreign]
    try:
        for module in foreign:
            module.training = True
        yield
    finally:
        for module, mode in zip(foreign, modes, strict=True):
            module.training = mode


def _ours(module: nn.Module) -> bool:
    return type(module).__module__.startswith("snnguard.")


def _bridge(_: nn.Module, args: tuple[Any, ...], out: object) -> object:
    given = args[0] if args else None
    if isinstance(given, Tensor) and isinstance(out, Tensor) and given.shape == out.shape and out.is_floating_point():
        return straight_through(out, given)
    return None


HELD = ("_parameters", "_modules", "_non_persistent_buffers_set", "training")

State = list[tuple[nn.Module, dict[str, Any]]]


def _state(model: nn.Module) -> State:
    """What each module holds beside its parameters, its parts and its mode; tensors copied.

    Ours keep nothing from call to call, and what they hold during an attack, the gradient rule above all, has to stay.
    """
    copies: dict[int, Any] = {}
    return [
        (module, {name: _copied(value, copies) for name, value in vars(module).items() if _is_state(name)})
        for module in model.modules()
        if not _ours(module)
    ]


def _restore(state: State) -> None:
    copies: dict[int, Any] = {}
    for module, held in state:
        for name in [n for n in vars(module) if n not in held and _is_state(n)]:
            del vars(module)[name]
        vars(module).update({name: _copied(value, copies) for name, value in held.items()})


def _is_state(name: str) -> bool:
    return name not in HELD and "hooks" not in name


def _copied(value: Any, copies: dict[int, Any]) -> Any:
    """A copy of tensors and of the containers that they lie in; what is shared stays shared, by way of `copies`."""
    if id(value) in copies:
        return copies[id(value)]
    made: Any = value
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        made = value.detach().clone()
    elif isinstance(value, dict | list | deque | set):
        made = copies[id(value)] = copy.copy(value)
        for key, item in _items(value):
            made[key] = _copied(item, copies)
    elif isinstance(value, tuple):
        items = [_copied(item, copies) for item in value]
        if any(new is not old for new, old in zip(items, value, strict=True)):
            made = type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    copies[id(value)] = made
    return made


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return [] if isinstance(value, set) else list(enumerate(value))
