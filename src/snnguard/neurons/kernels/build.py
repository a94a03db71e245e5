"""Compiles native.c at its first use, with the C compiler of this machine, and keeps the library in the cache.

Without a compiler, or without a place to write to, there is no library, and PyTorch operations do the work.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from filelock import FileLock

from snnguard.cache import folder

SOURCES = (Path(__file__).with_name("native.c"), Path(__file__).with_name("native_loops.h"))
ALWAYS = ("-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
ATTEMPTS = (("-march=native", "-fopenmp"), ("-mcpu=native", "-fopenmp"), ("-fopenmp",), ("-march=native",), ())
"""Tried in this order: what a compiler does not know, it refuses."""

TYPES = {torch.float32: "f32", torch.float64: "f64", torch.bfloat16: "bf16"}
"""The types that native.c is compiled for, with the endings of its names."""

log = logging.getLogger(__name__)


class Setting(ctypes.Structure):
    """`Setting` of native.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("steps", "given", "outer", "channels", "inner")),
        *((name, ctypes.c_double) for name in ("decay", "threshold")),
        *((name, ctypes.c_int64) for name in ("subtract", "detach_reset", "surrogate")),
        *((name, ctypes.c_double) for name in ("first", "second")),
        *((name, ctypes.c_int64) for name in ("moments", "bands", "threads")),
        ("sigma", ctypes.c_double),
        *((name, ctypes.c_int64) for name in ("first_key", "second_key")),
    )


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel, or None. `SNNGUARD_KERNEL=torch` in the environment forgoes it."""
    if os.environ.get("SNNGUARD_KERNEL") == "torch":
        return None
    compiler = find_compiler()
    if compiler is None:
        log.info("no C compiler was found (CC, cc, gcc, clang): the neurons run on PyTorch operations")
        return None
    try:
        path = folder("kernels") / f"native-{_digest(compiler)}.so"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                if not path.exists():
                    compile_to(path, compiler)
        return ctypes.CDLL(str(path))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # no home, no locks, no compiler that works
        log.warning("the neuron kernel could not be built (%s): the neurons run on PyTorch operations", error)
        return None


def find_compiler() -> tuple[str, ...] | None:
    """The command of a C compiler: `$CC`, or the first of the usual names that exists."""
    for said in (os.environ.get("CC"), "cc", "gcc", "clang"):
        command = shlex.split(said or "")
        if command and shutil.which(command[0]):
            return tuple(command)
    return None


def compile_to(path: Path, compiler: tuple[str, ...]) -> None:
    """Writes the library, all or nothing. Raises `SubprocessError` if no set of options works."""
    log.info("compiling the neuron kernel, once for this machine")
    with TemporaryDirectory(dir=path.parent) as scratch:
        made, error = Path(scratch) / path.name, ""
        for options in ATTEMPTS:
            command = [*compiler, *ALWAYS, *options, "-o", str(made), str(SOURCES[0]), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode == 0:
                made.replace(path)
                return
            error = done.stderr.strip()[-500:]
    raise subprocess.SubprocessError(f"{' '.join(compiler)} said: {error}")


def _digest(compiler: tuple[str, ...]) -> str:
    """Of everything that the library depends on, with the processor's abilities: a home may be shared by many machines."""
    parts = [source.read_text() for source in SOURCES] + [*compiler, *ALWAYS, repr(ATTEMPTS), platform.platform()]
    parts.append(subprocess.run([*compiler, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout)
    abilities = Path("/proc/cpuinfo")
    if abilities.exists():
        lines = abilities.read_text().splitlines()
        parts += sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()
