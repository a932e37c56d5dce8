"""How many pairs are scored at a time."""

import torch

# Larger chunks are not faster on CPUs.
_ON_CPU = 256
# Half of the free memory stays for what is not counted.
_SHARE = 0.5
# A larger chunk would score many pairs that the early stop leaves out.
_MOST = 1024


def chosen_chunk_size(device: torch.device, bytes_per_pair: int | None) -> int:
    """The number of unordered pairs to score at a time, where the user does not say one.

    Args:
        device: where the pairs are scored. On a GPU, its free memory decides.
        bytes_per_pair: memory that a pair needs; None if it is not known.
    """
    if device.type != "cuda" or bytes_per_pair is None:
        return _ON_CPU
    return fitting_chunk_size(free_memory(device), bytes_per_pair)


def fitting_chunk_size(free: int, bytes_per_pair: int) -> int:
    """The number of pairs that half of the memory has room for, at most 1,024.

    It is a power of two, so that it seldom changes from one run to the next: the last bits of a matrix
    product depend on it.

    Args:
        free: bytes of free memory.
        bytes_per_pair: bytes that a pair needs.

    Example:
        >>> from reldn_d2.modeling.relation_head.chunk_size import fitting_chunk_size
        >>> [fitting_chunk_size(free * 2**20, bytes_per_pair=2**20) for free in (8192, 300, 0)]
        [1024, 128, 1]
    """
    fitting = min(int(free * _SHARE) // bytes_per_pair, _MOST)
    return 1 << max(fitting.bit_length() - 1, 0)


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU that are free, or that PyTorch holds without using them."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
