"""Tables of images: found under any name and format, with columns of any name, and what their labels mean."""

from __future__ import annotations

import logging
import os
import unicodedata
import warnings

import numpy as np
import pandas as pd
import pytest
from astropy.table import MaskedColumn, Table

from astroclf.errors import ConfigError, DataError
from tests.data.readers.folders import labels_of, numbered, put, reader, reasons_of, write_rows

LABELS = {"img/0.png": "disc", "img/1.png": "bar", "img/2.png": "disc"}


@pytest.fixture
def images(tmp_path):
    """A folder of three images that are in no class folder."""
    return put(tmp_path, *LABELS)


def rows(labels=LABELS):
    return [f"{path},{label}" for path, label in labels.items()]


def write_table(path, columns):
    """Write a table in the format of its suffix."""
    if path.suffix == ".parquet":
        pd.DataFrame(columns).to_parquet(path)
    elif path.suffix in (".csv", ".tsv"):
        pd.DataFrame(columns).to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    else:
        formats = {".fits": "fits", ".ecsv": "ascii.ecsv", ".vot": "votable", ".xml": "votable"}
        with warnings.catch_warnings(action="ignore"):
            Table(columns).write(path, format=formats[path.suffix])


# ---- which table ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["labels.csv", "t.tsv", "t.parquet", "t.fits", "t.ecsv", "t.vot", "Catalog.xml"])
def test_a_table_of_any_name_and_format_is_found(images, caplog, name):
    caplog.set_level(logging.INFO)
    write_table(images / name, {"path": list(LABELS), "Label": list(LABELS.values())})
    found = reader(images)
    assert labels_of(found) == LABELS
    assert found.left_out == ()
    assert f"the images and labels are those of the table {name}" in caplog.text


def test_of_two_tables_that_fit_one_is_to_be_named(images):
    write_rows(images / "a.csv", "path,label", rows())
    write_rows(images / "b.csv", "path;label", [row.replace(",", ";").replace("disc", "ring") for row in rows()])
    with pytest.raises(DataError, match=r"has 2 tables of images, a\.csv, b\.csv: .*dataset\.table=FILE"):
        reader(images)
    for name in ("b.csv", str(images / "b.csv")):
        found = reader(images, table=name)
        assert set(labels_of(found).values()) == {"ring", "bar"}
        assert reasons_of(found) == {"a.csv": "a table that is not read"}
    write_rows(images / "metadata.csv", "path,label", ["img/0.png,star", "img/1.png,star"])
    assert set(labels_of(reader(images)).values()) == {"star"}
    assert set(labels_of(reader(images, table="none")).values()) == {"img"}
    with pytest.raises(DataError, match=r"dataset\.table=c\.csv: there is no such file"):
        reader(images, table="c.csv")
    with pytest.raises(ConfigError, match=r"img/0\.png is no table that can be read"):
        reader(images, table="img/0.png")


def test_a_table_with_columns_of_other_names_is_never_passed_over(images):
    write_rows(images / "labels.csv", "nr,FileName,class", [f"7,{row}" for row in rows()])
    with pytest.raises(DataError) as error:
        reader(images)
    assert 'say "dataset.columns={path: filename, label: class}"; to take the folders' in str(error.value)
    found = reader(images, columns={"path": "filename", "label": "Class"})
    assert labels_of(found) == LABELS
    assert set(labels_of(reader(images, table="none")).values()) == {"img"}
    with pytest.raises(DataError, match=r"the columns filename, type, but no table in .* has them: labels\.csv has"):
        reader(images, columns={"path": "filename", "label": "type"})


def test_metadata_with_columns_of_other_names_says_what_to_paste(images):
    write_rows(images / "metadata.csv", "image file,label", rows())
    with pytest.raises(DataError, match=r"no column `path`.*\"dataset\.columns={path: 'image file'}\""):
        reader(images)
    assert labels_of(reader(images, columns={"path": "image file"})) == LABELS


def test_a_table_that_says_what_the_class_folders_say_is_only_accounted_for(tmp_path):
    files = numbered("disc", "bar")
    put(tmp_path, *files)
    write_rows(tmp_path / "catalog.csv", "file,type", [f"{file},{file.partition('/')[0]}" for file in files])
    write_rows(tmp_path / "splits.csv", "id,split", [f"{file},train" for file in files])
    assert reasons_of(reader(tmp_path)) == {
        "catalog.csv": "a table that is not read",
        "splits.csv": "a table of splits, for dataset.split_file",
    }
    write_rows(tmp_path / "catalog.csv", "file,type", [f"{file},ring" for file in files])
    with pytest.raises(DataError, match=r"the table catalog\.csv lists images"):
        reader(tmp_path)


# ---- which file -----------------------------------------------------------------------------------------------------


