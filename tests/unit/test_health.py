"""Volume and freshness of tables, on days written out."""

from datetime import date, timedelta

from memberlevel_spark.monitoring.health import Usual, freshness, volume
from memberlevel_spark.monitoring.watched import Watched

SUNDAY = date(2024, 3, 10)
USUAL = Usual(weeks=5, min_rows=10)


def weeks_back(*rows: int) -> dict[date, int]:
    """Rows of the Sunday and of those before it, newest first; every Monday has a thousand."""
    sundays = {SUNDAY - timedelta(days=7 * week): number for week, number in enumerate(rows) if number}
    mondays = {SUNDAY - timedelta(days=7 * week + 6): 1000 for week in range(len(rows) - 1)}
    return sundays | mondays


def told(rows: dict[date, int], usual: Usual = USUAL) -> list[float | None]:
    found = list(volume("events/orders", rows, SUNDAY, usual))
    assert [(each.metric, each.subject, each.as_of_date) for each in found] == [
        ("volume_drop", "events/orders", SUNDAY),
        ("volume_rise", "events/orders", SUNDAY),
    ]
    return [each.value for each in found]


def test_a_day_is_compared_with_the_median_of_its_weekday():
    assert told(weeks_back(5, 18, 20, 400, 22, 19)) == [0.75, -0.75]
    assert told(weeks_back(60, 18, 20, 400, 22, 19)) == [-2.0, 2.0]


def test_a_day_without_rows_lacks_all_of_them_and_counts_as_none_in_the_weeks_before():
    assert told(weeks_back(0, 20, 20, 20, 20, 20)) == [1.0, -1.0]
    assert told(weeks_back(20, 40, 0, 20, 0, 40)) == [0.0, 0.0]


def test_the_weeks_go_back_no_further_than_they_should():
    assert told(weeks_back(20, 20, 20, 20, 20, 20, 900, 900, 900, 900)) == [0.0, 0.0]


def test_nothing_is_said_of_few_rows_few_weeks_or_holidays():
    assert told(weeks_back(1, 9, 9, 9, 9, 9)) == [None, None]
    assert told(weeks_back(1, 10, 10, 10, 10, 10)) == [0.9, -0.9]
    started = {day: rows for day, rows in weeks_back(5, 20, 20, 20).items() if day >= SUNDAY - timedelta(days=21)}
    assert told(started) == [None, None] and told({}) == [None, None]
    closed = Usual(weeks=5, min_rows=10, holidays=[SUNDAY])
    assert told(weeks_back(5, 20, 20, 20, 20, 20), closed) == [None, None]


def test_a_holiday_is_not_among_the_weeks_before():
    rows = weeks_back(20, 0, 20, 20, 0, 20, 20)
    holidays = [SUNDAY - timedelta(days=7), SUNDAY - timedelta(days=28)]
    assert told(rows, Usual(weeks=6, min_rows=10, holidays=holidays)) == [0.0, 0.0]


def test_age_is_counted_from_the_newest_day_up_to_the_date_and_at_most_from_where_one_looks():
    since = SUNDAY - timedelta(days=56)

    def age(*days_back: int) -> Watched:
        return freshness("member_days", [SUNDAY - timedelta(days=n) for n in days_back], SUNDAY, since=since)

    assert age(0, 3) == Watched("stale_days", "member_days", SUNDAY, 0.0)
    assert age(4, 3, -1).value == 3.0
    assert age().value == age(60).value == 56.0
