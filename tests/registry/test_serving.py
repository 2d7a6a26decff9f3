"""What people send to a served model is answered, row by row, through MLflow's own scoring app."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from PIL import Image

from astroclf.data.decode.tone import Tone
from astroclf.data.decode.values import FITS
from astroclf.models.classifier import Classifier
from astroclf.models.resnet18 import ResNet18
from astroclf.registry import package
from astroclf.registry.package import load_package, write_package
from astroclf.registry.register import save_model
from astroclf.registry.serving import FOLDER_VARIABLE, ServedModel, in_one_thread
from astroclf.settings.reading import ReadSettings
from tests.data.augment.recipes import recipe_values
from tests.processes import free_port
from tests.tiny import write_tiny_package

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 40, 36, 3), dtype=np.uint8)
Post = Callable[[dict[str, Any]], tuple[int, Any]]


def encoded(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


FILES = [base64.b64encode(encoded(image)).decode() for image in IMAGES]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, tiny_package: Path) -> Path:
    folder = tmp_path_factory.mktemp("served") / "model"
    save_model(folder, tiny_package)
    return folder


@pytest.fixture(scope="module")
def loaded(saved: Path) -> Any:
    import mlflow

    return mlflow.pyfunc.load_model(str(saved))


@pytest.fixture(scope="module")
def post(loaded: Any) -> Post:
    """Send a body to the scoring app, by its ASGI interface: (status, what it answers)."""
    from mlflow.pyfunc import scoring_server

    app = scoring_server.init(loaded)

    def send(body: dict[str, Any]) -> tuple[int, Any]:
        said: list[dict[str, Any]] = []
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": "/invocations", "raw_path": b"/invocations", "query_string": b"", "root_path": "",
            "headers": [(b"content-type", b"application/json")], "client": ("localhost", 1), "server": ("localhost", 2),
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

        async def keep(message: dict[str, Any]) -> None:
            said.append(message)

        asyncio.run(app(scope, receive, keep))
        return said[0]["status"], json.loads(b"".join(part.get("body", b"") for part in said[1:]), parse_constant=str)

    return send


@pytest.fixture(scope="module")
def expected(tiny_package: Path) -> list[dict[str, Any]]:
    return load_package(tiny_package, device="cpu").predict(IMAGES).to_dict("records")


@pytest.mark.parametrize("body", [
    {"dataframe_split": {"columns": ["image"], "data": [[file] for file in FILES]}},
    {"dataframe_records": [{"image": file} for file in FILES]},
    {"instances": FILES}, {"inputs": FILES}, {"instances": [{"image": file} for file in FILES]},
    {"inputs": [f"data:image/png;base64,{file}" for file in FILES]},
    {"instances": IMAGES.tolist()}, {"inputs": IMAGES.tolist(), "params": {"batch_size": 1}},
    {"dataframe_split": {"columns": ["image"], "data": [[FILES[0]], [IMAGES[1].tolist()]]}},
])  # fmt: skip
def test_files_and_raw_pixels_are_answered_in_every_body(
    post: Post, body: dict[str, Any], expected: list[dict[str, Any]]
) -> None:
    status, answer = post(body)
    assert status == 200
    for row, wanted in zip(answer["predictions"], expected, strict=True):
        assert row.pop("error") is None
        assert row == {key: pytest.approx(value, abs=1e-5) for key, value in wanted.items()}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((IMAGES / 255.0).tolist(), ".*uint8 from 0 to 255.*These are float64: multiply what is from 0 to 1 by 255"),
        ((IMAGES.astype(int) * 9).tolist(), ".*whole numbers whose type JSON does not tell"),
    ],
)
def test_other_numbers_are_refused_with_the_reason(post: Post, values: list[Any], reason: str) -> None:
    status, answer = post({"instances": values})
    assert status == 400
    assert re.match(reason, answer["message"]), "it comes first, without a dump of what was sent"
    assert len(answer["message"]) < 400
    status, answer = post({"dataframe_split": {"columns": ["image"], "data": [[image] for image in values]}})
    assert status == 200
    assert pd.Series([row["error"] for row in answer["predictions"]]).str.contains(reason).all()


def test_a_broken_image_is_a_row_among_the_others(post: Post, expected: list[dict[str, Any]]) -> None:
    broken = [base64.b64encode(encoded(IMAGES[0])[:300]).decode(), "no base64!", 3.5]
    status, answer = post({"dataframe_split": {"columns": ["image"], "data": [[x] for x in [FILES[0], *broken]]}})
    assert status == 200
    good, *bad = answer["predictions"]
    assert good["label"] == expected[0]["label"]
    assert [row["label"] for row in bad] == [row["confidence"] for row in bad] == [None] * 3
    assert "image 1: damaged or truncated" in bad[0]["error"]
    assert "image 2: a text that is no base64" in bad[1]["error"]
    assert "image 3: a float is no image" in bad[2]["error"]


def test_files_of_the_server_are_read_below_one_folder_alone(
    post: Post, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: list[dict[str, Any]]
) -> None:
    opened = tmp_path / "open"
    opened.mkdir()
    for folder in (opened, tmp_path):
        (folder / "x.png").write_bytes(encoded(IMAGES[0]))
    (opened / "link.png").symlink_to(tmp_path / "x.png")
    names = ["x.png", str(opened / "x.png"), str(tmp_path / "x.png"), "../x.png", "link.png"]
    _, answer = post({"inputs": names})
    assert all("no base64" in row["error"] for row in answer["predictions"]), "without the variable, none"
    monkeypatch.setenv(FOLDER_VARIABLE, str(opened))
    _, answer = post({"inputs": names})
    assert [row["label"] for row in answer["predictions"]] == [expected[0]["label"]] * 2 + [None] * 3


def test_mlflow_users_hand_over_arrays_and_tables(loaded: Any, expected: list[dict[str, Any]]) -> None:
    table = pd.DataFrame({"image": [encoded(image) for image in IMAGES]})
    for given in (IMAGES, table, [encoded(image) for image in IMAGES]):
        answers = loaded.predict(given, params={"batch_size": 1})
        assert answers["label"].tolist() == [row["label"] for row in expected]
        np.testing.assert_allclose(answers["confidence"], [row["confidence"] for row in expected], atol=1e-5)


def test_a_model_of_fits_files_takes_them_in_base64_and_refuses_pictures_and_arrays(
    tmp_path: Path, tiny_backbone: type
) -> None:
    flux = np.random.default_rng(0).normal(100, 5, (40, 40)).astype(np.float32)
    fits.writeto(tmp_path / "flux.fits", flux)
    plain = Tone("zscale", "asinh").to_plain()
    package = write_tiny_package(
        tmp_path / "model", reading=ReadSettings.with_defaults().to_plain(), tones={FITS: plain}
    )
    predictor = load_package(package, device="cpu")
    served = ServedModel(predictor)
    file = base64.b64encode((tmp_path / "flux.fits").read_bytes()).decode()
    answers = served.predict([file, FILES[0]])
    assert answers["confidence"][0] == pytest.approx(predictor.predict(tmp_path / "flux.fits")["confidence"][0])
    assert answers["label"][1] is None
    assert "image 1: is an 8-bit picture, and the model learned from FITS files" in answers["error"][1]
    for pixels in (flux[None].astype(float), IMAGES.astype(int)):
        with pytest.raises(
            Exception, match=rf"learned from FITS files, and these are {pixels.dtype} numbers without a f"
        ):
            served.predict(pixels)


@pytest.mark.slow
def test_models_are_loaded_and_answer_in_one_thread_whoever_asks_and_after_a_fork_too() -> None:
    here = in_one_thread(threading.get_ident)
    with ThreadPoolExecutor(3) as callers:
        seen = {callers.submit(in_one_thread, threading.get_ident).result() for _ in range(6)}
    assert seen == {here}
    assert here != threading.get_ident()
    child = os.fork()
    if child == 0:  # the parent's threads are not here: what waited for them would wait for ever
        signal.alarm(20)
        os._exit(in_one_thread(lambda: 7))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_mlflow_loads_a_model_in_that_thread(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    read = package.load_package

    def watched(folder: Path) -> Any:
        threads.append(threading.get_ident())
        return read(folder)

    monkeypatch.setattr(package, "load_package", watched)
    model = package._load_pyfunc(str(next(saved.rglob("model.json")).parent))
    answer = model.predictor.predict
    monkeypatch.setattr(
        model.predictor, "predict", lambda *a, **k: threads.append(threading.get_ident()) or answer(*a, **k)
    )
    model.predict(np.full((1, 40, 30, 3), 200, np.uint8) * np.eye(40, 30, dtype=np.uint8)[None, :, :, None])
    assert threads == [in_one_thread(threading.get_ident)] * 2


def test_the_real_server_answers_files_pixels_and_broken_images(
    tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    spec = {
        "backbone": {"_target_": "astroclf.models.resnet18.ResNet18", "image_size": 32, "stem": "imagenet"},
        "classes": ["a", "b"],
        "image_size": 32,
        "augment": recipe_values(mean=[0.4] * 3, std=[0.2] * 3),
    }
    package = write_package(
        tmp_path / "package", spec, Classifier(ResNet18(image_size=32, stem="imagenet"), 2).state_dict()
    )
    save_model(tmp_path / "model", package)
    wanted = load_package(package, device="cpu").predict(IMAGES)["p_a"].tolist()
    address = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(tmp_path / "model"), "-h", "127.0.0.1"]
    path = os.pathsep.join([str(Path(sys.executable).parent), clean_environment["PATH"]])
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "-p", address.rpartition(":")[2], "--env-manager", "local"],
            env={**clean_environment, "PATH": path}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip

    def post(values: list[Any]) -> tuple[int, Any]:
        body = json.dumps({"inputs": values}).encode()
        request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)["predictions"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    try:
        for _ in range(600):
            assert server.poll() is None, (tmp_path / "log").read_text()
            try:
                urllib.request.urlopen(f"{address}/ping", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        status, (first, broken, second) = post([FILES[0], FILES[0][:200], FILES[1]])
        assert status == 200
        assert [first["p_a"], second["p_a"]] == pytest.approx(wanted, abs=1e-5)
        assert broken["label"] is None
        assert "image 1: " in broken["error"]
        assert [row["p_a"] for row in post(IMAGES.tolist())[1]] == pytest.approx(wanted, abs=1e-5)
        status, refused = post((IMAGES / 255.0).tolist())
        assert status == 400
        assert "multiply what is from 0 to 1 by 255" in refused["message"]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
