"""The stateless random numbers: reproducible, uniform, and independent of the batch they are made in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from memberlevel_spark.synthetic.draws import Purpose, child, counts, normals, root_key, uniforms
from memberlevel_spark.synthetic.ragged import unfold


def test_the_finaliser_is_splitmix64():
    """The first output of SplitMix64 with state 0, as in the reference implementation (Vigna, splitmix64.c)."""
    top_52_bits = 0xE220A8397B1DCDAF >> 12
    assert uniforms(np.zeros(1, np.uint64), 0)[0] == (top_52_bits + 0.5) / 2**52


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**40), numbers=st.lists(st.integers(0, 10**8), min_size=2, max_size=20, unique=True))
def test_a_draw_depends_on_its_own_names_only(seed: int, numbers: list[int]):
    keys = child(root_key(seed, Purpose.ORDER), np.array(numbers))
    alone = np.concatenate([child(root_key(seed, Purpose.ORDER), np.array([number])) for number in numbers])
    assert (keys == alone).all() and len(set(keys.tolist())) == len(numbers)
    drawn = uniforms(keys, 3)
    assert ((drawn > 0) & (drawn < 1)).all()


def test_purposes_and_seeds_do_not_share_draws():
    keys = [int(root_key(seed, purpose)[0]) for seed in (1, 2, 3) for purpose in Purpose]
    assert len(set(keys)) == len(keys) == 3 * len(Purpose)


@pytest.mark.parametrize("along", ["members", "days", "futures"])
def test_draws_are_uniform_and_uncorrelated_in_every_direction(along: str):
    root, many = root_key(7, Purpose.HISTORY), np.arange(20_000)
    ways = {"members": (child(root, many), 4), "days": (root, many * 8), "futures": (child(child(root, 5), many), 0)}
    drawn = uniforms(*ways[along])
    assert stats.kstest(drawn, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.03


def test_normals_are_standard_normal():
    drawn = normals(child(root_key(7, Purpose.HISTORY), np.arange(20_000)), 1)
    assert stats.kstest(drawn, "norm").pvalue > 0.001


def test_counts_have_the_mean_and_stay_in_range():
    keys = child(root_key(7, Purpose.ORDER), np.arange(50_000))
    drawn = counts(keys, 2, mean=2.6, most=100)
    assert drawn.min() == 1 and drawn.mean() == pytest.approx(2.6, rel=0.02)
    assert counts(keys, 2, mean=2.6, most=4).max() == 4 and set(counts(keys, 2, mean=1.0, most=9).tolist()) == {1}


def test_rows_unfold_by_their_counts():
    owner, place = unfold(np.array([2, 0, 3]))
    assert owner.tolist() == [0, 0, 2, 2, 2] and place.tolist() == [0, 1, 0, 1, 2]
