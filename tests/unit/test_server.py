"""The service over HTTP, in front of answers that are given by hand: bodies, bounds, statuses, counts, and the log."""

import json
import logging
from collections.abc import Iterator
from datetime import date

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from memberlevel_spark.errors import ArtefactError, ConfigError, DataQualityError, UnknownMemberError
from memberlevel_spark.serving.requests import Question
from memberlevel_spark.serving.server import application

SECRET = "cx011"
MEMBER = {
    "known_from": "2024-01-01",
    "tiles": [{"day": "2024-03-01", "num_orders": 1, "spend_cents": 1234}],
    "levels": [{"valid_from": "2024-01-01", "level": 0}],
}
GIVEN = {"member": MEMBER, "as_of": "2024-03-10"}


class Answers:
    """In the place of the service."""

    model_version: str | None = "m1"

    def __init__(self) -> None:
        self.problem: Exception | None = None
        self.asked: list[Question] = []

    def score(self, question: Question) -> dict[str, object]:
        self.asked.append(question)
        if self.problem:
            raise self.problem
        return {"as_of_date": date(2024, 3, 10), "p_up": 0.25}

    explain = score

    def health(self) -> tuple[bool, dict[str, object]]:
        return self.problem is None, {"status": "ok" if self.problem is None else "unavailable"}


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def client(answers: Answers) -> Iterator[TestClient]:
    app = application(answers, max_body_bytes=2_000)  # type: ignore[arg-type]
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("path", ["/score", "/explain"])
def test_a_question_is_answered_in_json(client: TestClient, answers: Answers, path: str):
    answer = client.post(path, json={"member_id": SECRET})
    assert (answer.status_code, answer.json()) == (200, {"as_of_date": "2024-03-10", "p_up": 0.25})
    assert answers.asked == [Question(member_id=SECRET)]
    assert client.post(path, json=GIVEN).status_code == 200


def changed(**changes: object) -> dict[str, object]:
    return {**GIVEN, "member": {**MEMBER, **changes}}


def tile(**values: object) -> dict[str, object]:
    return changed(tiles=[{"day": "2024-03-01", **values}])


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "body: either member_id or member"),
        ({"member_id": SECRET, **GIVEN}, "body: either member_id or member"),
        ({"member": MEMBER}, "body: as_of beside member"),
        ({"member_id": SECRET, "as_off": "2024-03-10"}, "body.as_off: Extra inputs are not permitted"),
        ({"member_id": ""}, "body.member_id: String should have at least 1 character"),
        ({"member_id": "x" * 513}, "body.member_id: String should have at most 512 characters"),
        ({"member_id": 7}, "body.member_id: Input should be a valid string"),
        ({**GIVEN, "as_of": 19_800}, "body.as_of: a date as text"),
        ({**GIVEN, "as_of": "1969-12-31"}, "body.as_of: Input should be greater than or equal to"),
        (tile(spend_cents=1.5), "body.member.tiles.0.spend_cents: Input should be a valid integer"),
        (tile(spend_cents="12"), "body.member.tiles.0.spend_cents: Input should be a valid integer"),
        (tile(spend_cents=2**40 + 1), "body.member.tiles.0.spend_cents: Input should be less than or equal to"),
        (tile(num_order=1), "body.member.tiles.0.num_order: Extra inputs are not permitted"),
        (changed(tiles=[{"day": "2024-13-01"}]), "body.member.tiles.0.day: Input should be a valid date"),
        (changed(levels=[]), "body.member.levels: List should have at least 1 item"),
        (changed(levels=[{"valid_from": "2024-01-01", "level": -1}]), "body.member.levels.0.level: Input should be"),
        (
            changed(profiles=[{"valid_from": "2024-01-01", "attributes": {"city": "U" * 1_001}}]),
            "body.member.profiles.0.attributes.city: String should have at most 1000",
        ),
        (
            changed(breakdowns=[{"day": "2024-03-01", "dimension": "colour", "value": "red"}]),
            "body.member.breakdowns.0.dimension: Input should be 'category'",
        ),
    ],
)
def test_a_body_that_does_not_fit_is_refused_with_where_and_what(client: TestClient, body: object, where: str):
    answer = client.post("/score", json=body)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error.startswith(f"the request does not fit: {where}") and error.endswith("as /openapi.json says.")
    assert SECRET not in error


@pytest.mark.parametrize("body", ["NaN", '{"member_id": NaN}', "{", "[" * 900, ""])
def test_what_is_no_json_or_no_number_is_refused(client: TestClient, body: str):
    answer = client.post("/score", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422) and answer.json()["error"]


