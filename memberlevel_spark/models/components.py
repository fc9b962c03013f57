"""A fixed layer: the principal components of what a network reads, as the encoder found them.

Shape legend: B rows, P elements read, C components.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PrincipalComponents(nn.Module):
    """[B, P] to [B, C]; its numbers are given, kept with the weights, and never learned."""

    def __init__(self, num_read: int, num_components: int) -> None:
        super().__init__()
        self.register_buffer("weight_CP", torch.zeros(num_components, num_read))
        self.register_buffer("constant_C", torch.zeros(num_components))

    def take(self, components: Sequence[Sequence[float]]) -> None:
        """Take over ``examples/components.py``'s components, as many as there are here."""
        given = torch.tensor(components, dtype=torch.float32)
        self.get_buffer("weight_CP").copy_(given[:, :-1])
        self.get_buffer("constant_C").copy_(given[:, -1])

    def forward(self, plain_BP: Tensor) -> Tensor:
        """Return the components of each row."""
        return nn.functional.linear(plain_BP, self.get_buffer("weight_CP"), self.get_buffer("constant_C"))
