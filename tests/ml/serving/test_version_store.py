"""Versions in a store that several machines share: what each has on its own disk may go, be damaged, or never come."""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from obstore.exceptions import GenericError
from obstore.store import MemoryStore

from app.core.object_store import ObjectStore
from app.domain.errors import StoreAway
from app.ml.serving import artifacts, version_store
from app.ml.serving.version_store import VersionStore

Machine = Callable[[str], VersionStore]
BUCKET = "s3://models/school"


@dataclass(frozen=True)
class Version:
    """As its row would have it."""

    folder: str
    files: dict[str, str]


@pytest.fixture(params=["a folder", "a bucket"])
def machine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Machines by name, each with a disk of its own, and one store."""
    if request.param == "a bucket":
        bucket = MemoryStore()
        monkeypatch.setattr("app.core.object_store._opened", lambda url: bucket)
    url = BUCKET if request.param == "a bucket" else (tmp_path / "store").as_uri()
    VersionStore(tmp_path / "first", url).begin()
    return lambda name: VersionStore(tmp_path / name, url)


def written(store: VersionStore, name: str = "lnirt-1") -> Version:
    """A version on this machine's disk."""
    with artifacts.staged(store.model_dir, artifacts.staging_place()) as staging:
        (staging / name).mkdir()
        for file in artifacts.SHOWN:
            (staging / name / file).write_text(f"{name} {file}")
        files = artifacts.hashes(staging / name)
        return Version(artifacts.settle(staging / name, store.model_dir, artifacts.place(name)), files)


def published(store: VersionStore, name: str = "lnirt-1") -> Version:
    version = written(store, name)
    store.publish(store.model_dir / version.folder, version.folder)
    return version


def whole(folder: Path, version: Version) -> bool:
    return artifacts.hashes(folder) == version.files


def test_what_one_machine_publishes_another_one_fetches(machine: Machine) -> None:
    version, there = published(machine("trainer")), machine("web")
    folder = there.fetched(version)
    assert folder == there.model_dir / version.folder
    assert whole(folder, version)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [file.stat().st_mode & 0o777 for file in folder.iterdir()] == [0o600] * 3
    assert [each.name for each in (there.model_dir / "versions").iterdir()] == ["lnirt-1"]


def test_a_file_in_the_store_is_never_written_over(machine: Machine) -> None:
    here, there = machine("here"), machine("there")
    version = published(here)
    here.publish(here.model_dir / version.folder, version.folder)  # an answer was lost: the same file again
    other = written(there)
    (there.model_dir / other.folder / "metadata.json").write_text("another one")
    with pytest.raises(artifacts.DamagedFiles, match=r"metadata\.json is there already"):
        there.publish(there.model_dir / other.folder, other.folder)
    assert whole(machine("web").fetched(version), version)


def test_files_that_were_damaged_on_this_machine_are_fetched_anew(machine: Machine) -> None:
    version, there = published(machine("trainer")), machine("web")
    file = there.fetched(version) / "metadata.json"
    file.write_text("damaged")
    assert whole(there.fetched(version), version)
    file.unlink()
    assert whole(there.fetched(version), version)


@pytest.mark.parametrize("damage", ["other bytes", "one is missing", "all are missing"])
def test_files_that_are_damaged_in_the_store_are_refused_and_leave_nothing(machine: Machine, damage: str) -> None:
    trainer, there = machine("trainer"), machine("web")
    version = published(trainer)
    trainer._store.create("versions/other/x", b"so that the store is there")
    if damage == "other bytes":
        (bad := there.model_dir.parent / "bad").write_text("other bytes")
        trainer._store.replace(f"{version.folder}/metadata.json", bad)
    else:
        trainer._store.delete(f"{version.folder}" + ("/metadata.json" if damage == "one is missing" else ""))
    if damage == "one is missing":
        trainer._store.delete(version.folder)
        trainer._store.create(f"{version.folder}/time_model.keras", b"lnirt-1 time_model.keras")
    with pytest.raises(artifacts.DamagedFiles, match=r"lnirt-1"):
        there.fetched(version)
    assert list((there.model_dir / "versions").iterdir()) == []
    assert whole(trainer.fetched(version), version)  # who has them needs no store


