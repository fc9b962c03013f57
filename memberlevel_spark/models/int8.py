"""Linear layers that hold their weights in 8 bits and multiply 8-bit whole numbers; on CPUs, to score, not to learn.

In: a network in float. Out: the same with 8-bit layers in its body. The heads stay in float: they are narrow, so that
little is to be gained, and small probabilities need their digits.

How fine the inputs are cut is decided row by row as they come ("dynamic"), so no rows to calibrate with are needed and
a row's result does not depend on the rows beside it. PyTorch's own dynamic layers decide it for a whole batch, are
deprecated with the tensors they are made of, and only pickle writes their weights; these are plain tensors.

Shape legend: B rows, I inputs, O outputs.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

LARGEST = 127
# All inputs of a row may be 0.
_SMALLEST = 1e-30
# Without these instructions PyTorch multiplies whole numbers one by one, some 60 times slower than floats.
_FAST_WITH_WHOLE_NUMBERS = torch.cpu._is_vnni_supported()


class Int8Linear(nn.Module):
    """``y = x · weightᵀ + bias``, weights and inputs being whole numbers of steps: one step per output, one per row."""

    def __init__(self, linear: nn.Linear) -> None:
        """Round the weights of a layer in float."""
        super().__init__()
        weight_OI = linear.weight.detach()
        step_O = weight_OI.abs().amax(dim=1).clamp(min=_SMALLEST) / LARGEST
        self.register_buffer("weight_OI", torch.round(weight_OI / step_O[:, None]).to(torch.int8))
        self.register_buffer("step_O", step_O)
        self.register_buffer("bias_O", linear.bias.detach().clone())

    def forward(self, values: Tensor) -> Tensor:
        """Return [..., O] of [..., I]; a row that is not finite gives no finite number."""
        x_BI = values.flatten(0, -2)
        step_B1 = x_BI.abs().amax(dim=1, keepdim=True).clamp(min=_SMALLEST) / LARGEST
        whole_BI = torch.round(x_BI / step_B1)
        sum_BO = product_BO(whole_BI, self.get_buffer("weight_OI"), whole=_FAST_WITH_WHOLE_NUMBERS)
        y_BO = sum_BO * step_B1 * self.get_buffer("step_O") + self.get_buffer("bias_O")
        return y_BO.unflatten(0, values.shape[:-1])


def product_BO(whole_BI: Tensor, weight_OI: Tensor, *, whole: bool) -> Tensor:
    """Multiply whole numbers of at most 127, given as floats, with 8-bit weights; ``whole`` says in which arithmetic.

    Floats hold every whole number up to 2²⁴: the sum of up to 1,040 products is the same to the bit either way.
    """
    if whole:
        return torch._int_mm(whole_BI.to(torch.int8), weight_OI.t()).to(whole_BI.dtype)
    return functional.linear(whole_BI, weight_OI.to(whole_BI.dtype))


def use_int8_layers(module: nn.Module) -> None:
    """Put an 8-bit layer in the place of every linear one in ``module``."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, Int8Linear(child))
        else:
            use_int8_layers(child)


def quantised(network: nn.Module) -> nn.Module:
    """Return a copy of a network (``networks.py``) whose body computes with 8-bit numbers."""
    smaller = copy.deepcopy(network)
    use_int8_layers(smaller.get_submodule("body"))
    return smaller
