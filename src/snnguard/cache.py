"""Where things are kept that can be made again."""

import os
from pathlib import Path


def folder(kind: str) -> Path:
    """`$SNNGUARD_CACHE/kind`, or `~/.cache/snnguard/kind`; it need not exist yet."""
    return Path(os.environ.get("SNNGUARD_CACHE") or "~/.cache/snnguard").expanduser() / kind
