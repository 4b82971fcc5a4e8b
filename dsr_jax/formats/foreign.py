"""The card of a foreign weights file: network, width and input convention by names, shapes and numbers."""

from dsr_jax import fcn, osnet, resnet
from dsr_jax.formats import input_convention, named_arrays, osnet_names
from dsr_jax.formats.card import NAMES, Card
from dsr_jax.formats.named_arrays import Tensors
from dsr_jax.layers import osnet_table


def architecture(tensors: Tensors) -> str:
    """The network that knows most of the names.

    Raises:
      ValueError: if no network knows any.
    """
    known = {
        network: len(names.layers(names.naming(tensors)).keys() & tensors.keys()) for network, names in NAMES.items()
    }
    if not any(known.values()):
        raise ValueError(
            "no VGG-16, ResNet-50 or OSNet: expected names such as 'block1_conv1/kernel', 'features.0.weight', "
            f"'layer1.0.conv1.weight' or 'conv2.0.gate.fc1.weight', found {named_arrays.listed(tensors) or 'nothing'}"
        )
    return max(known, key=lambda network: known[network])


def card(params: fcn.Params, tensors: Tensors, preprocessing: str | None) -> tuple[Card, list[str]]:
    """The card, and remarks: which arrays are left out, which input convention was chosen and why.

    Raises:
      ValueError: if the convention cannot be known and is not given.
    """
    network = architecture(tensors)
    names = NAMES[network]
    evidence = input_convention.evidence(params, tensors)
    convention, remark = input_convention.decide(evidence, names.naming(tensors), preprocessing)
    known = names.layers(names.naming(tensors))
    left_out = named_arrays.left_out({key: x for key, x in tensors.items() if key not in known})
    remarks = [f"left out, as no part of the network: {named_arrays.listed(left_out)}"] if left_out else []
    stride = osnet.STRIDE if network in osnet_names.NAMES else None  # others have a choice
    width = _width(params, network)
    return Card(architecture=network, width=width, output_stride=stride, preprocessing=convention), [*remarks, remark]


def _width(params: fcn.Params, network: str) -> float:
    """Channels of the first convolution as a multiple of the published network's."""
    if network in osnet_names.NAMES:
        return osnet_table.width(params)
    if network == "resnet50":
        return params["block1_conv"]["kernel"].shape[3] / resnet.CHANNELS
    return params["block1_conv1"]["bias"].size / fcn.CHANNELS[0]
