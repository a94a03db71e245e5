"""Where a number comes from."""

import datetime
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from snnguard.record import Provenance


def gather(*, seed: int, recipe: dict[str, Any] | None = None, data: str = "", weights: str = "") -> Provenance:
    """The provenance of a number that is made now, in this process."""
    return Provenance(
        command=command_line(), created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        commit=commit(), versions=versions(), hardware=hardware(), recipe=recipe or {}, data=data, weights=weights,
        seed=seed,
    )  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    names = ("snnguard", "torch", "numpy")
    return {name: metadata.version(name) for name in names} | {"python": platform.python_version()}


def hardware() -> str:
    """One line about the machine."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"


def commit() -> str:
    """The commit of the source tree, marked "-dirty" if it was changed; "unknown" outside a checkout."""
    asked = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        said = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.stdout.strip()


def command_line() -> str:
    """The command as it was typed, but for the folders that absolute paths lead through: they are nobody's business."""
    return " ".join([Path(sys.argv[0]).name, *map(_without_folders, sys.argv[1:])])


def _without_folders(part: str) -> str:
    key, equals, value = part.rpartition("=")
    return f"{key}{equals}{Path(value).name}" if value.startswith(("/", "~")) else part
