"""What ``inputs=`` names is listed in a stable order, lazily, and each sample is decoded as training decoded it."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import astropy.table
import cv2
import h5py
import numpy as np
import pytest
from astropy.io import fits

from astroclf.data.decode.tone import Tone
from astroclf.data.readers.arrays import Arrays
from astroclf.errors import ConfigError, DataError
from astroclf.inference.inputs import Inputs
from astroclf.inference.preparation import Preparation
from astroclf.inference.samples import in_blocks, prepare
from astroclf.inference.spec import read_spec
from astroclf.settings.reading import ReadSettings
from tests.tiny import write_tiny_package

READING = ReadSettings.with_defaults()


@pytest.fixture(autouse=True)
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A night's files, in the working folder: three pictures and what else lies there."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("night/b.png", "night/a.png", "night/deep/c.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(name, rng.integers(0, 256, (20, 16, 3), dtype=np.uint8))
    Path("night/log.txt").write_text("seeing 1.2")
    Path("night/.hidden.png").write_bytes(b"")
    return tmp_path / "night"


def inputs(*words: str, standard_input: bytes | None = None, reading: ReadSettings = READING, **options) -> Inputs:
    given = None if standard_input is None else io.BytesIO(standard_input)
    return Inputs(words, reading, 3, standard_input=given, **options)


def names(*words: str, **options) -> list[str]:
    return [sample.name for sample in inputs(*words, **options).samples()]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["night"], ["night/a.png", "night/b.png", "night/deep/c.png"]),
        (["night/"], ["night/a.png", "night/b.png", "night/deep/c.png"]),
        (["night/*.png"], ["night/a.png", "night/b.png"]),
        (["night/**/*.png"], ["night/a.png", "night/b.png", "night/deep/c.png"]),
        (["night/*"], ["night/a.png", "night/b.png", "night/deep/c.png"]),
        (["night/deep", "night/b.png", "night/a.png"], ["night/deep/c.png", "night/b.png", "night/a.png"]),
    ],
)
def test_files_are_named_as_the_user_would_in_the_order_that_was_asked_for(words, found):
    assert names(*words) == found
    assert inputs(*words).survey().count == len(found)


def test_what_is_no_image_is_counted_by_reason():
    assert inputs("night").survey().account() == (
        "3 images; left out: 1 hidden or of the system, 1 of no image format (.txt)."
    )


def test_a_loop_of_links_ends(night):
    (night / "deep" / "up").symlink_to(night)
    assert inputs("night").survey().left_out["in a loop of links"] == 1
    assert len(names("night")) == 3


@pytest.mark.parametrize("text", [b"night/b.png\nnight/gone.png\r\n\n", b"night/b.png\0night/gone.png\0"])
def test_a_list_on_standard_input_is_read_twice_and_a_missing_file_is_a_row(text):
    listed = inputs("-", standard_input=text)
    assert listed.survey().count == 2
    assert [sample.name for sample in listed.samples()] == ["night/b.png", "night/gone.png"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nigth", r"inputs=nigth: there is neither a file nor a folder .*nigth\. Did you mean night\?"),
        ("night/*.fits", r"inputs=night/\*\.fits: nothing matches this pattern"),
        ("-", r"takes a list of files on standard input"),
    ],
)
def test_a_word_that_names_nothing_is_refused(word, said):
    with pytest.raises(ConfigError, match=said):
        inputs(word).survey()


# ---- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.csv", "night/t.parquet", "t.vot", "t.fits", "t.ecsv"])
def test_the_images_of_a_table_carry_its_columns_along(name):
    table = astropy.table.Table(
        {"ID": ["x1", "x2"], "image": ["a.png", "gone.png"], "RA": [150.125, float("nan")], "n": [1, 2]}
    )
    if "/" not in name:  # paths that are of the working folder
        table["image"] = ["night/a.png", "night/gone.png"]
    if name.endswith("parquet"):
        table.to_pandas().to_parquet(name)
    else:
        table.write(name, format="votable" if name.endswith("vot") else None)
    listed = inputs(name)
    assert listed.columns == ("ID", "image", "RA", "n")
    first, second = listed.samples()
    assert Path(first.files[0]).is_file()
    assert dict(first.carried) == {"ID": "x1", "image": first.name, "RA": "150.125", "n": "1"}
    assert second.name == table["image"][1]
    assert second.carried["RA"] in ("", "nan")


@pytest.mark.parametrize("written", ["night/{}", "{}"], ids=["the working folder", "the table's folder"])
def test_paths_of_a_table_are_of_the_folder_in_which_more_of_them_are_found(written):
    Path("lists").mkdir()
    cells = [written.format(name) for name in ("a.png", "gone.png", "b.png")]
    for folder in ("lists", "night"):  # where the table lies: the images are in night
        Path(folder, "t.csv").write_text("\n".join(["path", *cells]))
    if "/" in written:
        expected, table = cells, "lists/t.csv"
    else:
        expected, table = [f"night/{cell}" for cell in cells], "night/t.csv"
        Path("a.png").write_bytes(Path("night/a.png").read_bytes())  # one is found in the working folder, too
    assert [str(Path(file)) for sample in inputs(table).samples() for file in sample.files] == expected


def test_the_column_of_the_images_can_be_named_and_a_table_without_one_is_refused():
    Path("t.csv").write_text("a,b,c\nnight/a.png,night/b.png,1\n")
    assert names("t.csv", column="B") == ["night/b.png"]
    with pytest.raises(ConfigError, match="column=d: t.csv has no such column"):
        inputs("t.csv", column="d")
    Path("t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"no column `path`, and none whose cells are files: it has a, b"):
        inputs("t.csv")
    with pytest.raises(ConfigError, match="inputs= has no table"):
        inputs("night", column="a")


def test_a_row_without_a_path_is_a_fault_of_that_row_and_a_torn_table_is_refused():
    Path("t.csv").write_text("path,z\nnight/a.png,1\n,2\n")
    assert [sample.fault for sample in inputs("t.csv").samples()] == ["", "t.csv, line 3: the column path is empty."]
    Path("t.csv").write_text("path,z\nnight/a.png,1\nnight/b.png\n")
    with pytest.raises(DataError, match="line 3: fewer cells"):
        inputs("t.csv").survey()


# ---- many images in one file ----------------------------------------------------------------------------------------


@pytest.fixture
def stack() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (9, 12, 10, 3), dtype=np.uint8)


def test_each_row_of_an_array_is_a_sample_with_the_pixels_of_training(stack, tiny_package):
    with h5py.File("g.h5", "w") as file:
        file.create_dataset("images", data=stack, chunks=(4, 6, 5, 1), compression="gzip")
        file["ans"] = np.arange(9) % 2
        file["ra"], file["dec"] = np.linspace(1, 2, 9), np.zeros(9)
    listed = inputs("g.h5")
    assert listed.columns == ("ans", "dec", "ra")
    trained_on = Arrays("g.h5", 32).read(range(9)).images_BHWC
    samples = list(listed.samples())
    assert samples[8].name == "g.h5[8]"
    assert samples[8].carried["ra"] == "2.0"
    blocks = [prepare(Preparation(read_spec(tiny_package)), block) for block in in_blocks(samples, 2)]
    np.testing.assert_array_equal(np.concatenate([block.images_NHWC for block in blocks]), trained_on)


@pytest.mark.parametrize("form", ["npz", "npy", "folder", "bands first"])
def test_arrays_of_numpy_need_no_labels(stack, tiny_package, form):
    Path("arrays").mkdir()
    word = {"npz": "s.npz", "npy": "cutouts.npy", "folder": "arrays", "bands first": "cutouts.npy"}[form]
    if form == "npz":
        np.savez(word, images=stack)
    elif form == "folder":
        np.save("arrays/images.npy", stack)
    else:
        np.save(word, stack if form == "npy" else np.moveaxis(stack, 3, 1))
    samples = list(inputs(word).samples())
    assert [sample.name for sample in samples] == [f"{word}[{row}]" for row in range(9)]
    (block,) = [prepare(Preparation(read_spec(tiny_package)), block) for block in in_blocks(samples, 64)]
    Path("one").mkdir()
    cv2.imwrite("one/8.png", stack[8][..., ::-1])
    np.testing.assert_array_equal(block.images_NHWC[8], Preparation(read_spec(tiny_package)).file(Path("one/8.png")))


def test_one_image_in_an_npy_file_is_one_sample():
    np.save("one.npy", np.zeros((20, 30, 3)))
    np.save("planes.npy", np.zeros((3, 20, 30)))
    np.save("grey.npy", np.zeros((50, 20, 30)))
    assert names("one.npy", "planes.npy") == ["one.npy", "planes.npy"]
    assert len(names("grey.npy")) == 50


# ---- bands, faults, memory ------------------------------------------------------------------------------------------


def test_the_files_of_several_bands_are_one_sample(tmp_path, tiny_backbone):
    rng = np.random.default_rng(2)
    for band in "gri":
        fits.writeto(f"night/m51_{band}.fits", rng.random((8, 8)).astype(np.float32))
    reading = ReadSettings.with_defaults(fits={"files": ["{id}_i.fits", "{id}_r.fits", "{id}_g.fits"]})
    Path("t.csv").write_text("path,z\nnight/m51_r.fits,1\n")
    for words in (["night"], ["night/*.fits"], ["t.csv"], [f"night/m51_{band}.fits" for band in "gri"]):
        (sample,) = inputs(*words, reading=reading).samples()
        assert [Path(file).name for file in sample.files] == ["m51_i.fits", "m51_r.fits", "m51_g.fits"]
    tones = {"FITS": Tone("limits", "linear", 0.0, 1.0).to_plain()}
    package = write_tiny_package(tmp_path / "model", reading=reading.to_plain(), tones=tones)
    assert prepare(Preparation(read_spec(package)), [sample]).errors == {}


def test_what_cannot_be_read_is_said_and_the_rest_is_prepared(tiny_package):
    Path("night/b.png").write_bytes(b"no picture")
    cv2.imwrite("night/black.png", np.zeros((9, 9, 3), np.uint8))
    block = prepare(
        Preparation(read_spec(tiny_package)), list(inputs("night", "-", standard_input=b"gone.jpg").samples())
    )
    assert [sample.name for sample in block.samples] == [
        "night/a.png", "night/b.png", "night/black.png", "night/deep/c.png", "gone.jpg",
    ]  # fmt: skip
    assert block.usable.tolist() == [0, 3]
    assert block.images_NHWC.shape == (2, 32, 32, 3)
    assert "constant" in block.errors[2]
    assert "gone.jpg: cannot be read" in block.errors[4]


def test_of_a_long_list_nothing_is_held_but_the_list():
    text = b"".join(b"night/%07d.fits\n" % number for number in range(20_000))
    listed = inputs("-", standard_input=text)
    tracemalloc.start()
    assert listed.survey().count == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000 < len(text)
