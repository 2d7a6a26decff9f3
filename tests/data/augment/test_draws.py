"""The random numbers: functions of (seed, epoch, row) alone, and statistically sound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroclf.data.augment.draws import noise_field, normal_table, permutation, sample_keys, uniforms

WHOLE = st.integers(min_value=0, max_value=2**40)


@given(seed=st.integers(-(2**63), 2**64), epoch=WHOLE, rows=st.lists(WHOLE, min_size=1, max_size=8))
def test_a_row_gets_the_same_numbers_alone_and_among_others(seed: int, epoch: int, rows: list[int]) -> None:
    together = uniforms(sample_keys(seed, epoch, np.array(rows)), 5)
    alone = np.concatenate([uniforms(sample_keys(seed, epoch, np.array([row])), 5) for row in rows])
    np.testing.assert_array_equal(together, alone)


def test_uniforms_are_uniform_and_independent_of_their_neighbours() -> None:
    """Chi-squared over 64 bins, and correlations between neighbouring rows, epochs, seeds and draws."""
    count = 20_000
    base = uniforms(sample_keys(0, 0, np.arange(count)), 12)
    assert base.min() >= 0
    assert base.max() < 1
    for draw in base.T:
        observed = np.bincount((draw * 64).astype(int), minlength=64)
        chi_squared = ((observed - count / 64) ** 2 / (count / 64)).sum()
        assert 25 < chi_squared < 120  # 63 degrees of freedom: 6e-6 below, 2e-5 above
    next_epoch = uniforms(sample_keys(0, 1, np.arange(count)), 12)
    next_seed = uniforms(sample_keys(1, 0, np.arange(count)), 12)
    pairs = [(base[:, i], base[:, j]) for i in range(12) for j in range(i)]
    pairs += [(base[1:, i], base[:-1, i]) for i in range(12)]
    pairs += [(base[:, i], other[:, i]) for other in (next_epoch, next_seed) for i in range(12)]
    correlations = np.array([np.corrcoef(a, b)[0, 1] for a, b in pairs])
    assert np.abs(correlations).max() < 5 / np.sqrt(count)
    assert np.abs(correlations).std() < 1.5 / np.sqrt(count)


def test_epochs_seeds_and_rows_are_not_interchangeable() -> None:
    keys = [sample_keys(seed, epoch, np.arange(50)) for seed in range(20) for epoch in range(20)]
    assert len(np.unique(np.concatenate(keys))) == 20 * 20 * 50


@given(seed=WHOLE, epoch=WHOLE, count=st.integers(0, 200))
def test_permutation_holds_every_position_once(seed: int, epoch: int, count: int) -> None:
    np.testing.assert_array_equal(np.sort(permutation(seed, epoch, count)), np.arange(count))


def test_permutations_differ_between_epochs_and_seeds_and_favour_no_place() -> None:
    orders = np.stack([permutation(3, epoch, 10) for epoch in range(4000)])
    assert not np.array_equal(permutation(3, 0, 100), permutation(3, 1, 100))
    assert not np.array_equal(permutation(3, 0, 100), permutation(4, 0, 100))
    places = np.stack([np.bincount(orders[:, place], minlength=10) for place in range(10)])
    assert np.abs(places - 400).max() < 5 * np.sqrt(400 * 0.9)


def test_the_order_of_samples_shares_no_numbers_with_their_augmentation() -> None:
    order = permutation(0, 0, 20_000).astype(float)
    draws = uniforms(sample_keys(0, 0, np.arange(20_000)), 12)
    assert max(abs(np.corrcoef(order, draw)[0, 1]) for draw in draws.T) < 5 / np.sqrt(20_000)


def test_noise_is_white_gaussian_and_belongs_to_its_key() -> None:
    first, second = (noise_field(key, 65_536) for key in sample_keys(0, 0, np.arange(2)))
    for field in (first, second):
        assert field.mean() == pytest.approx(0, abs=5 / 256)
        assert field.std() == pytest.approx(1, abs=0.015)
        assert (field**4).mean() == pytest.approx(3, abs=0.15)
        for lag in (1, 2, 64, 256):
            assert abs(np.corrcoef(field[lag:], field[:-lag])[0, 1]) < 5 / 256
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / 256
    assert not np.array_equal(noise_field(np.uint64(7), 100), noise_field(np.uint64(7 + 2**40), 100))
    np.testing.assert_array_equal(noise_field(np.uint64(7), 99), noise_field(np.uint64(7), 100)[:99])


def test_normal_table_has_the_quantiles_of_a_normal() -> None:
    table = normal_table()
    assert table.std() == pytest.approx(1, abs=1e-6)
    assert table[int(0.8413447 * 65536)] == pytest.approx(1, abs=1e-3)
    assert (np.diff(table) >= 0).all()
    assert table[-1] > 4
