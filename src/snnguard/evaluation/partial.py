"""What an interrupted evaluation has finished: one JSON line per batch, in a file named by everything it depends on."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snnguard.errors import RequestError


def digest(model: object, evidence: Sequence[Tensor], asked: Any) -> str:
    """16 hex digits of the weights, of the tensors that the result depends on, and of what was asked."""
    sha = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    tensors = [*evidence, *(model.state_dict().values() if isinstance(model, nn.Module) else [])]
    for tensor in tensors:
        sha.update(str((tensor.dtype, tuple(tensor.shape))).encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()[:16]


class Partial:
    """Finished batches by (attack, number). Without a folder nothing is kept. A half-written last line is ignored."""

    def __init__(self, folder: Path | None, key: str) -> None:
        self.path = None if folder is None else folder / f"evaluation-{key}.jsonl"
        self._done: dict[tuple[str, int], dict[str, Any]] = {}
        if self.path is not None and self.path.exists():
            for text in self.path.read_text().splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    line = json.loads(text)
                    self._done[line["attack"], line["batch"]] = line["result"]

    def get(self, attack: str, batch: int) -> dict[str, Any] | None:
        """The result of a finished batch."""
        return self._done.get((attack, batch))

    def put(self, attack: str, batch: int, result: dict[str, Any]) -> None:
        """Keeps the result of a batch, in memory and on disk. The leading line break ends a half-written line."""
        self._done[attack, batch] = result
        if self.path is not None:
            line = json.dumps({"attack": attack, "batch": batch, "result": result})
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a") as file:
                    file.write("\n" + line)
            except OSError as error:
                said = f"cannot keep finished batches in {self.path}: {error.strerror or error}"
                raise RequestError(f"{said}; free some space, then run the same command again: it goes on") from error
