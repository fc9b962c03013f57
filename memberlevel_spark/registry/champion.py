"""The champion: the bundle that the alias points at, verified and of the shop's level programme."""

from pathlib import Path

from memberlevel_spark.config.levels import LevelsConfig
from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.registry.bundle import Bundle, load_bundle, read_alias
from memberlevel_spark.registry.shared import pull_alias
from memberlevel_spark.run import Shop

# Whose scores count, and the model that was registered last, whatever the gate said of it.
CHAMPION, CHALLENGER = "champion", "challenger"


def registry_dir(shop: Shop) -> Path:
    """The registry folder of the shop."""
    return shop.shop_dir / "registry"


def present_registry(shop: Shop) -> Path:
    """The registry folder, whose champion is that of ``registry.url`` where there is one.

    Errors: ArtefactError when what the URL holds is damaged or cannot be reached; the folder then stays as it was.
    """
    registry = registry_dir(shop)
    pull_alias(registry, shop.config.registry.url, CHAMPION)
    return registry


def load_champion(shop: Shop) -> Bundle:
    """The verified champion. Errors: ArtefactError when there is none, or it belongs to another level programme."""
    registry = present_registry(shop)
    version = read_alias(registry, CHAMPION)
    if version is None:
        raise ArtefactError(
            f"there is no champion to score with: {registry}. Train, evaluate and register a model that passes the"
            " gate."
        )
    bundle = load_bundle(registry, version)
    require_programme(bundle, shop.config.levels)
    return bundle


def require_programme(bundle: Bundle, levels: LevelsConfig) -> None:
    """Errors: ArtefactError when a bundle belongs to another level programme."""
    if bundle.files["levels.json"] != levels.model_dump_json().encode():
        raise ArtefactError(
            f"the champion was trained for another level programme: {bundle.version}. Train and register a model for"
            " the present `levels`, or score with the configuration it was trained on."
        )