@pytest.mark.parametrize("field", ["tiles", "levels", "profiles", "breakdowns"])
def test_rows_are_bounded_in_number(answers: Answers, field: str):
    row: dict[str, object] = {"day": "2024-03-01"} if field in ("tiles", "breakdowns") else {"valid_from": "2024-03-01"}
    row |= {"level": 0} if field == "levels" else {}
    row |= {"dimension": "hour", "value": "1"} if field == "breakdowns" else {}
    many = changed(**{field: [row] * 50_001})
    with TestClient(application(answers, max_body_bytes=10_000_000)) as client:  # type: ignore[arg-type]
        answer = client.post("/score", json=many)
    assert answer.status_code == 422 and f"body.member.{field}: List should have at most" in answer.json()["error"]


def test_a_long_body_is_refused_unread_whether_it_says_so_or_not(client: TestClient, answers: Answers):
    text = json.dumps({"member_id": SECRET, "as_of": " " * 2_000}).encode()
    told = client.post("/score", content=text, headers={"content-type": "application/json"})
    untold = client.post("/score", content=iter([text[:900], text[900:]]), headers={"content-type": "application/json"})
    for answer in (told, untold):
        assert answer.status_code == 413
        assert answer.json()["error"].startswith("the body is too long: more than 2000 bytes. Send fewer rows")
    assert answers.asked == []
    exact = json.dumps({"member_id": "x" * 100}).ljust(2_000).encode()
    assert client.post("/score", content=exact, headers={"content-type": "application/json"}).status_code == 200


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (UnknownMemberError("the tables know no such member: the given id. Check it."), 404),
        (DataQualityError("the member was not known: 2024-03-10. Ask for a later one."), 422),
        (ArtefactError("there is no champion: registry. Train one."), 503),
        (ConfigError("the pseudonym key is too short: 0 bytes. Set it."), 503),
    ],
)
def test_what_cannot_be_answered_says_what_to_do(client: TestClient, answers: Answers, problem: Exception, status: int):
    answers.problem = problem
    answer = client.post("/score", json={"member_id": SECRET})
    assert (answer.status_code, answer.json()) == (status, {"error": str(problem)})
    assert client.get("/health").status_code == 503


def test_another_path_or_method_is_told_the_ones_there_are(client: TestClient):
    for answer, status in ((client.get(f"/members/{SECRET}"), 404), (client.get("/score"), 405)):
        assert answer.status_code == status
        assert answer.json()["error"].endswith("Use POST /score, POST /explain, GET /health or GET /metrics.")


def metric(client: TestClient, sample: str, **labels: str) -> float | None:
    text = client.get("/metrics").text
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return next((each.value for each in samples if each.name == sample and each.labels.items() >= labels.items()), None)


def test_requests_errors_and_seconds_are_counted_by_path_and_status(client: TestClient, answers: Answers):
    client.post("/score", json=GIVEN)
    client.post("/score", json={})
    client.post("/score", content=b"x" * 3_000)
    client.get(f"/members/{SECRET}")
    assert metric(client, "memberlevel_requests_total", path="/score", status="200") == 1
    assert metric(client, "memberlevel_requests_total", path="/score", status="422") == 1
    assert metric(client, "memberlevel_requests_total", path="/score", status="413") == 1
    assert metric(client, "memberlevel_errors_total", path="/score") == 2
    assert metric(client, "memberlevel_errors_total", path="(other)") == 1
    assert metric(client, "memberlevel_request_seconds_count", path="/score") == 3
    assert metric(client, "memberlevel_request_seconds_bucket", path="/score", le="+Inf") == 3
    assert metric(client, "memberlevel_model", model_version="m1") == 1
    answers.model_version = None
    assert metric(client, "memberlevel_model") is None
    assert SECRET not in client.get("/metrics").text


def test_the_log_has_a_line_per_request_and_never_a_member_nor_what_a_failure_said(
    client: TestClient, answers: Answers, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    client.post("/score", json={"member_id": SECRET})
    client.get(f"/members/{SECRET}")
    answers.problem = KeyError(SECRET)
    answer = client.post("/score", json={"member_id": SECRET})
    assert answer.status_code == 500 and SECRET not in answer.text and "failed unexpectedly" in answer.json()["error"]
    own = [record.getMessage() for record in caplog.records if record.name == "memberlevel_spark"]
    assert [line.rsplit(" ", 2)[0] for line in own if " ms" in line] == [
        "POST /score 200",
        "GET (other) 404",
        "POST /score 500",
    ]
    assert any(line.startswith("unexpected KeyError at") and "test_server.py" in line for line in own)
    ours = [
        line
        for record in caplog.records
        if record.name != "httpx"
        for line in [record.getMessage(), record.exc_text or ""]
    ]
    assert SECRET not in "\n".join(ours)
