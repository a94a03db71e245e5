"""Tensors on disk: safetensors with a JSON card and a checksum inside the same file. No pickle is written or read.

Files are replaced atomically, and the state that training resumes from keeps its predecessor beside it, so that a crash
while writing, a full disk or a damaged file never costs more than the time since the last save.
"""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from snnguard.errors import CheckpointError
from snnguard.record import write_atomic

SEALED = {"card", "sha256", "seal"}
"""What the metadata holds; the seal is missing in files of the first version."""


def write_tensors(path: Path, tensors: dict[str, Tensor], card: dict[str, Any], *, keep_previous: bool = False) -> str:
    """Writes tensors and card as one file, atomically, and returns the checksum of the tensors (sha256)."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    checksum = _checksum(held)
    metadata = {"card": json.dumps(card), "sha256": checksum}
    data = save(held, metadata=metadata | {"seal": _seal(held, metadata)})
    if keep_previous and path.exists():
        write_atomic(previous(path), path.read_bytes())
    write_atomic(path, data)
    return checksum


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and card. Raises `CheckpointError` if the file is missing, damaged, half-written or not one of ours."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        card, checksum = json.loads(metadata["card"]), metadata["sha256"]
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {path}") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or half-written ({error}); use another checkpoint") from None
    except KeyError:
        raise CheckpointError(f"{path} was not written by SNNGuard: its card or checksum is missing") from None
    if (
        _checksum(tensors) != checksum
        or metadata.keys() - SEALED
        or metadata.get("seal") not in (None, _seal(tensors, metadata))
    ):
        raise CheckpointError(f"{path} is damaged: its content does not match its checksum; use another checkpoint")
    return tensors, card | {"sha256": checksum}


def previous(path: Path) -> Path:
    """Where the predecessor of a state lies."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def read_latest(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest readable state, or None if there never was one.

    A damaged newest one is passed over with a warning and set aside, so that the next save cannot put it in the place
    of its good predecessor.
    """
    if not path.exists() and not previous(path).exists():
        return None
    try:
        return read_tensors(path)
    except CheckpointError as error:
        if not previous(path).exists():
            raise CheckpointError(f"{error}. There is none before it: delete it, and training starts anew") from None
        state = read_tensors(previous(path))
        if path.exists():
            path.replace(path.with_name(f"{path.stem}.damaged{path.suffix}"))
        warnings.warn(f"{error}. Going on from the one before it, {previous(path).name}", stacklevel=2)
        return state


def load_weights(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Loads strictly. Raises `CheckpointError` that lists missing, extra and misshapen tensors; then nothing is changed."""
    own = model.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    shapes = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
        for name in sorted(own.keys() & tensors.keys())
        if tensors[name].shape != own[name].shape
    ]
    if missing or extra or shapes:
        faults = [
            f"{what}: {', '.join(names[:4])}{' and more' if len(names) > 4 else ''}"
            for what, names in (("missing", missing), ("not in this network", extra), ("of another shape", shapes))
            if names
        ]
        raise CheckpointError(f"{path} belongs to another network ({'; '.join(faults)}); nothing was loaded")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def pack_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors by flat names; its settings are not state, they come from the recipe."""
    packed = {}
    for index, values in optimiser.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                packed[f"optimiser.{index}.{name}"] = value
    return packed


def unpack_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Puts back what `pack_optimiser` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _seal(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Covers what the checksum of the bytes does not: the card, and the type and shape of every tensor."""
    forms = [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in sorted(tensors)]
    return hashlib.sha256(json.dumps([metadata["card"], metadata["sha256"], forms]).encode()).hexdigest()


def _checksum(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
