"""Losses of single rows: whoever adds up batches and ranks divides once, by the weight of all rows.

Shape legend: B rows of a batch, K levels, C categories, T tasks (level, orders, spend, next category).
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from memberlevel_spark.models.networks import Outlook

LevelLoss = Literal["likelihood", "hinge"]


def cross_entropy_B(log_p_level_BK: Tensor, target_B: Tensor) -> Tensor:
    """Return −log P(target) of each row, in nats."""
    return functional.nll_loss(log_p_level_BK, target_B, reduction="none")


def level_loss_B(log_p_level_BK: Tensor, target_B: Tensor, *, kind: LevelLoss, focal_gamma: float) -> Tensor:
    """Return what each row's level is unlikely by.

    ``hinge`` is the multi-class margin of Weston and Watkins, a mean over levels, which is the same for scores and for
    the log of their softmax. ``focal_gamma`` above 0 makes sure rows count less: times (1 − P(target))^γ (Lin et al.
    2017).
    """
    if kind == "hinge":
        return functional.multi_margin_loss(log_p_level_BK, target_B, reduction="none")
    loss_B = cross_entropy_B(log_p_level_BK, target_B)
    return loss_B if focal_gamma == 0 else loss_B * (1 - torch.exp(-loss_B)).clamp(min=0) ** focal_gamma


def distillation_loss_B(log_p_level_BK: Tensor, log_p_teacher_BK: Tensor, *, temperature: float) -> Tensor:
    """Return T² · KL(teacher ‖ student) of each row, in nats, between probabilities p^(1/T) made to sum to 1.

    T² keeps the gradient's size, whatever T is, beside the label's (Hinton, Vinyals and Dean 2015).
    """
    log_q_BK, log_q_teacher_BK = (
        functional.log_softmax(log_p_BK / temperature, dim=1) for log_p_BK in (log_p_level_BK, log_p_teacher_BK)
    )
    distance_BK = functional.kl_div(log_q_BK, log_q_teacher_BK, reduction="none", log_target=True)
    return temperature**2 * distance_BK.sum(dim=1)


def outcome_losses_B2(outlook: Outlook, outcomes_B2: Tensor) -> Tensor:
    """Return −log P(number of orders) and −log P(spend) of each row, in nats; both hold whether there is any order."""
    orders_B, spend_B = outcomes_B2.unbind(dim=1)
    some_B = orders_B > 0
    zero_B = torch.zeros_like(orders_B)
    orders_loss_B, spend_loss_B = (
        -torch.where(some_B, distribution.log_p_some_B + likelihood_B, outlook.log_p_none_B)
        for distribution, likelihood_B in (
            (outlook.orders, torch.where(some_B, outlook.orders.log_likelihood_given_some(orders_B), zero_B)),
            (outlook.spend, torch.where(some_B, outlook.spend.log_likelihood_given_some(spend_B), zero_B)),
        )
    )
    return torch.stack([orders_loss_B, spend_loss_B], dim=1)


def category_loss_B(log_p_category_BC: Tensor, category_B: Tensor) -> Tensor:
    """Return −log P(category | an order) of each row, in nats; 0 where ``category_B`` is −1: no order, or unknown."""
    return functional.nll_loss(log_p_category_BC, category_B.long(), ignore_index=-1, reduction="none")


def weighed_B(losses_BT: Tensor, log_scale_T: Tensor) -> Tensor:
    """Return Σ_t e^−s_t · loss_t + s_t of each row: the weights e^−s are learned with the network.

    Kendall, Gal and Cipolla 2018: a task whose outcome is uncertain anyway counts less.
    """
    return (losses_BT * torch.exp(-log_scale_T)).sum(dim=1) + log_scale_T.sum()
