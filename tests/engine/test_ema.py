import torch

from astroclf.engine.ema import ModelEMA


def test_the_average_follows_the_weights():
    model = torch.nn.Linear(2, 2)
    ema = ModelEMA(model, decay=0.5)
    for _ in range(60):
        with torch.no_grad():
            model.weight.fill_(3.0)
        ema.update()
    torch.testing.assert_close(ema.model().weight, model.weight)
    assert not ema.model().training


def test_the_average_takes_in_statistics_but_no_nan():
    model = torch.nn.BatchNorm1d(2)
    ema = ModelEMA(model, decay=0.5)
    for mean in (1.0, torch.nan, 1.0):
        model.running_mean.fill_(mean)
        ema.update()
    averaged = ema.model().running_mean
    assert torch.isfinite(averaged).all()
    assert (averaged > 0.5).all()
    other = ModelEMA(torch.nn.BatchNorm1d(2), decay=0.5)
    other.load_state_dict(ema.state_dict())
    assert torch.equal(other.model().running_mean, averaged)
