"""A shop of five members whose tables are written by hand, as Delta would, and models that nobody trained."""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memberlevel_spark.config import Config, load_config
from memberlevel_spark.examples.build import level_needs, model_inputs
from memberlevel_spark.examples.encoder import Encoder
from memberlevel_spark.examples.event_inputs import EventInputs
from memberlevel_spark.examples.typical import TYPICAL, TypicalMembers
from memberlevel_spark.features.point_in_time import configured_features, configured_measures, configured_rules
from memberlevel_spark.registry.bundle import publish, write_alias
from memberlevel_spark.registry.champion import CHAMPION, registry_dir
from memberlevel_spark.run import Shop
from memberlevel_spark.serving.member_rows import READ

JOURNEY = Path(__file__).parent.parent / "conf" / "complete_journey.yaml"
FIRST_DAY, LAST_DAY, SCORED = date(2017, 1, 1), date(2017, 12, 31), date(2017, 12, 24)
MEMBERS = ("a", "b", "c", "d", "e")


def served_config(out: Path, *more: str) -> Config:
    """Complete Journey's programme and dates, with few features."""
    features = ["features.windows_days=[7, 28]", "features.sequence_weeks=2", "features.sequence_events=0"]
    features += ["features.measures=[num_orders, spend_cents]", "features.more=[]"]
    return load_config(JOURNEY, [f"output_dir={out}", *features, *more], {})


def write_tables(config: Config) -> None:
    """Members with ever more orders, the last of them known from December on; nobody has levels by hand."""
    rng = np.random.default_rng(5)
    members, tiles, levels = [], [], []
    for place, name in enumerate(MEMBERS):
        since = date(2017, 12, 1) if name == "e" else FIRST_DAY
        profile = {"valid_from": since, "valid_to": None, "declared": True, "attributes": {}, "known_from": since}
        members.append({"member_id": name, **profile, "corrected_from": {}})
        levels.append({"member_id": name, "valid_from": since, "level": 0, "own_level": 0})
        if place > 1:
            later = since + timedelta(days=20)
            levels.append({"member_id": name, "valid_from": later, "level": place - 1, "own_level": place - 1})
        days = sorted(rng.choice((LAST_DAY - since).days, size=5 * place, replace=False)) if place else []
        for day in days:
            values = {"num_orders": 1, "spend_cents": int(rng.integers(100, 9_000))}
            tiles.append({"member_id": name, "day": since + timedelta(days=int(day)), **values})
    write_delta(config, "profiles", members)
    write_delta(config, "tiles", tiles)
    write_delta(config, "levels", levels, partition={"rules_version": configured_rules(config).version})
    write_scores(config, SCORED)


def write_delta(
    config: Config,
    field: str,
    rows: list[dict[str, object]],
    *,
    partition: dict[str, str] | None = None,
    version: int = 0,
) -> None:
    """Two files with the rows, in a commit that removes all files before it; absent measures are 0."""
    contract, kinds = READ[field]
    schema = pa.schema([("member_id", pa.string()), *kinds])
    absent = {kind.name: 0 if kind.type == pa.int64() else None for kind in schema}
    filled = [{**absent, **row} for row in rows]
    folder = config.shop_dir / "tables" / contract.name
    under = "/".join(f"{key}={value}" for key, value in (partition or {}).items())
    old = [str(path.relative_to(folder)) for path in folder.rglob("*.parquet")]
    actions: list[dict[str, object]] = [{"remove": {"path": path}} for path in old]
    for part in (0, 1):
        name = f"{under}/v{version}-{part}.parquet".lstrip("/")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(filled[part::2], schema), folder / name)
        actions.append({"add": {"path": name, "partitionValues": partition or {}}})
    _commit(folder, version, actions)


def write_scores(config: Config, *dates: date) -> None:
    """A ledger of which only the log is read."""
    folder = config.shop_dir / "tables" / "member_scores"
    stats = {str(day): json.dumps({"maxValues": {"as_of_date": str(day)}}) for day in dates}
    files = [{"path": f"{day}.parquet", "partitionValues": {}, "stats": text} for day, text in stats.items()]
    _commit(folder, 0, [{"add": file} for file in files])


def _commit(folder: Path, version: int, actions: list[dict[str, object]]) -> None:
    log = folder / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    begun = [{"protocol": {"minReaderVersion": 1}}, {"metaData": {"configuration": {}}}]
    (log / f"{version:020d}.json").write_text("\n".join(json.dumps(action) for action in [*begun, *actions]))


def publish_model(
    config: Config, *, seed: int, events: EventInputs | None = None, hidden: tuple[int, ...] = (8,)
) -> str:
    """Make a bundle of random weights champion; returns its version."""
    import torch
    from safetensors.torch import save

    from memberlevel_spark.models.networks import build_network
    from memberlevel_spark.models.spec import ModelSpec

    rules, measures = configured_rules(config), configured_measures(config)
    inputs = model_inputs(configured_features(config), rules, measures, config.features.sequence_weeks)
    means, ones = (3.0,) * len(inputs), (1.0,) * len(inputs)
    encoder = Encoder(inputs, rules.num_levels, means, ones, level_needs(rules), events)
    torch.manual_seed(seed)
    heads = {"level_head": "gate", "metrics": rules.metrics}
    spec = ModelSpec("mlp", len(encoder.names), rules.num_levels, hidden=hidden, periodic=4, **heads)  # type: ignore[arg-type]
    typical = TypicalMembers(((0.0,) * len(encoder.names),) * rules.num_levels)
    files = {
        "model.safetensors": save(build_network(spec).state_dict()),
        "model.json": json.dumps(spec.to_dict()).encode(),
        "encoder.json": encoder.to_json().encode(),
        "levels.json": config.levels.model_dump_json().encode(),
        TYPICAL: typical.to_json().encode(),
    }
    version = publish(registry_dir(Shop(config)), files)
    write_alias(registry_dir(Shop(config)), CHAMPION, version, {})
    return version