def test_paths_as_people_and_programs_write_them(tmp_path):
    put(tmp_path, "img/a.JPG", "img/b.png", "img/deep/c.png", "587.png", "J12.5+06.jpg", "extra.png")
    written = [f"{tmp_path}/img/a.jpg", "img\\b.PNG", "./img/deep/c", "587", "J12.5+06"]
    write_rows(tmp_path / "metadata.csv", "path,label", [f"{path},star" for path in written])
    found = reader(tmp_path)
    assert found.catalog.ids.tolist() == ["img/a.JPG", "img/b.png", "img/deep/c.png", "587.png", "J12.5+06.jpg"]
    assert reasons_of(found) == {"extra.png": "not in the table"}


def test_a_name_alone_is_found_wherever_it_lies_if_there_is_but_one(tmp_path):
    put(tmp_path, "part1/11.jpg", "part2/22.jpg", "part1/3.jpg", "part2/3.jpg")
    write_rows(tmp_path / "gz.csv", "asset_id,label", ["11,disc", "22.jpg,bar"])
    assert list(labels_of(reader(tmp_path, columns={"path": "asset_id"}))) == ["part1/11.jpg", "part2/22.jpg"]
    write_rows(tmp_path / "gz.csv", "asset_id,label", ["11,disc", "3,bar"])
    with pytest.raises(DataError, match=r"line 3: `3` could be any of part1/3\.jpg, part2/3\.jpg"):
        reader(tmp_path, columns={"path": "asset_id"})


def test_one_file_by_two_names_is_listed_twice(images):
    write_rows(images / "metadata.csv", "path,label", ["img/0.png,disc", "0,bar"])
    with pytest.raises(DataError, match=r"line 3: `img/0\.png` is listed already in line 2"):
        reader(images)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_compared_in_one_form_of_unicode(tmp_path, form):
    other = "NFD" if form == "NFC" else "NFC"
    names = [f"galáxia_{number}.png" for number in range(2)]
    put(tmp_path, *(f"img/{unicodedata.normalize(form, name)}" for name in names))
    write_rows(
        tmp_path / "metadata.csv",
        "path,label",
        [f"img/{unicodedata.normalize(other, name)},{unicodedata.normalize(other, 'étoile')}" for name in names],
    )
    found = reader(tmp_path)
    assert not found.read(range(2)).faults
    assert os.listdir(tmp_path / "img")[0] in {name.rpartition("/")[2] for name in found.catalog.ids}


def test_a_row_without_a_file_is_a_fault_of_its_own(images):
    write_rows(images / "metadata.csv", "path,label", ["img/0.png,disc", "img/9.png,disc", "9,bar"])
    assert reader(images).catalog.ids.tolist() == ["img/0.png", "img/9.png", "9"]
    assert list(reader(images).read(range(3)).faults) == [1, 2]


# ---- which label ----------------------------------------------------------------------------------------------------


def test_stages_of_the_hubble_sequence_are_as_many_classes(tmp_path):
    stages = ["-5", "-2", "0", "2", "5", "10"]
    put(tmp_path, *numbered("img", each=6))
    write_rows(tmp_path / "metadata.csv", "path,label", [f"img/{n}.png,{stage}" for n, stage in enumerate(stages)])
    found = reader(tmp_path)
    assert found.catalog.classes == tuple(stages)
    assert found.catalog.labels.tolist() == list(range(6))


def test_one_and_one_point_zero_are_one_class_and_said(images, caplog):
    caplog.set_level(logging.INFO)
    write_rows(images / "metadata.csv", "path,label", ["img/0.png,1", "img/1.png,1.0", "img/2.png,0"])
    assert reader(images).catalog.classes == ("0", "1")
    assert "One class, `1`: the labels `1`, `1.0` are the same." in caplog.text
    assert reader(images, ["1", "0"]).catalog.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("missing", ["", "nan", "NaN", "none", "None", "null", "-", "--", " "])
def test_a_missing_label_is_no_class(images, missing):
    write_rows(images / "metadata.csv", "path,label", ["img/0.png,disc", f"img/1.png,{missing}", "img/2.png,bar"])
    with pytest.raises(DataError, match=r"line 3: the label is .*dataset\.on_unlabelled=skip"):
        reader(images)
    found = reader(images, on_unlabelled="skip")
    assert list(labels_of(found)) == ["img/0.png", "img/2.png"]
    assert reasons_of(found) == {"img/1.png": "without a label"}


def test_masked_labels_of_binary_tables_are_missing(images):
    labels = MaskedColumn(["disc", "?", "bar"], mask=[False, True, False])
    Table({"path": list(LABELS), "label": labels}).write(images / "t.vot", format="votable")
    with pytest.raises(DataError, match=r"t\.vot, row 2: the label is empty"):
        reader(images)
    assert list(labels_of(reader(images, on_unlabelled="skip")).values()) == ["disc", "bar"]


