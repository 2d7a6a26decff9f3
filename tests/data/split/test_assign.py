"""Laws of splitting: disjoint, complete, groups together, classes in proportion, and no trace of the row order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from astroclf.data.catalog import Catalog
from astroclf.data.split.assign import Splits, assign_folds, split_rows, take_evenly
from astroclf.data.split.groups import group_rows as linked_groups
from astroclf.data.split.links import Links, exact_duplicates
from astroclf.errors import DataError


def group_rows(catalog: Catalog, digests: np.ndarray) -> np.ndarray:
    """By exact copies and the data set's own groups."""
    return linked_groups(catalog, Links(exact=exact_duplicates(digests)))[0]


def make_catalog(labels, digests=None, split=None, group=None) -> tuple[Catalog, np.ndarray]:
    labels = np.asarray(labels, np.int64)
    ids = np.array([f"row-{row}" for row in range(len(labels))])
    catalog = Catalog(
        ids=ids,
        labels=labels,
        classes=tuple(f"class {label}" for label in range(labels.max() + 1)),
        split=None if split is None else np.array(split),
        group=None if group is None else np.array(group),
    )
    return catalog, ids if digests is None else np.array(digests)


def make_splits(catalog: Catalog, digests: np.ndarray, val=0.2, test=0.2, seed=0) -> Splits:
    return split_rows(catalog, group_rows(catalog, digests), digests, val=val, test=test, seed=seed)


def parts(splits: Splits) -> list[np.ndarray]:
    return [splits.train, splits.val, splits.test]


def assert_every_row_once(splits: Splits, rows: int) -> None:
    np.testing.assert_array_equal(np.sort(np.concatenate(parts(splits))), np.arange(rows))
    assert all((np.diff(part) > 0).all() for part in parts(splits))


classes = st.lists(st.integers(3, 60), min_size=1, max_size=5)
fractions = st.tuples(st.floats(0.05, 0.4), st.floats(0.05, 0.4))


@settings(deadline=None, max_examples=60)
@given(classes, fractions, st.integers(0, 2**31))
def test_stratified_within_one_sample(counts, fraction, seed):
    catalog, digests = make_catalog(np.repeat(np.arange(len(counts)), counts))
    splits = make_splits(catalog, digests, *fraction, seed=seed)
    assert_every_row_once(splits, len(catalog))
    for part, share in zip((splits.val, splits.test), fraction, strict=True):
        assert np.abs(catalog.class_counts(part) - share * np.array(counts)).max() <= 1
        assert catalog.class_counts(part).min() >= 1
    assert catalog.class_counts(splits.train).min() >= 1


@st.composite
def grouped(draw):
    rows = draw(st.integers(30, 120))
    labels = draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))
    digests = draw(st.lists(st.integers(0, 100), min_size=rows, max_size=rows))
    group = draw(st.lists(st.sampled_from([""] * 30 + ["a", "b", "c"]), min_size=rows, max_size=rows))
    labels[:3] = [0, 1, 2]
    return make_catalog(labels, [f"{d:03d}" for d in digests], group=group)


@settings(deadline=None, max_examples=60)
@given(grouped(), st.integers(0, 1000), st.randoms(use_true_random=False))
def test_groups_never_straddle_and_row_order_does_not_matter(made, seed, random):
    catalog, digests = made
    groups = group_rows(catalog, digests)
    try:
        splits = make_splits(catalog, digests, seed=seed)
    except DataError:
        assume(False)
    assert_every_row_once(splits, len(catalog))
    part_of = np.empty(len(catalog), int)
    for index, part in enumerate(parts(splits)):
        part_of[part] = index
    for key in (groups, digests, catalog.group):
        for value in np.unique(key[key != ""] if key is catalog.group else key):
            assert len(np.unique(part_of[key == value])) == 1

    order = np.array(random.sample(range(len(catalog)), len(catalog)))
    shuffled = make_splits(catalog.take(order), digests[order], seed=seed)
    assert shuffled.fingerprints == splits.fingerprints
    for part, part_shuffled in zip(parts(splits), parts(shuffled), strict=True):
        assert sorted(digests[part]) == sorted(digests[order][part_shuffled])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_small_groups_keep_the_fractions(seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), 100)
    catalog, digests = make_catalog(labels, digests=[f"{d}" for d in rng.integers(0, 200, 300)])
    splits = make_splits(catalog, digests, 0.15, 0.15, seed=seed)
    for part in (splits.val, splits.test):
        assert np.abs(catalog.class_counts(part) - 15).max() <= 2


def test_links_add_up_to_one_group():
    catalog, digests = make_catalog([0] * 6, digests=["x", "x", "y", "y", "z", "w"], group=["", "m", "m", "", "", ""])
    groups = group_rows(catalog, digests)
    assert len(set(groups[:4])) == 1
    assert len(set(groups)) == 3
    assert groups.dtype == np.int64


def test_long_chain_of_links_is_one_group():
    rows = 200
    digests = [f"d{row // 2}" for row in range(rows)]
    group = [f"g{(row + 1) // 2}" for row in range(rows)]
    catalog, digests = make_catalog([0] * rows, digests=digests, group=group)
    assert len(set(group_rows(catalog, digests))) == 1


