"""Guards of a run that need no data: the session that cannot start."""

from pathlib import Path

import pytest

from memberlevel_spark import session
from memberlevel_spark.config import load_config
from memberlevel_spark.errors import ConfigError

CONFIG = load_config(Path(__file__).parents[2] / "conf" / "complete_journey.yaml")


class Builder:
    """A session builder that fails to start, as without Java."""

    def __getattr__(self, name: str):
        return self._same

    def _same(self, *_: object) -> "Builder":
        return self

    def getOrCreate(self) -> None:
        raise RuntimeError("[JAVA_GATEWAY_EXITED] Java gateway process exited\nat org.apache")


def test_a_spark_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(session.SparkSession, "builder", Builder())
    with pytest.raises(ConfigError, match=r"Spark did not start: \[JAVA_GATEWAY_EXITED\].* Check Java 17"):
        session._new_session(CONFIG.model_copy(update={"output_dir": tmp_path}))


class Conf:
    """Settings of a session without Delta."""

    def get(self, key: str, default: object = None) -> object:
        return {"spark.sql.session.timeZone": "UTC"}.get(key, default)


class Plain:
    """A session somebody else made."""

    conf = Conf()


def test_a_session_without_delta_is_refused_except_on_databricks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(session.SparkSession, "getActiveSession", lambda: Plain)
    with pytest.raises(ConfigError, match="the session has no Delta extension"):
        session.get_session(CONFIG)
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.0")
    assert session.get_session(CONFIG) is Plain
