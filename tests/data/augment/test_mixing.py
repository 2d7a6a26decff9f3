"""Two images in one: what is seen of each is what the loss is told, and follows from the samples alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from astroclf.data.augment.draws import sample_keys
from astroclf.data.augment.mixing import draw_mix, mix_images
from astroclf.data.loader import Batch, BatchLoader, PixelBuffer
from astroclf.errors import ConfigError
from tests.data.augment.recipes import recipe

COUNT = 12


def keys(epoch: int = 0, count: int = COUNT) -> np.ndarray:
    return sample_keys(0, epoch, np.arange(count))


def flat_images(side: int = 16) -> torch.Tensor:
    """Images that are their own number everywhere, so that what is seen can be told."""
    return torch.arange(COUNT, dtype=torch.float32)[:, None, None, None].expand(COUNT, 2, side, side).contiguous()


def test_mixup_blends_by_the_share() -> None:
    mix = draw_mix(keys(), (16, 16), mixup=0.4, cutmix=0.0)
    mixed = mix_images(flat_images(), mix)
    expected = (1 - mix.shares_B) * np.arange(COUNT) + mix.shares_B * mix.partners_B
    np.testing.assert_allclose(mixed.mean(dim=(1, 2, 3)).numpy(), expected, atol=1e-5)
    assert mixed.std(dim=(1, 2, 3)).max() < 1e-5


def test_cutmix_pastes_a_rectangle_of_the_share() -> None:
    images = flat_images().contiguous(memory_format=torch.channels_last)
    mix = draw_mix(keys(), (16, 16), mixup=0.0, cutmix=1.0)
    mixed = mix_images(images, mix)
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    assert mix.boxes_B4 is not None
    for i, (top, left, bottom, right) in enumerate(mix.boxes_B4.tolist()):
        assert (mixed[i, :, top:bottom, left:right] == mix.partners_B[i]).all()
        pasted = (mixed[i] == mix.partners_B[i]).float().mean().item()
        assert mix.partners_B[i] == i or pasted == pytest.approx(mix.shares_B[i])
    assert len(np.unique(mix.shares_B.round(3))) > COUNT // 2


def test_shares_have_the_papers_distribution() -> None:
    """Beta(α, α): a mean of 1/2 and a variance of 1 / (4 (2 α + 1)); CutMix cuts boxes off at the edges."""
    for alpha in (0.2, 1.0):
        shares = np.concatenate([draw_mix(keys(e, 64), (8, 8), alpha, 0.0).shares_B for e in range(40)])
        assert shares.mean() == pytest.approx(0.5, abs=0.03)
        assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)
    cut = [draw_mix(keys(e), (8, 8), 0.2, 1.0).boxes_B4 is not None for e in range(200)]
    assert 70 < sum(cut) < 130


def batches(epoch: int = 0, start: int = 0, **changes: object) -> list[Batch]:
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    options = {"mixup": 0.4, "cutmix": 1.0} | changes
    train = bool(options.pop("train", True))
    loader = BatchLoader(
        PixelBuffer(images, "memory"), np.arange(40) % 7, np.arange(40), batch_size=8, augmentation=recipe(**options),
        seed=1, train=train, num_workers=1,
        targets=np.eye(7, dtype=np.float32)[np.arange(40) % 7],
    )  # fmt: skip
    return list(loader.epoch(epoch, start))


def test_batches_name_their_partners_labels_and_keep_their_own() -> None:
    plain = batches(mixup=0.0, cutmix=0.0)
    for batch, unmixed in zip(batches(), plain, strict=True):
        assert torch.equal(batch.labels_B, unmixed.labels_B)
        assert unmixed.partners is None
        assert batch.partners is not None
        labels_B, targets_BC, shares_B = batch.partners
        np.testing.assert_array_equal(np.sort(labels_B.numpy()), np.sort(unmixed.labels_B.numpy()))
        assert targets_BC is not None
        assert torch.equal(targets_BC.argmax(dim=1), labels_B)
        assert shares_B.dtype == torch.float32
        assert not torch.equal(batch.images_BCHW, unmixed.images_BCHW)


def test_an_epoch_begun_later_mixes_as_one_begun_at_its_start_and_no_other_epoch_does() -> None:
    whole, rest, other = batches(), batches(start=2), batches(epoch=1)
    for one, two in zip(whole[2:], rest, strict=True):
        assert torch.equal(one.images_BCHW, two.images_BCHW)
        assert one.partners is not None
        assert two.partners is not None
        assert torch.equal(one.partners.shares_B, two.partners.shares_B)
    assert not torch.equal(whole[0].partners.shares_B, other[0].partners.shares_B)  # type: ignore[union-attr]


def test_validation_and_test_are_never_mixed() -> None:
    assert all(batch.partners is None for batch in batches(train=False))


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_an_alpha_below_zero_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"augment.{name}=-1"):
        recipe(**{name: -1.0})
