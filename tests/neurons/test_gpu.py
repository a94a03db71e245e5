"""The Triton kernels compile for CUDA, also where a size is 1 and Triton makes a constant of it. Needs Triton, not a GPU."""

import os
from importlib.util import find_spec
from typing import Any

import pytest

interpreted = os.environ.get("TRITON_INTERPRET") == "1"
pytestmark = pytest.mark.skipif(find_spec("triton") is None or interpreted, reason="no Triton, or its interpreter is on")

FLAGS = {"NOISY": False, "MOMENTS": True, "POTENTIAL": False, "ROWS": 16, "COLUMNS": 64}
EQUATIONS = {"STEPS": 4, "GIVEN": 4, "DECAY": 0.9, "THRESHOLD": 1.0, "SUBTRACT": False, "BANDS": 1}
SURROGATE = {"DETACH": False, "KIND": 0, "FIRST": 1.0, "SECOND": 0.0}
FORWARD = {
    "current": "*fp32", "noise": "*fp32", "spikes": "*fp32", "middle": "*fp32", "squares": "*fp32", "bands": "*fp32",
    "hinges": "*fp32", "potential": "*fp32",
}  # fmt: skip
BACKWARD = {
    "current": "*fp32", "noise": "*fp32", "grad": "*fp32", "constant": "*fp32", "slope": "*fp32", "bands": "*fp32",
    "weights": "*fp32", "grad_potential": "*fp32", "scratch": "*fp32", "out": "*fp32",
}  # fmt: skip


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("sizes", [(2048, 64, 1), (1, 64, 1), (1, 1, 1), (1024, 3, 1024)])
@pytest.mark.parametrize("backward", [False, True])
def test_it_compiles_for_cuda(sizes: tuple[int, int, int], backward: bool, half: bool) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from snnguard.neurons.kernels import gpu

    kernel, tensors = (gpu._backward, BACKWARD) if backward else (gpu._forward, FORWARD)
    constants: dict[str, Any] = {**FLAGS, **EQUATIONS, **(SURROGATE | {"SPIKES": True} if backward else {})}
    signature = {
        name: "*bf16" if half and name in ("current", "spikes", "grad", "out") else kind for name, kind in tensors.items()
    }
    for name, size in zip(("places", "channels", "inner"), sizes, strict=True):
        signature[name] = "constexpr" if size == 1 else "i32"
        constants |= {name: 1} if size == 1 else {}
    signature |= dict.fromkeys([name for name in constants if name not in signature], "constexpr")
    ordered = {name: signature[name] for name in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=ordered, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": False})
    assert "ptx" in compiled.asm
    assert "fma.rn.f32" not in compiled.asm["ptx"] or backward
