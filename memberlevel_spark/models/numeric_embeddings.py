"""Numbers as a few units each before they meet: a network alone is slow to learn what is not straight in one number.

Each feature goes through sines and cosines of a few frequencies that it learns, then through a layer of its own (the
periodic embeddings of Gorishniy, Rubachev, Babenko 2022, "On Embeddings for Numerical Features in Tabular Deep
Learning", there PLR, with low first frequencies).

Shape legend: B rows, P features, C frequencies, D units of each feature.
"""

import math

import torch
from torch import Tensor, nn

NUM_UNITS = 4
FREQUENCIES, WEIGHTS = "frequency_PC", "weight_PCD"
# Standard deviation of the first frequencies: a turn is then some twenty standard deviations of a feature long.
_FIRST_FREQUENCY = 0.05


class PeriodicEmbeddings(nn.Module):
    """[B, P] in, [B, P * D] out: ``NUM_UNITS`` of every feature, feature by feature."""

    def __init__(self, num_features: int, num_frequencies: int) -> None:
        super().__init__()
        self.frequency_PC = nn.Parameter(torch.randn(num_features, num_frequencies) * _FIRST_FREQUENCY)
        scale = 1 / math.sqrt(2 * num_frequencies)
        self.weight_PCD = nn.Parameter(torch.randn(num_features, 2 * num_frequencies, NUM_UNITS) * scale)
        self.bias_PD = nn.Parameter(torch.zeros(num_features, NUM_UNITS))

    def forward(self, features_BP: Tensor) -> Tensor:
        """Return the units."""
        # Rows last: along them a processor computes several times faster than along a few frequencies.
        features_P1B = features_BP.T.contiguous()[:, None]
        angle_PCB = 2 * math.pi * self.frequency_PC[:, :, None] * features_P1B
        waves_PCB = torch.cat([angle_PCB.sin(), angle_PCB.cos()], dim=1)
        units_PDB = torch.baddbmm(self.bias_PD[:, :, None], self.weight_PCD.transpose(1, 2), waves_PCB)
        return torch.relu(units_PDB).flatten(0, 1).T
