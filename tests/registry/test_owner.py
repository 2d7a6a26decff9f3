"""A registered model that is called after a folder belongs to the data set in it."""

from __future__ import annotations

import pytest

from astroclf.errors import ConfigError
from astroclf.registry.owner import refuse_other_data_set
from astroclf.tracking.client import connect

OURS, THEIRS = "/home/me/galaxies", "/disk/galaxies"


@pytest.fixture(scope="module", autouse=True)
def model(uri: str) -> None:
    """A registered model of one version, trained on `THEIRS`; and one whose run is gone."""
    client = connect(uri)
    run = client.create_run("0")
    client.log_param(run.info.run_id, "dataset.path", THEIRS)
    for name, run_id in (("galaxies", run.info.run_id), ("orphan", "0" * 32)):
        client.create_registered_model(name)
        client.create_model_version(name, "file:///nowhere", run_id=run_id, tags={"test_fingerprint": "aa"})


@pytest.mark.parametrize(
    ("name", "path", "fingerprint"),
    [
        ("galaxies", THEIRS, "aa"),
        ("galaxies", THEIRS, "grown"),
        ("galaxies", OURS, "aa"),  # moved
        ("nebulae", OURS, "other"),
        ("orphan", OURS, "other"),
    ],
)
def test_the_same_data_set_or_a_new_name_goes_on(uri, name, path, fingerprint):
    refuse_other_data_set(uri, name, path, fingerprint)


def test_another_folder_of_the_same_name_is_asked_for_a_name(uri):
    with pytest.raises(ConfigError, match=rf"version 1 was trained on {THEIRS}, .* dataset\.name=NAME; .*model_name="):
        refuse_other_data_set(uri, "galaxies", OURS, "other")
