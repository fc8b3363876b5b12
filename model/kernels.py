"""The engine's Triton kernels, behind functions of static shape that a CUDA graph may capture.

Import it only where the tensors are on a GPU (or under TRITON_INTERPRET=1, as its tests do): a CPU build of
torch brings no Triton. No function here waits for the device, allocates anything but its results and
workspace by `torch.empty`, or launches a grid that depends on values. No row's result depends on another
row.
"""

from model.kernels_dense import add_rms_norm, depth_attention, int8_linear, silu_mul
from model.kernels_ring import ring_attention, rope_write

__all__ = ["add_rms_norm", "depth_attention", "int8_linear", "ring_attention", "rope_write", "silu_mul"]
