"""Splits that cannot leak: links become groups, contradictions are resolved, folds and fewer labels keep both."""

from __future__ import annotations

import numpy as np
import pytest

from astroclf.data.catalog import SPLITS, Catalog
from astroclf.data.split.links import Links, Pairs, no_pairs
from astroclf.data.split.splits import make_splits
from astroclf.errors import ConfigError, DataError
from astroclf.settings.dataset import SplitSettings
from tests.settings.defaults import default

GALAXY10 = (1081, 1853, 2645, 2027, 334, 2043, 1829, 2628, 1423, 1873)  # of the full file


def make_catalog(labels, **columns) -> tuple[Catalog, np.ndarray]:
    labels = np.asarray(labels, np.int64)
    ids = np.array([f"row-{row}" for row in range(len(labels))])
    classes = tuple(f"class {label}" for label in range(labels.max() + 1))
    return Catalog(ids, labels, classes, **{k: np.array(v) for k, v in columns.items()}), np.array(
        [f"{row:08x}" for row in range(len(labels))]
    )


def pairs(*rows: tuple[int, int]) -> Pairs:
    return Pairs(np.array(rows, np.int64).reshape(-1, 2), np.ones(len(rows)))


def settings(**changes) -> SplitSettings:
    return default(SplitSettings, **changes)


def split_of(splits, count: int) -> np.ndarray:
    names = np.full(count, "", dtype=object)
    for name in SPLITS:
        names[getattr(splits, name)] = name
    return names


@pytest.fixture(scope="module")
def galaxies() -> tuple[Catalog, np.ndarray, Links]:
    """Galaxy10's counts, with its 59 pairs of contradicting copies and 460 rows with a neighbour."""
    labels = np.repeat(np.arange(10), GALAXY10)
    rng = np.random.default_rng(0)
    rng.shuffle(labels)
    catalog, digests = make_catalog(labels)
    rows = rng.permutation(len(labels))[: 2 * 59 + 460]
    copies, near = rows[: 2 * 59].reshape(-1, 2), rows[2 * 59 :].reshape(-1, 2)
    return catalog, digests, Links(exact=no_pairs(), near=pairs(*copies), sky=pairs(*near))


@pytest.mark.parametrize("fold", [None, "2/5"])
def test_galaxy10_is_stratified_within_a_point_and_no_link_crosses(galaxies, fold):
    catalog, digests, links = galaxies
    result = make_splits(catalog, digests, links, settings(fold=fold))
    names = split_of(result.splits, len(catalog))
    assert (names != "").all()
    for rows in (*links.near.rows, *links.sky.rows):
        assert names[rows[0]] == names[rows[1]]
    overall = catalog.class_counts() / len(catalog)
    for name in SPLITS:
        share = catalog.class_counts(getattr(result.splits, name)) / len(getattr(result.splits, name))
        assert np.abs(share - overall).max() < 0.01
    assert len(result.splits.test) == pytest.approx(len(catalog) * (0.2 if fold else 0.15), rel=0.01)


def test_over_the_folds_every_sample_is_tested_once(galaxies):
    catalog, digests, links = galaxies
    tests = [make_splits(catalog, digests, links, settings(fold=f"{k}/5")).splits.test for k in range(1, 6)]
    np.testing.assert_array_equal(np.sort(np.concatenate(tests)), np.arange(len(catalog)))


def test_a_class_with_fewer_samples_than_folds_is_named():
    catalog, digests = make_catalog([0] * 20 + [1] * 4)
    with pytest.raises(DataError, match=r"`class 1` has 4 independent samples, too few for 5 folds"):
        make_splits(catalog, digests, Links(), settings(fold="1/5"))


def test_dropped_copies_are_in_no_split_and_said():
    catalog, digests = make_catalog([0, 1] * 30)
    links = Links(near=pairs((0, 1), (2, 4)))
    result = make_splits(catalog, digests, links, settings(label_conflicts="drop"))
    names = split_of(result.splits, 60)
    assert np.flatnonzero(names == "").tolist() == [0, 1]
    assert "2 samples have a copy with another label" in result.remarks[0]
    assert "2 left out" in result.remarks[0]


def test_majority_changes_the_labels_that_are_trained_on():
    catalog, digests = make_catalog([0, 0, 1] + [0, 1] * 20)
    result = make_splits(catalog, digests, Links(near=pairs((0, 1), (1, 2))), settings(label_conflicts="majority"))
    assert result.catalog.labels[:3].tolist() == [0, 0, 0]
    assert catalog.labels[2] == 1


def test_fewer_labels_are_nested_stratified_and_leave_the_tests_alone():
    catalog, digests = make_catalog([0] * 200 + [1] * 100 + [2] * 20)
    whole = make_splits(catalog, digests, Links(), settings()).splits
    tenth, more = (make_splits(catalog, digests, Links(), settings(label_fraction=f)).splits for f in (0.1, 0.35))
    assert set(tenth.train) < set(more.train) < set(whole.train)
    for part, fraction in ((tenth, 0.1), (more, 0.35)):
        np.testing.assert_array_equal(part.test, whole.test)
        np.testing.assert_array_equal(part.val, whole.val)
        counts, all_of_them = catalog.class_counts(part.train), catalog.class_counts(whole.train)
        assert counts.tolist() == np.ceil(fraction * all_of_them - 1e-9).astype(int).tolist()
        assert part.fingerprints["train"] != whole.fingerprints["train"]
        assert part.fingerprints["test"] == whole.fingerprints["test"]
    least = make_splits(catalog, digests, Links(), settings(label_fraction=1e-6)).splits
    assert catalog.class_counts(least.train).tolist() == [1, 1, 1]