def test_where_the_disk_takes_nothing_a_temporary_folder_does(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "full").write_text("no folder")
    version, there = published(machine("trainer")), machine("full/models")
    folder = there.fetched(version)
    assert whole(folder, version)
    assert there.fetched(version) == folder


def test_a_machine_that_has_the_files_puts_back_what_the_store_lost(machine: Machine, tmp_path: Path) -> None:
    here = machine("here")
    version = published(here)
    assert not here.publish(here.model_dir / version.folder, version.folder, mend=True)
    (bad := tmp_path / "bad").write_text("other bytes")
    here._store.replace(f"{version.folder}/metadata.json", bad)
    assert here.publish(here.model_dir / version.folder, version.folder, mend=True)
    assert whole(machine("web").fetched(version), version)


def test_a_temporary_folder_is_swept_like_the_disk(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "full").write_text("no folder")
    there = machine("full/models")
    kept, pruned = (there.fetched(published(machine("trainer"), f"lnirt-{number}")) for number in range(2))
    there.sweep({"versions/lnirt-0": True, "versions/lnirt-1": False})
    assert [kept.exists(), pruned.exists()] == [True, False]


def test_a_store_loses_what_is_not_kept_any_more_and_nothing_else(machine: Machine) -> None:
    here = machine("here")
    kept, gone, of_another = (published(here, f"lnirt-{number}") for number in range(3))
    here.remove_gone({kept.folder: True, gone.folder: False, "versions/lnirt-7": False})
    assert whole(machine("web").fetched(kept), kept)
    assert whole(machine("web").fetched(of_another), of_another)
    with pytest.raises(artifacts.DamagedFiles):
        machine("web").fetched(gone)


def test_removed_it_is_gone_here_and_in_the_store(machine: Machine) -> None:
    here = machine("here")
    version, other = published(here), published(here, "lnirt-2")
    assert here.remove(version.folder)
    assert here.remove(version.folder)  # again
    with pytest.raises(artifacts.DamagedFiles):
        machine("web").fetched(version)
    assert whole(machine("web").fetched(other), other)


def test_processes_that_fetch_at_once_all_find_it_whole(machine: Machine) -> None:
    version = published(machine("trainer"))
    stores = [machine("web") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda store: store.fetched(version), stores))
    assert whole(folders[0], version)
    assert set(folders) == {stores[0].model_dir / version.folder}
    assert [each.name for each in (stores[0].model_dir / "versions").iterdir()] == ["lnirt-1"]


