"""The Triton kernels compile for CUDA, also where a size is 1 and Triton makes a constant of it. Needs Triton, not a GPU."""

import os
from importlib.util import find_spec
from typing import Any

import pytest

interpreted = os.environ.get("TRITON_INTERPRET") == "1"
pytestmark = pytest.mark.skipif(find_spec("triton") is None or interpreted, reason="no Triton, or its interpreter is on")

FLAGS = {"AFFINE": True, "NOISY": True, "ADDS": True, "MOMENTS": True, "POTENTIAL": False, "ROWS": 16, "COLUMNS": 64}
EQUATIONS = {"STEPS": 4, "GIVEN": 4, "DECAY": 0.9, "THRESHOLD": 1.0, "SUBTRACT": False, "BANDS": 1}
SURROGATE = {"DETACH": False, "KIND": 0, "FIRST": 1.0, "SECOND": 0.0}
FORWARD = {
    "current": "*fp32", "scale": "*fp32", "offset": "*fp32",
    "noise": "*fp32", "spikes": "*fp32", "middle": "*fp32", "squares": "*fp32", "bands": "*fp32",
    "hinges": "*fp32", "potential": "*fp32",
}  # fmt: skip
BACKWARD = {
    "current": "*fp32", "scale": "*fp32", "offset": "*fp32", "centre": "*fp32", "sums": "*fp32", "products": "*fp32",
    "noise": "*fp32", "grad": "*fp32", "constant": "*fp32", "slope": "*fp32", "bands": "*fp32",
    "weights": "*fp32", "grad_potential": "*fp32", "scratch": "*fp32", "out": "*fp32",
}  # fmt: skip


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("sizes", [(2048, 64, 1), (1, 64, 1), (1, 1, 1), (1024, 3, 1024)])
@pytest.mark.parametrize("backward", [False, True])
def test_it_compiles_for_cuda(sizes: tuple[int, int, int], backward: bool, half: bool) -> None:
    from snnguard.neurons.kernels import gpu

    kernel, tensors = (gpu._backward, BACKWARD) if backward else (gpu._forward, FORWARD)
    constants: dict[str, Any] = {**FLAGS, **EQUATIONS, **(SURROGATE | {"SPIKES": True, "SCALES": False} if backward else {})}
    signature = {
        name: "*bf16" if half and name in ("current", "spikes", "grad", "out") else kind for name, kind in tensors.items()
    }
    for name, size in zip(("places", "channels", "inner"), sizes, strict=True):
        signature[name] = "constexpr" if size == 1 else "i32"
        constants |= {name: 1} if size == 1 else {}
    ptx = assembled(kernel, signature, constants)
    assert "fma.rn.f32" not in ptx or backward


def assembled(kernel: Any, signature: dict[str, str], constants: dict[str, Any]) -> str:
    """What the kernel is on an H100, with these types of its arguments."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = signature | dict.fromkeys([name for name in constants if name not in signature], "constexpr")
    ordered = {name: signature[name] for name in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=ordered, constexprs=constants)
    compiled: str = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": False}).asm["ptx"]
    return compiled


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", ["_moments", "_normalised", "_pack", "_unpack"])
def test_what_is_around_the_loop_compiles_too(name: str, half: bool) -> None:
    from snnguard.neurons.kernels import gpu_elements

    kernel = getattr(gpu_elements, name)
    wide = "*bf16" if half else "*fp32"
    types = {
        "current": wide, "grad": wide, "spikes": wide, "bits": "*u8", "size": "i32", "places": "i32", "channels": "i32",
        "inner": "i32",
    }  # fmt: skip
    constants = {
        key: value for key, value in {"ROWS": 16, "COLUMNS": 64, "STEPS": 4, "SIZE": 1024}.items() if key in kernel.arg_names
    }
    signature = {key: types.get(key, "*fp32") for key in kernel.arg_names if key not in constants}
    assert assembled(kernel, signature, constants)
