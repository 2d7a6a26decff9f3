"""What somebody types who has read nothing yet, with the exact answer: it works, or is answered in one paragraph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HARD_NAME = "my images (v2) [new], #1=best – étoiles"
NAME_AFTER_HARD = "my_images_v2_new_1_best_étoiles"


@pytest.fixture
def begin(tmp_path: Path) -> Path:
    """Return a folder to begin in: images in class folders, with and without a table, and a file of Galaxy10's kind."""
    for folder in ("my_images", HARD_NAME):
        for label in ("galaxy", "star"):
            for row in range(3):
                path = tmp_path / folder / label / f"{row}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.random.default_rng(row).integers(0, 255, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(path)
    (tmp_path / "my_images" / "metadata.csv").write_text(
        "path,label\n" + "".join(f"{label}/{row}.png,{label}\n" for label in ("galaxy", "star") for row in range(3))
    )
    (tmp_path / "galaxies.h5").touch()
    return tmp_path


DECODED = ": 6 images of 16 x 16 x 3\n"
SMALL = "dataset.image_size=16"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (f"astroclf prepare my_images {SMALL}", "my_images"),
        (f"astroclf prepare '~/my_images' {SMALL}", "my_images"),
        (f"astroclf prepare dataset=folder dataset.path=~/my_images {SMALL}", "my_images"),
        (f"astroclf prepare '{HARD_NAME}' {SMALL}", NAME_AFTER_HARD),
        (f"astroclf prepare dataset=folder 'dataset.path={HARD_NAME}' {SMALL}", NAME_AFTER_HARD),
    ],
)
def test_what_works(typed, begin, line, name):
    done = typed(line)
    assert done.returncode == 0, done.stderr
    assert f"\n{name}{DECODED}" in f"\n{done.stdout}", done.stdout


def test_what_works_in_a_shell(shell, begin):
    for line in (f"astroclf prepare ~/my_images {SMALL}", f"python -m astroclf.prepare my_images {SMALL}"):
        done = shell(line)
        assert done.returncode == 0, done.stderr
        assert f"\nmy_images{DECODED}" in f"\n{done.stdout}", done.stdout