def test_a_class_that_is_called_none(images):
    write_rows(images / "metadata.csv", "path,label", ["img/0.png,None", "img/1.png,bar", "img/2.png,None"])
    assert reader(images, ["None", "bar"]).catalog.labels.tolist() == [0, 1, 0]
    write_rows(images / "metadata.csv", "path,label", ["img/0.png,'None'", "img/1.png,bar", "img/2.png,'None'"])
    assert reader(images).catalog.classes == ("None", "bar")


def test_a_folder_is_a_class_whatever_its_name(tmp_path):
    put(tmp_path, *numbered("none", "nan"))
    assert reader(tmp_path).catalog.classes == ("nan", "none")


# ---- votes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def votes(images):
    put(images, "img/3.png", "img/4.png")
    write_rows(
        images / "gz.csv",
        "id,smooth,Disk Fraction,star",
        ["0,0.8,0.1,0.1", "1,0.3,0.6,0.1", "2,0.4,0.35,0.25", "3,0.5,0.5,0", "4,,,"],
    )
    return images


VOTES = {"path": "id", "votes": {"smooth": "smooth", "disk": "disk fraction", "star": "star"}}


def test_the_class_with_the_most_votes_wins_above_a_limit(votes):
    found = reader(votes, columns=VOTES, min_vote=0.5, on_unlabelled="skip")
    assert labels_of(found) == {"img/0.png": "smooth", "img/1.png": "disk"}
    assert reasons_of(found) == {
        "img/2.png": "with no vote above dataset.min_vote",
        "img/3.png": "with as many votes for another class",
        "img/4.png": "without a label",
    }
    with pytest.raises(DataError, match="no vote reaches dataset.min_vote=0.99"):
        reader(votes, columns=VOTES, min_vote=0.99, on_unlabelled="skip")
    listed = {"path": "id", "votes": ["smooth", "star"]}
    assert set(labels_of(reader(votes, columns=listed, on_unlabelled="skip")).values()) == {"smooth"}


def test_all_votes_are_kept_as_shares_in_the_order_of_the_classes(votes, caplog):
    caplog.set_level(logging.INFO)
    found = reader(votes, ["smooth", "disk"], columns=VOTES, on_unlabelled="skip")
    assert found.catalog.ids.tolist() == ["img/0.png", "img/1.png", "img/2.png"]
    assert found.catalog.votes.dtype == np.float32
    np.testing.assert_allclose(found.catalog.votes, [[8 / 9, 1 / 9], [1 / 3, 2 / 3], [8 / 15, 7 / 15]], rtol=1e-6)
    assert "no sample has most votes for star: no class, and its votes do not count" in caplog.text
    turned = reader(votes, ["disk", "smooth"], columns=VOTES, on_unlabelled="skip")
    np.testing.assert_array_equal(turned.catalog.votes, found.catalog.votes[:, ::-1])


def test_votes_for_an_excluded_class_do_not_count(votes):
    rows = ["0,0.8,0.1,0.1", "1,0.3,0.6,0.1", "2,0,0,1", "3,0.2,0.3,0.5", "4,0.1,0.3,0.2"]
    write_rows(votes / "gz.csv", "id,smooth,Disk Fraction,star", rows)
    found = reader(votes, columns=VOTES, exclude_classes=["star"])
    assert found.catalog.classes == ("disk", "smooth")
    assert found.catalog.ids.tolist() == ["img/0.png", "img/1.png", "img/4.png"]
    np.testing.assert_allclose(found.catalog.votes, [[1 / 9, 8 / 9], [2 / 3, 1 / 3], [3 / 4, 1 / 4]], rtol=1e-6)


def test_other_votes_are_another_data_set_though_the_same_class_wins(votes):
    before = reader(votes, columns=VOTES, on_unlabelled="skip").fingerprint()
    table = (votes / "gz.csv").read_text()
    (votes / "gz.csv").write_text(table.replace("1,0.3,0.6,0.1", "1,0.2,0.7,0.1"))
    assert reader(votes, columns=VOTES, on_unlabelled="skip").fingerprint() != before


def test_labels_have_no_votes(images):
    write_rows(images / "metadata.csv", "path,label", rows())
    assert reader(images).catalog.votes is None


@pytest.mark.parametrize("cell", ["1.2", "-0.1", "many", "inf"])
def test_votes_are_fractions(images, cell):
    write_rows(images / "gz.csv", "path,smooth,disk", [f"img/0.png,{cell},0"])
    with pytest.raises(DataError, match=f"line 2: smooth=`{cell}` is not a fraction of votes"):
        reader(images, columns={"votes": ["smooth", "disk"]})


def test_columns_that_cannot_be(images):
    with pytest.raises(ConfigError, match=r"dataset\.columns\.label and dataset\.columns\.votes both"):
        reader(images, columns={"label": "class", "votes": ["a", "b"]})
    with pytest.raises(ConfigError, match="one column a class, each once"):
        reader(images, columns={"votes": {"a": "x", "b": "X"}})
    with pytest.raises(ConfigError, match="Did you mean 'label'"):
        reader(images, columns={"lable": "class"})
