"""The calendar of the simulated year: whole weeks, faults apart from each other and from the days of training."""

from datetime import date

import pytest

from tests.year.calendar import year_of


def test_weeks_are_counted_from_the_day_after_the_opening_and_end_with_a_training():
    year = year_of(6)
    assert (year.opening, year.last) == (date(2024, 11, 17), date(2024, 12, 29))
    assert (len(year.days), year.days[0], year.days[-1]) == (42, date(2024, 11, 18), year.last)
    assert [year.week_of(day) for day in year.days[5:8]] == [1, 1, 2]
    assert year.trainings[:2] == (date(2024, 11, 17), date(2024, 11, 24)) and year.trainings[-1] == year.last


def test_a_training_knows_only_labels_that_are_mature_on_its_day():
    year = year_of(6)
    assert year.settings_of(date(2024, 11, 24)) == [
        "timeline.test=2024-10-27",
        "timeline.validation=2024-09-29",
        "timeline.train.last=2024-09-01",
    ]
    dates = year.training_dates(date(2024, 11, 24))
    assert (dates[0], dates[1], dates[-1]) == (date(2024, 5, 19), date(2024, 5, 26), date(2024, 10, 27))


def test_each_fault_has_a_week_of_its_own_before_the_drift():
    year = year_of(6)
    faults = year.faults
    days = [faults.late, faults.bad, faults.crashed_silver, faults.crashed_score]
    assert [year.week_of(day) for day in days] == [1, 2, 3, 3] and year.week_of(year.drifts_from) == 4


def test_too_few_weeks_for_the_faults_are_refused():
    with pytest.raises(AssertionError):
        year_of(3)