def test_seed_decides_and_repeats():
    catalog, digests = make_catalog(np.repeat([0, 1], 50))
    first, again, other = (make_splits(catalog, digests, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)
    assert first.fingerprints["test"] != other.fingerprints["test"]


def test_fingerprint_speaks_of_images_and_labels():
    labels = np.repeat([0, 1], 30)
    catalog, digests = make_catalog(labels)
    before = make_splits(catalog, digests).fingerprints
    assert len(set(before.values())) == 3
    renamed = Catalog(np.array([f"x{i}" for i in range(60)]), labels, catalog.classes)
    assert make_splits(renamed, digests).fingerprints == before
    relabelled = labels.copy()
    relabelled[make_splits(catalog, digests).test[0]] ^= 1
    assert make_splits(make_catalog(relabelled)[0], digests).fingerprints["test"] != before["test"]


def test_given_splits_are_kept():
    given_splits = ["train"] * 60 + ["val"] * 20 + ["test"] * 20
    catalog, digests = make_catalog(np.arange(100) % 2, split=given_splits)
    splits = make_splits(catalog, digests)
    np.testing.assert_array_equal(splits.train, np.arange(60))
    np.testing.assert_array_equal(splits.val, np.arange(60, 80))
    np.testing.assert_array_equal(splits.test, np.arange(80, 100))


def test_validation_is_cut_from_the_given_train():
    catalog, digests = make_catalog(np.arange(100) % 2, split=["train"] * 70 + ["test"] * 30)
    splits = make_splits(catalog, digests, val=0.2)
    np.testing.assert_array_equal(splits.test, np.arange(70, 100))
    assert_every_row_once(splits, 100)
    assert catalog.class_counts(splits.val).tolist() == [10, 10]


def test_rows_without_a_split_are_distributed():
    given_splits = ["train"] * 10 + ["val"] * 4 + ["test"] * 4 + [""] * 82
    catalog, digests = make_catalog(np.arange(100) % 2, split=given_splits)
    splits = make_splits(catalog, digests)
    assert set(range(10)) <= set(splits.train)
    assert set(range(10, 14)) <= set(splits.val)
    assert set(range(14, 18)) <= set(splits.test)
    assert [len(part) for part in parts(splits)] == [60, 20, 20]


def test_duplicates_given_to_two_splits_are_refused():
    catalog, digests = make_catalog(
        [0] * 20, digests=["same", *map(str, range(18)), "same"], split=["train"] * 19 + ["test"]
    )
    with pytest.raises(DataError, match=r"row-0.*row-19"):
        make_splits(catalog, digests)


def test_duplicate_of_a_given_test_image_joins_it():
    digests = [str(row) for row in range(40)]
    digests[0] = digests[39]
    catalog, digests = make_catalog([0, 1] * 20, digests=digests, split=[""] * 39 + ["test"])
    assert {0, 39} <= set(make_splits(catalog, digests).test)


def test_a_test_split_that_is_not_given_is_cut_from_the_given_train():
    catalog, digests = make_catalog(np.arange(100) % 2, split=["train"] * 80 + ["val"] * 20)
    splits = make_splits(catalog, digests, test=0.2)
    np.testing.assert_array_equal(splits.val, np.arange(80, 100))
    assert_every_row_once(splits, 100)
    assert catalog.class_counts(splits.test).tolist() == [10, 10]
    only_train, digests = make_catalog(np.arange(100) % 2, split=["train"] * 100)
    assert [len(part) for part in parts(make_splits(only_train, digests))] == [60, 20, 20]


@pytest.mark.parametrize("digests", [None, ["a", "b", *["same"] * 8]])
def test_class_with_too_few_samples_is_named(digests):
    if digests is None:
        catalog, digests = make_catalog([0] * 10 + [1] * 2)
        with pytest.raises(DataError, match=r"`class 1` \(2 samples.*exclude_classes=\['class 1'\]"):
            make_splits(catalog, digests)
    else:
        catalog, digests = make_catalog([0, 0, *[0] * 8], digests=[*digests[:1], *["same"] * 9])
        with pytest.raises(DataError, match="2 of them independent"):
            make_splits(catalog, digests)


def test_class_without_samples_is_named():
    catalog, digests = make_catalog([0] * 10 + [2] * 10)
    with pytest.raises(DataError, match="`class 1`"):
        make_splits(catalog, digests)


def test_three_large_groups_go_to_three_splits():
    catalog, digests = make_catalog([0] * 15, digests=np.repeat(["a", "b", "c"], 5))
    assert [len(part) for part in parts(make_splits(catalog, digests))] == [5, 5, 5]


def test_split_may_be_left_out():
    catalog, digests = make_catalog([0] * 10 + [1] * 2)
    splits = make_splits(catalog, digests, val=0.2, test=0)
    assert len(splits.test) == 0
    assert catalog.class_counts(splits.val).tolist() == [2, 1]


def test_folds_do_not_depend_on_the_order_of_the_rows():
    catalog, digests = make_catalog(np.arange(60) % 3)
    order = np.random.default_rng(0).permutation(60)
    groups = np.arange(60)
    fold = assign_folds(catalog, groups, digests, 4, seed=1)
    again = assign_folds(catalog.take(order), groups[order], digests[order], 4, seed=1)
    np.testing.assert_array_equal(fold[order], again)
    assert (np.bincount(fold) == 15).all()


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    order=st.sampled_from(["as they come", "sorted", "in turn"]),
    count=st.integers(1, 70),
)
def test_an_even_part_gives_each_class_its_share_whatever_the_order_of_the_file(labels, order, count):
    if order == "in turn":
        labels = [row % 5 for row in range(len(labels))]
    given_labels = np.array([9, *(sorted(labels) if order == "sorted" else labels)])  # row 0 is of another split
    rows = np.arange(1, len(given_labels))
    part = take_evenly(given_labels, rows, count)
    assert len(part) == min(count, len(rows))
    assert np.all(np.diff(part) > 0)
    assert set(part) <= set(rows)
    shares = np.bincount(given_labels[rows], minlength=5) * len(part) / len(rows)
    assert np.abs(np.bincount(given_labels[part], minlength=5) - shares).max() < 1