def test_nobody_waits_for_a_store_that_hangs(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    store, back = machine("web"), threading.Event()
    monkeypatch.setattr(version_store, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(ObjectStore, "check", lambda self: back.wait(60))
    assert store.problem() is None  # as far as is known
    assert store.problem() is None
    back.set()


def test_a_store_that_is_back_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(store: ObjectStore) -> None:
        raise StoreAway("It is away.")

    store = VersionStore(tmp_path, BUCKET)
    monkeypatch.setattr(version_store, "CHECK_SECONDS", 0.0)
    with monkeypatch.context() as meeting:
        meeting.setattr(ObjectStore, "check", away)
        assert store.problem() == "It is away."
    monkeypatch.setattr(ObjectStore, "check", lambda self: time.sleep(0.05))
    assert store.problem() is None


def test_a_machine_keeps_only_what_a_version_needs(machine: Machine) -> None:
    there = machine("web")
    kept, pruned, new = (published(machine("trainer"), f"lnirt-{number}") for number in range(3))
    for version in (kept, pruned, new):
        there.fetched(version)
    there.sweep({kept.folder: True, pruned.folder: False})
    assert sorted(each.name for each in (there.model_dir / "versions").iterdir()) == ["lnirt-0", "lnirt-2"]


def test_one_file_is_read_without_the_others(machine: Machine) -> None:
    version, there = published(machine("trainer")), machine("web")
    assert there.read(version, "metadata.json") == b"lnirt-1 metadata.json"
    assert not (there.model_dir / version.folder).exists()
    with pytest.raises(FileNotFoundError):
        there.read(version, "none.json")


def test_a_file_of_a_bucket_that_is_not_there_is_not_taken_for_missing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an export says that no version knows the student."""

    def gone(*_: object) -> None:
        raise StoreAway("no such bucket")

    version, there = published(machine("trainer")), machine("web")
    monkeypatch.setattr(ObjectStore, "check", gone)
    assert there.read(version, "metadata.json")
    with pytest.raises(StoreAway, match="no such bucket"):
        there.read(version, "none.json")


def test_a_store_of_which_the_folder_is_gone_is_away_and_has_lost_nothing(tmp_path: Path) -> None:
    trainer, there = (VersionStore(tmp_path / name, (tmp_path / "store").as_uri()) for name in ("trainer", "web"))
    trainer.begin()
    version = published(trainer)
    assert trainer.problem() is None
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreAway, match="can't be used"):
        there.fetched(version)
    with pytest.raises(StoreAway):
        published(trainer, "lnirt-2")
    assert not (tmp_path / "store").exists()
    assert there.problem()
    assert whole(trainer.fetched(version), version)


def test_a_store_that_does_not_answer_says_so_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # nobody listens there
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        store = ObjectStore(BUCKET)
        with pytest.raises(StoreAway) as away:
            store.check()
        assert str(away.value).startswith(f"The store of the models, {BUCKET}, can't be used: Generic S3 error")
        assert "\n" not in str(away.value)
        assert "secret" not in str(away.value)
        store._asked_again_at = 0
        with pytest.raises(StoreAway) as again:
            store.check()
        assert str(again.value) == str(away.value)  # so that it is logged once
        monkeypatch.setattr("obstore.list", lambda *_, **__: pytest.fail("asked again at once"))
        with pytest.raises(StoreAway):
            store.check()


def test_what_the_store_finds_in_its_way_and_then_does_not_find_is_tried_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 answers 409 where two writes meet: neither was done."""
    here = machine("here")
    version = written(here)
    with monkeypatch.context() as meeting:
        meeting.setattr(ObjectStore, "create", lambda *_: False)
        with pytest.raises(StoreAway, match="does not find it"):
            here.publish(here.model_dir / version.folder, version.folder)
    here.publish(here.model_dir / version.folder, version.folder)
    assert whole(machine("web").fetched(version), version)


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("AWS_ENDPOINT_URL", "http://somebody:s3cret@127.0.0.1:9", "GET http://127.0.0.1:9/models - HTTP error"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9 s3cret", "characters that can't be there"),
        ("AWS_ACCESS_KEY_ID", "s3cret\n", "characters that can't be there"),
        ("AWS_REGION", "s3cret\n", "characters that can't be there"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "s3cret!", "Invalid Access Key"),
        ("AZURE_STORAGE_SAS_TOKEN", "s3cret", "Missing component in SAS query pair"),
        ("GOOGLE_SERVICE_ACCOUNT_KEY", "s3cret", "Unable to decode service account file"),
        ("GOOGLE_BEARER_TOKEN", "s3cret\n", "characters that can't be there"),
    ],
)
def test_variables_that_the_store_can_not_use_are_told_without_what_is_in_them(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, complaint: str
) -> None:
    """A line break at the end of a key is enough for the library to panic, which no `except Exception` catches."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "somebody")
    monkeypatch.setenv(variable, value)
    scheme = {"AWS": "s3", "AZURE": "az", "GOOGLE": "gs"}[variable.partition("_")[0]]
    with pytest.raises(StoreAway) as away:
        ObjectStore(f"{scheme}://models/school").check()
    assert complaint in str(away.value)
    assert "s3cret" not in str(away.value)


@pytest.mark.parametrize(
    "asked",
    [
        "Error performing PUT http://169.254.169.254/latest/api/token - HTTP error: error sending request",
        "Error performing GET http://169.254.169.254/metadata/identity/oauth2/token - Server returned 403",
    ],
)
def test_a_store_without_keys_is_told_which_variables_are_missing(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(url: str) -> MemoryStore:
        raise GenericError(f"Generic error: {asked}")

    monkeypatch.setattr("app.core.object_store._opened", opened)
    with pytest.raises(StoreAway, match="no variable has keys for it"):
        ObjectStore(BUCKET).check()


def test_what_a_store_says_is_told_without_what_is_another_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be logged anew every few seconds. So Azure says that there is no such container."""
    asked = iter(range(9))

    def opened(url: str) -> MemoryStore:
        raise GenericError(
            'Error performing GET http://127.0.0.1:10000/models in 3.5ms - Server returned 404: <?xml version="1.0"?>'
            "<Error><Code>ContainerNotFound</Code><Message>The specified container does not exist.\n"
            f"RequestId:{next(asked)}\nTime:2026-11-30T02:09:53.458Z</Message></Error>"
        )

    monkeypatch.setattr("app.core.object_store._opened", opened)
    store, told = ObjectStore("az://models"), set[str]()
    for _ in range(2):
        store._asked_again_at = 0
        with pytest.raises(StoreAway) as away:
            store.check()
        told.add(str(away.value))
    assert len(told) == 1
    assert next(iter(told)).endswith("404: ContainerNotFound, The specified container does not exist.")


@pytest.mark.parametrize(
    ("url", "variables", "condition", "refusal"),
    [
        (
            "s3://models/school",
            {"AWS_ENDPOINT_URL": "", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"},
            ("If-None-Match", "*"),
            412,
        ),
        (
            "az://models/school",
            {"AZURE_STORAGE_ENDPOINT": "/a", "AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_ACCOUNT_KEY": "YQ=="},
            ("If-None-Match", "*"),
            409,
        ),
        (
            "gs://models/school",
            {"GOOGLE_BASE_URL": "", "GOOGLE_BEARER_TOKEN": "a"},
            ("x-goog-if-generation-match", "0"),
            412,
        ),
    ],
    ids=["S3", "Azure", "Google"],
)
def test_each_store_is_told_to_write_only_where_there_is_nothing(
    monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str], condition: tuple[str, str], refusal: int
) -> None:
    kept = dict[str, bytes]()

    class Bucket(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            refused = self.path in kept and self.headers.get(condition[0]) == condition[1]
            if not refused:
                kept[self.path] = content
            self.send_response(refusal if refused else 200)
            for name in ("ETag", "x-goog-generation"):
                self.send_header(name, "1")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Not to stderr."""

    with HTTPServer(("127.0.0.1", 0), Bucket) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name, value in variables.items():
            at = f"http://127.0.0.1:{server.server_port}{value}"
            monkeypatch.setenv(name, at if name.endswith(("_URL", "_ENDPOINT")) else value)
        store = ObjectStore(url)
        assert store.create("versions/x", b"one")
        assert not store.create("versions/x", b"two")
        server.shutdown()
    assert list(kept.values()) == [b"one"]


def test_a_store_without_conditional_writes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise GenericError("Error performing PUT - Server returned non-2xx status code: 501 Not Implemented: A header")

    monkeypatch.setattr("app.core.object_store._opened", lambda url: MemoryStore())
    monkeypatch.setattr("obstore.put", refused)
    with pytest.raises(StoreAway, match="it has to know conditional writes"):
        ObjectStore(BUCKET).create("versions/x", b"x")


def test_a_folder_for_all_needs_no_copy(tmp_path: Path) -> None:
    for url in ("", tmp_path.as_uri(), f"{tmp_path.as_uri()}/"):
        here = VersionStore(tmp_path, url)
        version = published(here)
        assert here.is_here
        assert here.problem() is None
        (here.fetched(version) / "metadata.json").write_text("damaged")
        with pytest.raises(artifacts.DamagedFiles):
            here.fetched(version)
        assert here.remove(version.folder)