def test_exact_copies_in_two_given_splits_are_refused_but_near_ones_only_said():
    given = ["train", "test", *["train", "val", "test"] * 10]
    catalog, digests = make_catalog([0, 1] * 16, split=given)
    with pytest.raises(DataError, match="duplicates or of one group"):
        make_splits(catalog, digests, Links(exact=pairs((0, 1))), settings())
    result = make_splits(catalog, digests, Links(near=pairs((0, 1))), settings())
    assert split_of(result.splits, 32).tolist() == given
    assert "1 group(s)" in result.remarks[-1]
    assert "astroclf check" in result.remarks[-1]


def test_a_linked_sample_without_a_split_joins_the_given_one():
    given = ["test", "", *["train", "val", "test"] * 10]
    catalog, digests = make_catalog([0, 1] * 16, split=given)
    result = make_splits(catalog, digests, Links(near=pairs((0, 1))), settings())
    assert 1 in result.splits.test


def test_a_chain_between_two_given_splits_is_cut_once_and_beside_nothing_else():
    given = ["train", *[""] * 28, "test", *["train", "val", "test"] * 10]
    catalog, digests = make_catalog([0, 1] * 30, split=given)
    chain = [(row, row + 1) for row in range(29)]
    result = make_splits(catalog, digests, Links(near=pairs(*chain)), settings())
    names = split_of(result.splits, 60)
    assert [pair for pair in chain if names[pair[0]] != names[pair[1]]] == [(28, 29)]
    assert any("1 group(s)" in remark for remark in result.remarks)


def test_a_split_file_may_name_what_cannot_be_read(tmp_path):
    catalog, digests = make_catalog([0, 1] * 30)
    path = tmp_path / "splits.csv"
    path.write_text("id,split\nbroken.png,test\nrow-0,test\n")
    result = make_splits(catalog, digests, Links(), settings(split_file=str(path)), {"broken.png"})
    assert 0 in result.splits.test


def test_a_field_that_is_linked_into_one_group_is_said():
    catalog, digests = make_catalog([0, 1] * 40)
    chain = Links(sky=pairs(*((row, row + 1) for row in range(30))))
    assert any(
        "31 samples are linked into one group" in r for r in make_splits(catalog, digests, chain, settings()).remarks
    )


def test_a_split_file_is_honoured_and_the_rest_is_ours(tmp_path):
    catalog, digests = make_catalog([0, 1] * 30)
    path = tmp_path / "splits.csv"
    path.write_text("id,split\nrow-0,test\nrow-1,train\nrow-2,validation\n")
    splits = make_splits(catalog, digests, Links(), settings(split_file=str(path))).splits
    names = split_of(splits, 60)
    assert names[:3].tolist() == ["test", "train", "val"]
    assert (names != "").all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,split\nrow-99,test\n", r"line 2: the data set has no sample `row-99`"),
        ("id,split\nrow-1,test\nrow-1,val\n", r"line 3: `row-1` is listed already in line 2"),
        ("id,split\nrow-1,tset\n", r"line 2: the split `tset`"),
        ("name,split\nrow-1,test\n", r"must have the columns id and split; it has name, split"),
        ("", "must have the columns"),
        ("id,split\n", "lists no samples"),
        ('id,split\n"row', "comma-separated"),
    ],
)
def test_a_split_file_that_does_not_fit_names_the_line(tmp_path, text, message):
    catalog, digests = make_catalog([0, 1] * 30)
    path = tmp_path / "splits.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        make_splits(catalog, digests, Links(), settings(split_file=str(path)))


def test_a_missing_split_file(tmp_path):
    catalog, digests = make_catalog([0, 1] * 30)
    with pytest.raises(DataError, match=r"dataset\.split_file=.*cannot be read"):
        make_splits(catalog, digests, Links(), settings(split_file=str(tmp_path / "none.csv")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fold": "6/5"}, "2/5 is the second of five"),
        ({"fold": "1/1"}, "2/5 is the second of five"),
        ({"fold": "two"}, "2/5 is the second of five"),
        ({"label_fraction": 0.0}, "label_fraction"),
        ({"label_fraction": 1.5}, "label_fraction"),
        ({"label_conflicts": "ask"}, "keep, drop, majority"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "leave some to train"),
        ({"val_fraction": float("nan")}, "leave some to train"),
        ({"val_fraction": 1.0, "fold": "1/5"}, "leave some to train"),
        ({"sky_arcsec": -5.0}, "sky_arcsec"),
        ({"fold": "1/5", "split_file": "x.csv"}, "one of them"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(ConfigError, match=message):
        settings(**changes)


def test_folds_of_a_data_set_with_splits_of_its_own_are_refused():
    catalog, digests = make_catalog([0, 1] * 30, split=["train"] * 60)
    with pytest.raises(ConfigError, match=r"dataset\.fold=1/5"):
        make_splits(catalog, digests, Links(), settings(fold="1/5"))
