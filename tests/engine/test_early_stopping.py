from astroclf.engine.early_stopping import EarlyStopping


def test_patience_counts_epochs_not_validations():
    stopping = EarlyStopping(patience=2)
    losses = {0.25: 1.0, 0.5: 0.5, 0.75: 0.6, 1.0: 0.7, 2.0: 0.6, 2.25: 0.55}
    assert [stopping.update(loss, epoch) for epoch, loss in losses.items()] == [False] * 6
    assert stopping.update(0.51, 2.5)


def test_without_patience_it_never_stops():
    stopping = EarlyStopping(patience=None)
    stopping.update(0.1, 1)
    assert not any(stopping.update(1.0, epoch) for epoch in range(2, 500))


def test_state_travels():
    first = EarlyStopping(patience=3)
    first.update(0.2, 4.0)
    second = EarlyStopping(patience=3)
    second.load_state_dict(first.state_dict())
    assert second == first
