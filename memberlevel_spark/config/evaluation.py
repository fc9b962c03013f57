"""The section ``evaluation``: rivals of the model, and the parts and protected groups of members it is judged by."""

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field

from memberlevel_spark.config.base import IDENTIFIER, Model


class EvaluationConfig(Model):
    """Training rows the boosted-tree baseline is fitted on, on the driver; more are sampled down to about as many.
    When Spark fits trees on all of them, how many for each threshold, and how deep. Members below which a slice is
    judged together with other small ones, and draws for what chance explains.

    ``protected`` are attributes of the profiles by whose values, the groups, the model is judged; groups of fewer than
    ``min_group_members`` are judged together. ``call_share`` of the members are on the list of members to call, by
    thresholds for each group of the attribute ``call_by``, or by one for all."""

    boosted_tree_rows: int = Field(ge=100)
    spark_trees: Literal["never", "beyond_driver", "always"]
    # Every tree adds to the plan of the next one, and Spark's trees end at depth 30.
    spark_trees_rounds: int = Field(ge=1, le=200)
    spark_trees_depth: int = Field(ge=1, le=30)
    min_slice_members: int = Field(ge=1)
    num_resamples: int = Field(ge=0)
    protected: tuple[Annotated[str, Field(pattern=IDENTIFIER)], ...] = ()
    min_group_members: int = Field(default=30, ge=1)
    call_share: float = Field(default=0.1, gt=0, le=1)
    call_by: str | None = None


def protected_problems(
    evaluation: EvaluationConfig, attributes: Collection[str], *, reweighing: str | None
) -> list[tuple[str, str, Any]]:
    """Key, what is expected and what was found, for each that names no attribute, or none that is protected.

    ``attributes``: those of the member profiles.
    """
    named = f"an attribute of the profiles: {', '.join(sorted(attributes)) or 'there is none'}"
    problems: list[tuple[str, str, Any]] = [
        ("evaluation.protected", named, name) for name in evaluation.protected if name not in attributes
    ]
    chosen = {"evaluation.call_by": evaluation.call_by, "training.reweighing": reweighing}
    protected = f"null, or one of evaluation.protected: {', '.join(evaluation.protected) or 'there is none'}"
    problems += [(key, protected, name) for key, name in chosen.items() if name not in (None, *evaluation.protected)]
    return problems
