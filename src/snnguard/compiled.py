"""Compiles C sources at their first use, with the C compiler of this machine, and keeps the libraries in the cache.

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

from filelock import FileLock

from snnguard.cache import folder

ALWAYS = ("-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
ATTEMPTS = (("-march=native", "-fopenmp"), ("-mcpu=native", "-fopenmp"), ("-fopenmp",), ("-march=native",), ())
"""Tried in this order: what a compiler does not know, it refuses."""

log = logging.getLogger(__name__)


@cache
def library(*sources: Path) -> ctypes.CDLL | None:
    """The first of `sources`, compiled, or None; the others are what it includes. `SNNGUARD_KERNEL=torch` in the environment
    forgoes it."""
    if os.environ.get("SNNGUARD_KERNEL") == "torch":
        return None
    compiler = find_compiler()
    if compiler is None:
        log.info("no C compiler was found (CC, cc, gcc, clang): PyTorch operations do the work")
        return None
    try:
        path = folder("kernels") / f"{sources[0].stem}-{_digest(sources, compiler)}.so"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                if not path.exists():
                    compile_to(path, sources[0], compiler)
        return ctypes.CDLL(str(path))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # no home, no locks, no compiler that works
        log.warning("%s could not be built (%s): PyTorch operations do the work", sources[0].name, error)
        return None


def find_compiler() -> tuple[str, ...] | None:
    """The command of a C compiler: `$CC`, or the first of the usual names that exists."""
    for said in (os.environ.get("CC"), "cc", "gcc", "clang"):
        command = shlex.split(said or "")
        if command and shutil.which(command[0]):
            return tuple(command)
    return None


def compile_to(path: Path, source: Path, compiler: tuple[str, ...]) -> None:
    """Writes the library, all or nothing. Raises `SubprocessError` if no set of options works."""
    log.info("compiling %s, once for this machine", source.name)
    with TemporaryDirectory(dir=path.parent) as scratch:
        made, error = Path(scratch) / path.name, ""
        for options in ATTEMPTS:
            command = [*compiler, *ALWAYS, *options, "-o", str(made), str(source), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode == 0:
                made.replace(path)
                return
            error = done.stderr.strip()[-500:]
    raise subprocess.SubprocessError(f"{' '.join(compiler)} said: {error}")


def _digest(sources: tuple[Path, ...], compiler: tuple[str, ...]) -> str:
    """Of everything that the library depends on, with the processor's abilities: a home may be shared by many machines."""
    parts = [source.read_text() for source in sources] + [*compiler, *ALWAYS, repr(ATTEMPTS), platform.platform()]
    parts.append(subprocess.run([*compiler, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout)
    abilities = Path("/proc/cpuinfo")
    if abilities.exists():
        lines = abilities.read_text().splitlines()
        parts += sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()
