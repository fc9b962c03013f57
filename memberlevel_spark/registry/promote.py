"""The job promote: make a bundle champion by hand, such as the one before the present one.

In: the bundles of the registry. Out: the alias ``champion``, with a word that no gate decided it.
"""

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.registry.bundle import load_bundle, previous_of, read_alias, write_alias
from memberlevel_spark.registry.champion import CHAMPION, present_registry
from memberlevel_spark.registry.mirror import mirror_champion
from memberlevel_spark.registry.shared import pull_bundle, push_alias, push_bundle
from memberlevel_spark.run import RowCounts, Run, StageResult


def run_promote(run: Run) -> StageResult:
    """Point the alias at ``run.model_version``, or at the champion before; the bundle is verified first.

    Errors: ArtefactError when there was no champion before, or the bundle is missing or damaged.
    """
    registry, url = present_registry(run), run.config.registry.url
    version = run.model_version or previous_of(registry, CHAMPION)
    if version is None:
        raise ArtefactError(
            f"there is no champion to go back to: {registry}. Give the version of a bundle, the name of its folder."
        )
    pull_bundle(registry, url, version)
    load_bundle(registry, version)
    push_bundle(registry, url, version)
    before = read_alias(registry, CHAMPION)
    write_alias(registry, CHAMPION, version, {"passed": None, "reasons": ["by hand"]})
    push_alias(registry, url, CHAMPION)
    mirror_champion(run.config, version)
    return StageResult(RowCounts(0, 0), {}, {}, f"{version} is champion by hand, it was {before}; run score and advise")