ANSWERS = """
$ astroclf trian
Error: There is no verb 'trian'. Did you mean 'train' or 'pretrain'?

$ astroclf dataset=folder
Error: Say first what to do, as in astroclf train dataset=folder. The verbs are train, find_lr,
pretrain, pick, evaluate, predict, explain, explore, export, check, prepare, stores, doctor,
simulate, runs, promote.

$ astroclf train --dataset folder
Error: --dataset is no option: values are given without dashes, as key=value. Type dataset=folder

$ astroclf promote --uri sqlite:///x.db
Error: --uri is no option: values are given without dashes, as key=value. Type
tracking.uri=sqlite:///x.db

$ astroclf train lr=0.1
Error: 'lr' is no key of this configuration. Did you mean 'optimizer.lr'?

$ astroclf train epochs=5
Error: 'epochs' is no key of this configuration. Did you mean 'trainer.epochs'?

$ astroclf train batch_size=64
Error: 'batch_size' is no key of this configuration. Did you mean 'trainer.batch_size'?

$ astroclf train workers=4
Error: 'workers' is no key of this configuration. Did you mean 'trainer.num_workers'?

$ astroclf train name=x
Error: 'name' is no key of this configuration. Did you mean 'dataset.name' or 'backbone.name'?

$ astroclf train path=my_images
Error: 'path' is no key of this configuration. What is there is read with
  astroclf train dataset=folder dataset.path=my_images

$ astroclf train path=my_image
Error: 'path' is no key of this configuration. Did you mean 'dataset.path'? It is a key of
dataset=arrays, astro8, folder or others.

$ astroclf train dataset.path=my_images
Error: 'dataset.path' is no key of the chosen dataset, galaxy10_sim, only of arrays, astro8, folder
and others. What is there is read with
  astroclf train dataset=folder dataset.path=my_images

$ astroclf train xyzzy=1
Error: 'xyzzy' is no key of this configuration. `astroclf train --help` lists the keys.

$ astroclf train model=resnet50
Error: 'model' is no key of this configuration. The network is chosen with backbone=, weights to
start from are given with backbone.weights=, and a stopped run goes on with resume=.

$ astroclf train gpu=0
Error: 'gpu' is no key of this configuration. The device is chosen with trainer.device=cuda or cpu,
and which of several GPUs before the command, as in CUDA_VISIBLE_DEVICES=0 astroclf train.

$ astroclf train num_classes=4
Error: 'num_classes' is no key of this configuration. The classes are found in the data set and need
no number; dataset.classes=[star,galaxy] keeps some of them.

$ astroclf prepare num_workers=2
Error: 'num_workers' is no key of this configuration. Did you mean 'trainer.num_workers'?

$ astroclf train dataset=galxy10
Error: There is no dataset called 'galxy10'. Did you mean 'galaxy10' or 'galaxy10_sim'?

$ astroclf train datset=galaxy10
Error: 'datset' is no key of this configuration. Did you mean 'dataset'?

$ astroclf train dataset=my_images
Error: There is no dataset called 'my_images', but a folder of that name. What is there is read with
  astroclf train dataset=folder dataset.path=my_images

$ astroclf train loss=null
Error: loss=null cannot be: a run needs a loss. Valid: cb_focal, cross_entropy, focal.

$ astroclf prepare backbone=resnet18
Error: 'backbone' is chosen in other commands; `astroclf prepare` has only dataset to choose.

$ astroclf train galaxy10
Error: 'galaxy10' stands alone. Did you mean dataset=galaxy10 or augment=galaxy10 or sweep=galaxy10?

$ astroclf train dataset folder
Error: 'dataset' has no value. Give it one with an equals sign, and no space: dataset=folder

$ astroclf train trainer.epochs 5
Error: 'trainer.epochs' has no value. Give it one with an equals sign, and no space:
trainer.epochs=5

$ astroclf train trainer.epochs = 5
Error: Leave no space beside the equals sign: trainer.epochs=5

$ astroclf train my_image
Error: There is neither a file nor a folder {here}/my_image. Did you mean my_images?

$ astroclf train my_images galaxies.h5
Error: One path at a time: galaxies.h5 is a second one.

$ astroclf train trainer.epochs=many
Error: 'trainer.epochs' cannot be 'many'. Give a whole number.

$ astroclf train seed=0,1,2
Error: seed=0,1,2 is several values: add -m to run each of them. If it is one list, write
seed=[0,1,2].

$ astroclf train 'dataset.classes=[star'
Error: dataset.classes=[star cannot be read: is there a bracket or quote without its partner, or a
stray sign?

$ astroclf prepare dataset=folder dataset.path=galaxies.h5
Error: dataset.path={here}/galaxies.h5 is an HDF5 file, and no folder of images: dataset=arrays
reads it.

$ astroclf prepare dataset=folder dataset.path=my_images/metadata.csv
Error: dataset.path={here}/my_images/metadata.csv is the table itself: give the folder that it lies
in, dataset.path={here}/my_images.
"""


@pytest.mark.parametrize("block", ANSWERS.strip().split("\n\n"), ids=lambda block: block.splitlines()[0])
def test_what_is_answered(typed, begin, block):
    line, _, answer = block.removeprefix("$ ").partition("\n")
    before = sorted(begin.rglob("*"))
    done = typed(line)
    assert one_line(done.stderr) == one_line(answer.format(here=begin))
    assert done.stdout == ""
    assert done.returncode == 1
    assert sorted(begin.rglob("*")) == before


def one_line(text: str) -> str:
    """A paragraph without its line breaks, which depend on the length of a temporary folder's name."""
    return " ".join(text.split())


def test_a_check_that_cannot_be_done_ends_with_2(typed, begin):
    done = typed("astroclf check my_image")
    assert one_line(done.stderr) == (
        f"Error: There is neither a file nor a folder {begin}/my_image. Did you mean my_images?"
    )
    assert done.returncode == 2
