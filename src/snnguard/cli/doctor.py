"""snnguard doctor."""

import os
import platform
from importlib import metadata

import torch
import typer
from rich.table import Table

from snnguard import rng
from snnguard.cache import folder
from snnguard.compiled import find_compiler
from snnguard.layers import matrix
from snnguard.neurons import Watch, unroll
from snnguard.neurons.kernels import run, triton_works
from snnguard.neurons.kernels.build import library
from snnguard.neurons.surrogate import Triangle
from snnguard.training import resolve_device

from .main import app, console

NEEDED = ("snnguard", "torch", "numpy", "lightning-fabric", "pydantic", "datasets", "safetensors", "plotly", "scikit-learn")


@app.command()
def doctor() -> None:
    """What is installed, which device and kernels are used, and whether the kernel agrees with its reference here."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row("python", platform.python_version())
    for name in NEEDED:
        table.add_row(name, metadata.version(name))
    device = resolve_device("auto")
    table.add_row("device", torch.cuda.get_device_name() if device.type == "cuda" else f"{device.type} ({platform.machine()})")
    table.add_row("threads", f"{torch.get_num_threads()} (OMP_NUM_THREADS sets them)")
    table.add_row("neuron kernel", kernel_name(device))
    table.add_row("matrix units", "used for convolutions in float32" if matrix.library() else "none that can be used")
    verdict = check_kernel(device)
    table.add_row("kernel against reference", verdict)
    console.print(table)
    if "WRONG" in verdict:
        raise typer.Exit(1)


def kernel_name(device: torch.device) -> str:
    """The backend that neurons run on here, and why it is not a faster one."""
    if device.type == "cuda" and triton_works(torch.device("cuda", torch.cuda.current_device())):
        return "Triton"
    if device.type == "cpu" and library() is not None:
        return f"compiled C ({' '.join(find_compiler() or ())}), kept in {folder('kernels')}"
    if os.environ.get("SNNGUARD_KERNEL") == "torch":
        return "PyTorch operations (SNNGUARD_KERNEL=torch)"
    missing = {"cuda": "Triton is not installed, or does not work", "cpu": "no C compiler was found, or it failed; set CC"}
    return f"PyTorch operations, several times slower: {missing.get(device.type, 'nothing faster for this device')}"


def check_kernel(device: torch.device) -> str:
    """Compares spikes and gradients of the kernel in use and of the reference loop on this device."""
    with rng.scope(0):
        current = torch.randn(4, 8, 16, 6, 6, device=device)
    spikes, gradients = [], []
    for backend in (unroll, run):
        leaf = current.clone().requires_grad_()
        out, seen = backend(
            leaf, steps=4, decay=0.9, threshold=1.0, reset="zero", detach_reset=False, surrogate=Triangle(),
            watch=Watch(moments=True),
        )  # fmt: skip
        assert seen is not None
        assert seen.var is not None
        (out.square().sum() + seen.var.sum()).backward()
        assert leaf.grad is not None
        spikes.append(out.detach())
        gradients.append(leaf.grad)
    same = torch.equal(*spikes)
    gap = float((gradients[0] - gradients[1]).abs().max())
    verdict = "good" if same and gap < 1e-4 else "WRONG, please report this"
    return f"{verdict}: spikes {'equal' if same else 'differ'}, largest gradient difference {gap:.1e}"
