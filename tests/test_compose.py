"""What `docker compose` starts: parts that exist, with settings that exist."""

import re
from pathlib import Path
from typing import Any

import yaml

from app.core.settings import Settings

TOP = Path(__file__).parents[1]
OURS = ("smartstudy", "trainer", "scheduler", "worker")
STORES = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
TEXT = (TOP / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
CLUSTER = dict(
    line.split("=", 1) for line in (TOP / "deploy/cluster.env").read_text().splitlines() if line and line[0] != "#"
)


def test_without_a_profile_there_are_the_service_and_its_database() -> None:
    assert {name for name, each in SERVICES.items() if "profiles" not in each} == {"smartstudy", "database"}


def test_the_cluster_has_a_scheduler_two_workers_a_store_a_pooler_and_a_trainer() -> None:
    named = {name for name, each in SERVICES.items() if each.get("profiles") == [CLUSTER["COMPOSE_PROFILES"]]}
    assert named == {"scheduler", "worker", "store", "bucket", "pooler", "trainer"}
    assert SERVICES["worker"]["deploy"]["replicas"] == 2


def test_our_parts_are_given_settings_that_exist() -> None:
    known = {*(name.upper() for name in Settings.model_fields), *STORES}
    for name in OURS:
        assert set(SERVICES[name].get("environment", ())) <= known, name


def test_what_the_cluster_sets_is_what_the_parts_read() -> None:
    read = set(re.findall(r"\$\{([A-Z_]+)", TEXT)) | set(COMPOSE["x-store"])
    assert set(CLUSTER) - {"COMPOSE_PROFILES"} <= read
    Settings(engine=CLUSTER["ENGINE"], dask_scheduler=SERVICES["trainer"]["environment"]["DASK_SCHEDULER"])
    Settings(model_url=CLUSTER["MODEL_URL"], trainer=CLUSTER["TRAINER"])


def test_dask_is_on_a_network_on_which_no_web_process_is() -> None:
    with_dask = {name for name, each in SERVICES.items() if "engine" in each.get("networks", ())}
    assert with_dask == {"trainer", "scheduler", "worker", "store"}
    assert SERVICES["scheduler"]["networks"] == SERVICES["worker"]["networks"] == ["engine"]


def test_every_volume_and_whoever_is_waited_for_exists() -> None:
    for each in SERVICES.values():
        assert {volume.split(":")[0] for volume in each.get("volumes", ())} <= set(COMPOSE["volumes"])
        assert set(each.get("depends_on", ())) <= set(SERVICES)
