from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from astroclf.losses.class_weights import class_weights

GALAXY10_COUNTS = (1081, 1853, 2645, 2027, 334, 2043, 1829, 2628, 1423, 1873)
counts = st.lists(st.integers(1, 100_000), min_size=2, max_size=20)
betas = st.floats(0.0, 0.99999)


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        (0.9999, [1.1484, 0.6957, 0.5063, 0.6413, 3.5822, 0.6368, 0.7040, 0.5092, 0.8871, 0.6889]),
        (0.999, [1.0534, 0.8255, 0.7494, 0.8017, 2.4509, 0.7998, 0.8293, 0.7504, 0.9171, 0.8225]),
        (0.0, [1.0] * 10),
    ],
)
def test_weights_of_galaxy10(beta: float, expected: list[float]) -> None:
    weights = class_weights(GALAXY10_COUNTS, beta)
    assert weights.dtype == torch.float32
    assert [round(float(weight), 4) for weight in weights] == expected


@given(counts, betas)
def test_weights_sum_to_the_number_of_classes_and_favour_the_rare(sizes: list[int], beta: float) -> None:
    weights = class_weights(sizes, beta).double()
    assert torch.isfinite(weights).all()
    assert abs(float(weights.sum()) - len(sizes)) < 1e-4 * len(sizes)
    rarest_first = np.argsort(sizes)
    assert (np.diff(weights.numpy()[rarest_first]) <= 1e-6 * len(sizes)).all()


@given(counts)
def test_towards_one_the_weights_are_inverse_counts(sizes: list[int]) -> None:
    inverse = 1 / np.array(sizes)
    expected = inverse * len(sizes) / inverse.sum()
    np.testing.assert_allclose(class_weights(sizes, 1 - 1e-12), expected, rtol=1e-3)


@given(counts, st.floats(0.01, 0.99999))
def test_an_empty_class_weighs_nothing_and_changes_nothing(sizes: list[int], beta: float) -> None:
    weights = class_weights([*sizes, 0], beta)
    assert weights[-1] == 0
    torch.testing.assert_close(weights[:-1], class_weights(sizes, beta))


def test_counts_may_come_as_list_array_or_tensor() -> None:
    expected = class_weights([10, 200], 0.99)
    assert torch.equal(class_weights(np.array([10, 200]), 0.99), expected)
    assert torch.equal(class_weights(torch.tensor([10, 200]), 0.99), expected)


@pytest.mark.parametrize("sizes", [[], [5], [0, 0], [3, -1]])
def test_counts_that_make_no_data_set_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="class_counts"):
        class_weights(sizes, 0.9)


@pytest.mark.parametrize("beta", [-0.1, 1.0, float("nan")])
def test_beta_outside_its_range_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match="beta"):
        class_weights([1, 2], beta)


def test_effective_numbers_need_no_torch() -> None:
    code = "import sys; from astroclf.losses.class_weights import effective_numbers as f; f([3, 5], 0.99)"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
