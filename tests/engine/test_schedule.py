import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from astroclf.engine.schedule import Constant, Cosine, OneCycle


def test_onecycle_ends_are_absolute():
    schedule = OneCycle(peak_lr=3e-4, total_steps=1000, warmup_fraction=0.3, start_lr=3e-5, end_lr=3e-8)
    rates = [schedule.lr(step) for step in range(1000)]
    assert rates[0] == pytest.approx(3e-5)
    assert max(rates) == pytest.approx(3e-4, rel=1e-5)
    assert rates.index(max(rates)) == pytest.approx(300, abs=1)
    assert rates[-1] == pytest.approx(3e-8)


@pytest.mark.parametrize("total", [50, 333])
def test_onecycle_agrees_with_pytorch_where_both_mean_the_same(total):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    # PyTorch's peak falls on pct_start * total - 1, ours on warmup_fraction * (total - 1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=total, pct_start=0.3)
    ours = OneCycle(peak_lr=1.0, total_steps=total, warmup_fraction=(0.3 * total - 1) / (total - 1))
    for step in range(total):
        assert ours.lr(step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        if step < total - 1:
            theirs.step()


@given(
    total=st.integers(1, 500),
    warmup=st.floats(0, 0.99),
    kind=st.sampled_from([Constant, Cosine, OneCycle]),
)
def test_rates_stay_between_zero_and_the_peak(total, warmup, kind):
    schedule = kind(peak_lr=0.1, total_steps=total, warmup_fraction=warmup)
    assert all(0 <= schedule.lr(step) <= 0.1 + 1e-12 for step in range(total))


def test_apply_sets_every_group():
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [p]} for p in parameters], lr=1.0)
    assert Constant(peak_lr=0.5, total_steps=3).apply(optimizer, 1) == 0.5
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]
