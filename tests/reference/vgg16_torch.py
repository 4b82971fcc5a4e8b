"""Makes vgg16_tiny.pth and vgg16_tiny_legacy.pth: a VGG-16 of width 1/64 in torchvision's names, as torch saves it.

    python tests/reference/vgg16_torch.py

needs torch (made with torch 2.13.0). The numbers come from NumPy by `arrays`, so that a test knows them without torch.
"""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
CHANNELS = (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8)
INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """The state dict: kernels (out, in, 3, 3), float32."""
    rng = np.random.default_rng(seed)
    state, before = {}, 3
    for index, channels in zip(INDICES, CHANNELS, strict=True):
        state[f"features.{index}.weight"] = rng.standard_normal((channels, before, 3, 3), np.float32)
        state[f"features.{index}.bias"] = rng.standard_normal(channels, np.float32)
        before = channels
    return state


if __name__ == "__main__":
    import torch

    state = {name: torch.from_numpy(x) for name, x in arrays().items()}
    torch.save(state, FOLDER / "vgg16_tiny.pth")
    torch.save(state, FOLDER / "vgg16_tiny_legacy.pth", _use_new_zipfile_serialization=False)
