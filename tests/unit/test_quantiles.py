"""Normal scores of quantiles, against scikit-learn's and on literal rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.preprocessing import QuantileTransformer

from memberlevel_spark.errors import ArtefactError
from memberlevel_spark.evaluation.run_rate import RunRate
from memberlevel_spark.examples.encoder import Encoder, Input, Need
from memberlevel_spark.examples.quantiles import SHARES, SMALLEST_SHARE, normal_scores, of_normal_scores
from memberlevel_spark.examples.signed_log import signed_log
from memberlevel_spark.scoring.what_if import Lever


def knots_of(values: list[float]) -> tuple[float, ...]:
    return tuple(np.percentile(values, SHARES * 100).tolist())


def scores(values: list[float], knots: tuple[float, ...]) -> list[float]:
    return normal_scores(np.array(values, dtype=np.float64), knots).tolist()


LARGEST = norm.ppf(1 - SMALLEST_SHARE)


def test_at_knots_between_the_extremes_the_scores_are_scikit_learns():
    rng = np.random.default_rng(4)
    train = np.concatenate([np.zeros(120), np.full(40, 700.0), rng.gamma(0.7, 900.0, 300), [-40.0, 1e6]])
    theirs = QuantileTransformer(n_quantiles=33, output_distribution="normal", subsample=None).fit(train[:, None])
    knots = knots_of(train.tolist())
    asked = sorted(set(knots))[1:-1]
    assert 0.0 in asked and 700.0 in asked and len(asked) > 10
    expected = theirs.transform(np.array(asked)[:, None])[:, 0]
    assert scores(asked, knots) == pytest.approx(expected.tolist(), abs=1e-6)


# 17 knots are 0, one at a time is 1, 2, … 16.
HALF_ZERO = (*[0.0] * 17, *map(float, range(1, 17)))


def test_ties_lie_half_way_between_their_knots_and_scores_are_linear_in_the_logarithm_between_two():
    shares = {0.0: 0.25, 1.0: 17 / 32, 15.0: 31 / 32}
    assert scores(list(shares), HALF_ZERO) == pytest.approx(norm.ppf(list(shares.values())).tolist(), abs=1e-6)
    # log(1 + 3) lies half-way between log(1 + 1) and log(1 + 7).
    assert scores([3.0], (*[1.0] * 16, *[7.0] * 17)) == pytest.approx([norm.ppf([15 / 64, 3 / 4]).mean()], abs=1e-6)
    # Beyond the last knot but one a value is as far as its logarithm is: one half on the way from 15 to 255 is 63.
    heavy = (*HALF_ZERO[:-1], 255.0)
    assert scores([63.0], heavy) == pytest.approx([(norm.ppf(31 / 32) + LARGEST) / 2], abs=1e-6)


def test_beyond_the_extremes_of_training_a_score_stays_as_it_is_there():
    assert scores([16.0, 17.0, 1e9, -1.0], HALF_ZERO) == pytest.approx([LARGEST] * 3 + [norm.ppf(0.25)], abs=1e-6)
    upside_down = tuple(-knot for knot in reversed(HALF_ZERO))
    assert scores([0.0, -16.0, -99.0], upside_down) == pytest.approx([norm.ppf(0.75), -LARGEST, -LARGEST], abs=1e-6)


def test_an_input_that_never_varied_says_nothing_and_is_read_as_what_it_was():
    knots = (3.0,) * 33
    assert scores([3.0, -8.0, 1e9], knots) == [0.0, 0.0, 0.0]
    assert of_normal_scores(np.zeros(2), knots).tolist() == [3.0, 3.0]


def test_a_knot_is_read_back_as_itself_and_what_lies_beyond_as_the_nearest():
    knots = (-70_000.0, *HALF_ZERO[1:-1], 123_456_789.0)
    again = of_normal_scores(np.array(scores(list(knots), knots), dtype=np.float32).astype(np.float64), knots)
    assert np.rint(again).tolist() == list(knots)
    assert of_normal_scores(np.array([-9.0, 9.0]), HALF_ZERO) == pytest.approx([0.0, 16.0])


whole = st.integers(-1_000_000, 1_000_000).map(float)


@given(st.lists(whole | st.sampled_from([0.0, 700.0]), min_size=1, max_size=60), st.lists(whole, max_size=20))
def test_scores_never_fall_and_give_back_what_lies_between_the_extremes(train: list[float], more: list[float]):
    knots = knots_of(train)
    asked = np.array(sorted({*train, *more}))
    found = normal_scores(asked, knots)
    assert (np.diff(found) >= 0).all() and np.abs(found).max() <= LARGEST + 1e-6
    again = of_normal_scores(found.astype(np.float32).astype(np.float64), knots)
    # Some of float32's last digits of the score are lost in a gap between two knots.
    wanted = np.clip(asked, min(train), max(train))
    assert signed_log(again) == pytest.approx(signed_log(wanted), abs=1e-4)


def test_an_encoder_with_fewer_scales_than_inputs_is_refused():
    """As those that were written when a score was linear in the share."""
    text = ENCODER.to_json().replace('"quantiles"', '"knots"')
    with pytest.raises(ArtefactError, match="4 inputs, and not as many scales"):
        Encoder.from_json(text)


COLUMNS = ("spend_cents_sum_28d", "num_orders_sum_28d", "to_keep_spend_cents", "tenure_days")
ENCODER = Encoder(
    tuple(Input(name) for name in COLUMNS),
    2,
    (),
    (),
    (Need("spend_cents", 1, "to_level_1_spend_cents_carry_over"),),
    # Spend to 16,000 cents, orders to 16, 17 knots of each at 0; days known from 100 to 420.
    quantiles=(
        tuple(1000 * knot for knot in HALF_ZERO),
        HALF_ZERO,
        tuple(1000 * knot for knot in HALF_ZERO),
        tuple(100.0 + 10 * place for place in range(33)),
    ),
)


def encoded(cents: float, orders: float, to_keep: float, tenure: float, needed: float) -> np.ndarray:
    raw = np.array([[cents, orders, to_keep, tenure]])
    values = [ENCODER.scaled(place, raw[:, place])[0] for place in range(4)]
    return np.array([[*values, 1.0, 0.0, needed]], dtype=np.float32)


def raw_of(features: np.ndarray) -> list[float]:
    return [float(ENCODER.decode(name, features)[0]) for name in COLUMNS]


def test_more_spend_moves_the_sums_and_what_lacks_and_reaches_the_ties_exactly():
    features = encoded(2500.0, 3.0, 1200.0, 200.0, 5000.0)
    more = Lever.of(ENCODER, "spend_cents").with_more(features, np.array([1200.0]))
    assert raw_of(more) == pytest.approx([3700.0, 3.0, 0.0, 200.0], rel=1e-5)
    assert more[0, 2] == np.float32(norm.ppf(0.25))  # as whoever lacks nothing
    assert more[0, -1] == 3800.0
    nothing = Lever.of(ENCODER, "spend_cents").with_more(features, np.array([0.0]))
    np.testing.assert_allclose(nothing, features, atol=1e-6)


def test_the_run_rate_is_read_from_quantiles():
    run_rate = RunRate(ENCODER, (28,), horizon_days=7, every_metric=True)
    rows = np.concatenate([encoded(8000, 8, 0, 400, 1999), encoded(8000, 8, 0, 400, 2001), encoded(0, 0, 0, 400, 1)])
    found = run_rate.outcomes(rows)
    assert found.orders_N == pytest.approx([2, 2, 0], abs=1e-4)
    assert found.spend_N == pytest.approx([2000, 2000, 0], abs=0.1)
    assert run_rate.levels(rows).tolist() == [1, 0, 0]
