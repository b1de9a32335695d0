"""A backup is everything of one moment; restored, it is the same service; anything else is refused untouched."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session, sessionmaker

from app.backup import archive, create, restore
from app.backup.archive import MARK, NoBackup, checked
from app.core import database, files
from app.core.database import engine_for
from app.core.db import migrations
from app.core.db.statements import run_sync
from app.crud import accounts, model_versions, tables
from app.domain.attempts import Attempts
from app.domain.errors import StoreAway
from app.domain.tasks import TaskRequest
from app.ml.embedding_service import predict_and_save
from app.ml.evaluation.simulated import school, simulate
from app.ml.serving import artifacts
from app.ml.serving.model_order import ServingModels
from app.ml.serving.version_store import VersionStore
from app.ml.training.scheduler import Trainer
from tests.conftest import SharedProcess
from tests.school import imported
from tests.versions import serving, version

TASKS: Attempts = simulate(school(8, seed=5), 50, seed=5).attempts  # 400
FIRST_STUDENT = "SELECT user_id FROM practice_tasks WHERE completed ORDER BY user_id LIMIT 1"
SECRET = b"a secret of forty-eight characters, or near that"


def silent(_: int) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Place:
    """A database, a folder for models and one for the secret, and where versions lie for good."""

    engine: Engine
    folder: Path
    url: str = ""

    @property
    def store(self) -> VersionStore:
        return VersionStore(self.models, self.url)

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def secret(self) -> Path:
        return self.folder / "secret_key"

    def back_up(self, file: Path, **more: Any) -> Any:
        return create.create(self.engine, self.store, SECRET, file, silent, **more)

    def restore(self, file: Path, replace: bool = False) -> None:
        self.engine.dispose()
        with checked(file, silent) as opened:
            restore.restore(self.engine, self.store, self.secret, opened, replace)

    def rows(self) -> dict[str, list[str]]:
        """Every row of every table, as text."""
        with self.engine.connect() as connection:
            return {
                name: list(connection.scalars(text(f"SELECT row::text FROM {name} AS row ORDER BY 1")))
                for name in tables.present(connection)
            }

    def ask(self, sql: str) -> Any:
        with self.engine.begin() as connection:
            return connection.scalar(text(sql))

    def answers(self, key: str) -> list[tuple[float, float]]:
        """What the service would predict here, of a student it knows and of one it doesn't."""
        new_session, claim = sessionmaker(self.engine), accounts.claim_by_key(key)
        models = ServingModels(new_session.begin, self.store)
        models.refresh()
        assert models.problems == []
        with new_session() as db:
            students = [db.scalar(text(FIRST_STUDENT)), "00000000-0000-4000-8000-00000000000a"]
            found = []
            for student in students:
                task = run_sync(predict_and_save(models, TaskRequest(student, "algebra", "hard", None), claim), db)
                found.append((float(task.correctness_prob or 0), float(task.estimated_time_seconds or 0)))
            db.rollback()
        models.close()
        return found


@pytest.fixture
def here(db: Session, environment: Path) -> Iterator[Place]:
    engine = engine_for(os.environ["DATABASE_URL"])
    yield Place(engine, environment)
    engine.dispose()


@pytest.fixture
def there(empty_database: str, tmp_path: Path) -> Iterator[Place]:
    """Another machine, where nothing has happened yet."""
    (tmp_path / "there").mkdir()
    engine = engine_for(empty_database)
    yield Place(engine, tmp_path / "there")
    engine.dispose()


@pytest.fixture
def trainer(db: Session, warm_process: SharedProcess) -> Iterator[Trainer]:
    made = Trainer(warm_process)
    yield made
    made.close()


@pytest.fixture
def trained(here: Place, db: Session, trainer: Trainer) -> Place:
    imported(db, TASKS)
    assert trainer.train_now(kinds=["lnirt"])["outcome"] == "published"
    return here


@pytest.fixture
def file(here: Place, db: Session, tmp_path: Path) -> Path:
    """A backup with a version whose files nobody can open, but which are what was published."""
    imported(db, TASKS)
    with_files(here, db)
    path = tmp_path / "backup"
    here.back_up(path)
    return path


def with_files(place: Place, db: Session, content: bytes = b"weights") -> str:
    made = version(db)
    folder = f"versions/embedding_v2-{made}"
    (place.models / folder).mkdir(parents=True)
    (place.models / folder / "weights.npz").write_bytes(content)
    files = json.dumps({"weights.npz": hashlib.sha256(content).hexdigest()})
    db.execute(text("UPDATE model_versions SET folder = :folder, files = CAST(:files AS jsonb) WHERE id = :id"),
               {"folder": folder, "files": files, "id": made})  # fmt: skip
    serving(db, made)
    return folder


def same(restored: Mapping[str, list[str]], original: Mapping[str, list[str]], but: tuple[str, ...] = ()) -> None:
    for name, rows in original.items():
        if name not in but:
            assert restored[name] == rows, name
    assert set(restored) == set(original)


def invariants(place: Place) -> None:
    """I1 and I2 of one version per kind, whole."""
    counted = place.ask("SELECT n_samples_since_training FROM embedding_model_tracker")
    taken = place.ask("SELECT coalesce(sum(n_taken), 0) FROM training_runs")
    done = place.ask("SELECT count(*) FROM practice_tasks WHERE completed")
    assert counted + taken == done
    assert place.ask("SELECT coalesce(sum(n), 0) FROM student_totals WHERE scope = 'all'") == done
    with Session(place.engine) as db:
        for each in model_versions.serving(db).values():
            artifacts.verify(place.models / each.folder, each.files)


def test_a_backup_made_in_the_middle_of_a_training_is_of_one_moment_and_answers_as_before(
    trained: Place, there: Place, db: Session, trainer: Trainer, tmp_path: Path
) -> None:
    made = threading.Event()
    backups: list[Any] = []
    before: list[dict[str, list[str]]] = []

    def back_up(step: Mapping[str, Any]) -> None:
        if "fit" in str(step.get("step")) and not made.is_set():
            made.set()
            before.append(trained.rows())
            backups.append(trained.back_up(tmp_path / "backup"))

    key = accounts.create_key(db, "school")
    db.commit()
    answers = trained.answers(key)
    assert trainer.train_now(back_up, kinds=["lnirt"])["outcome"] in ("published", "rejected")
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o600
    there.restore(tmp_path / "backup")
    restored = there.rows()
    same(restored, before[0], but=("training_runs", "embedding_model_tracker"))  # they tell of the run's progress
    assert len(restored["training_runs"]) == len(before[0]["training_runs"])
    assert there.ask("SELECT outcome FROM training_runs ORDER BY id DESC LIMIT 1") == "interrupted"
    invariants(there)
    for (p, seconds), (p_before, seconds_before) in zip(there.answers(key), answers, strict=True):
        assert abs(p - p_before) < 1e-9
        assert abs(seconds - seconds_before) < 1e-9 * seconds_before
    assert there.secret.read_bytes() == SECRET
    assert stat.S_IMODE(there.secret.stat().st_mode) == 0o600
    assert not [each for each in (*trained.models.iterdir(), *there.models.iterdir()) if each.name.startswith(".")]


def test_a_backup_holds_what_lies_in_the_store_and_a_restore_mends_another(
    trained: Place, there: Place, db: Session, tmp_path: Path
) -> None:
    key = accounts.create_key(db, "school")
    db.commit()
    answers = trained.answers(key)
    trained.models.rename(tmp_path / "one")
    moved = replace(trained, url=(tmp_path / "one").as_uri())  # MODEL_DIR is empty now
    moved.back_up(tmp_path / "backup")
    for folder in (tmp_path / "one" / "versions").iterdir():
        (tmp_path / "two" / "versions" / folder.name).mkdir(parents=True)
        (tmp_path / "two" / "versions" / folder.name / "lnirt.npz").write_text("other bytes")
    target = replace(there, url=(tmp_path / "two").as_uri())
    target.restore(tmp_path / "backup")
    shutil.rmtree(there.models)
    assert target.answers(key) == answers
    (tmp_path / "one").rename(tmp_path / "away")
    shutil.rmtree(trained.models)
    with pytest.raises(StoreAway):
        moved.back_up(tmp_path / "another")
    assert not (tmp_path / "another").exists()


def test_a_version_that_is_published_while_others_are_fetched_is_in_the_backup(
    trained: Place, trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first backup of a machine fetches everything, which may take longer than a training."""
    shutil.copytree(trained.models, tmp_path / "one")
    moved = replace(trained, folder=tmp_path / "elsewhere", url=(tmp_path / "one").as_uri())  # MODEL_DIR is empty
    fetched, published = VersionStore.fetched, threading.Event()

    def slowly(store: VersionStore, version: Any) -> Path:
        if not published.is_set():
            published.set()
            assert trainer.train_now(kinds=["lnirt"])["outcome"] in ("published", "rejected")
            shutil.copytree(trained.models, tmp_path / "one", dirs_exist_ok=True, symlinks=True)
        return fetched(store, version)

    monkeypatch.setattr(VersionStore, "fetched", slowly)
    manifest = moved.back_up(tmp_path / "backup")
    assert manifest.left_out == []
    newest = trained.ask("SELECT folder FROM model_versions ORDER BY id DESC LIMIT 1")
    assert newest in [each.folder for each in manifest.models]


def nobody_else(db: Session) -> None:
    """This process lets go of the database, too."""
    db.close()
    database.engine().dispose()


def test_the_next_training_succeeds_after_a_restore(
    trained: Place, db: Session, tmp_path: Path, trainer: Trainer
) -> None:
    nobody_else(db)
    trained.back_up(tmp_path / "backup")
    highest = trained.ask("SELECT max(id) FROM model_versions")
    trained.restore(tmp_path / "backup", replace=True)
    assert trainer.train_now(kinds=["lnirt"])["outcome"] in ("published", "rejected")
    assert trained.ask("SELECT max(id) FROM model_versions") > highest
    invariants(trained)


def test_numbers_go_on_after_those_that_were_given_out_and_triggers_are_at_work_again(
    here: Place, there: Place, db: Session, tmp_path: Path
) -> None:
    imported(db, TASKS)
    version(db)
    db.execute(text("DELETE FROM model_versions"))
    last = db.scalar(text("INSERT INTO training_runs DEFAULT VALUES RETURNING id"))
    db.execute(text("DELETE FROM training_runs"))
    db.commit()
    here.back_up(tmp_path / "backup")
    there.restore(tmp_path / "backup")
    assert there.ask("INSERT INTO training_runs DEFAULT VALUES RETURNING id") == last + 1
    assert there.ask("INSERT INTO audit_log (actor, act) VALUES ('a', 'b') RETURNING id") == 1
    there.ask(
        """INSERT INTO practice_tasks (user_id, topic, difficulty, completed, is_correct, actual_time_seconds,
                                       completed_at)
           SELECT user_id, 'new', 'easy', true, true, 5, now() FROM practice_tasks LIMIT 1 RETURNING 1"""
    )
    assert there.ask("SELECT sum(n) FROM student_totals WHERE scope = 'all'") == 401
    there.ask("DELETE FROM practice_tasks RETURNING 1")
    assert there.ask("SELECT count(*) FROM student_totals") == 0


def test_a_file_that_is_there_is_not_overwritten_unless_told(here: Place, tmp_path: Path) -> None:
    path = tmp_path / "backup"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="--force"):
        here.back_up(path)
    assert path.read_text() == "mine"
    here.back_up(path, force=True)
    with checked(path, silent) as opened:
        assert opened.manifest.revision == migrations.REVISION


@pytest.mark.parametrize("force", [False, True])
def test_a_backup_that_fails_leaves_nothing_and_what_was_there(
    here: Place, db: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    imported(db, TASKS)
    path = tmp_path / "backup"
    if force:
        path.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    written = 0

    def write(counted: archive.Counted, data: bytes) -> int:
        nonlocal written
        written += len(data)
        if written > 50_000:
            raise OSError(28, "No space left on device")
        return whole(counted, data)

    whole = archive.Counted.write
    monkeypatch.setattr(archive.Counted, "write", write)
    with pytest.raises(OSError, match="No space left"):
        here.back_up(path, force=force)
    here.models.rmdir()
    assert sorted(tmp_path.rglob("*")) == before
    assert not force or path.read_text() == "mine"


def test_a_version_with_damaged_files_is_left_out_and_named(
    here: Place, there: Place, db: Session, tmp_path: Path
) -> None:
    folder = with_files(here, db)
    old = with_files(here, db)
    (here.models / folder / "weights.npz").write_bytes(b"other")
    manifest = here.back_up(tmp_path / "backup")
    assert (manifest.left_out, [each.folder for each in manifest.models]) == ([folder], [old])
    there.restore(tmp_path / "backup")
    assert there.ask(f"SELECT pruned_at IS NOT NULL FROM model_versions WHERE folder = '{folder}'")


def untouched(place: Place) -> bool:
    with place.engine.connect() as connection:
        empty = tables.present(connection) == []
    place.engine.dispose()
    return empty and not place.models.exists() and not place.secret.exists()


def test_a_file_of_which_a_bit_is_flipped_anywhere_is_refused(file: Path, there: Place) -> None:
    whole = file.read_bytes()
    for place in sorted({*range(0, len(whole), len(whole) // 60), *range(len(whole) - 120, len(whole))}):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(NoBackup):
            there.restore(file)
    assert untouched(there)


def test_a_file_that_was_cut_short_or_is_another_is_refused(file: Path, there: Place) -> None:
    whole = file.read_bytes()
    for content in (
        *(whole[: len(whole) * n // 9] for n in range(9)),
        whole + b"x",
        b"\x80\x04." * 99,
        os.urandom(4096),
    ):
        file.write_bytes(content)
        with pytest.raises(NoBackup, match="not a whole backup"):
            there.restore(file)
    assert untouched(there)


def sealed(file: Path, members: Mapping[str, bytes | None], **links: str) -> None:
    """The same backup with other members, as somebody would write it who knows how."""
    with zipfile.ZipFile(file) as old:
        contents = {info.filename: old.read(info) for info in old.infolist()} | dict(members)
    with zipfile.ZipFile(file, "w") as new:
        for name, content in contents.items():
            if content is not None:
                new.writestr(name, content)
        for name, target in links.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            new.writestr(info, target)
        new.comment = MARK + b"0" * 64
    content_ = file.read_bytes()[:-64]
    file.write_bytes(content_ + hashlib.sha256(content_).hexdigest().encode())


def manifest_of(file: Path) -> dict[str, Any]:
    with zipfile.ZipFile(file) as opened:
        found: dict[str, Any] = json.loads(opened.read("manifest.json"))
        return found


def said(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda manifest: manifest.update(changes)


def moved(to: str) -> Callable[[dict[str, Any]], Any]:
    return lambda manifest: manifest["models"][0].update(folder=to)


def renamed(to: str) -> Callable[[dict[str, Any]], Any]:
    def change(manifest: dict[str, Any]) -> None:
        files = manifest["models"][0]["files"]
        files[to] = files.pop("weights.npz")

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(moved(to) for to in ("../outside", "/outside", "versions/..", "versions/../../outside", "versions/.x")),
        *(renamed(to) for to in ("../x", "/etc/x", "..", "a/b", "a\\b/..", ".hidden", "")),
        said(format=2),
        said(more=1),
        said(tables=[]),
        lambda manifest: manifest["tables"][0].update(name="pg_authid"),
        lambda manifest: manifest["tables"][0].update(name='users"; DROP TABLE users; --'),
        lambda manifest: manifest["tables"][0].update(columns=["id) FROM PROGRAM 'id' --"]),
        lambda manifest: manifest["tables"][0].update(sha256="0" * 64),
        lambda manifest: manifest["tables"][0].update(rows=99),
        lambda manifest: manifest["numbers"][0].update(column="actor"),
    ],
)  # fmt: skip
def test_a_forged_manifest_is_refused(file: Path, there: Place, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = manifest_of(file)
    change(manifest)
    sealed(file, {"manifest.json": json.dumps(manifest).encode()})
    with pytest.raises(NoBackup):
        there.restore(file)
    with there.engine.connect() as connection:
        assert tables.present(connection) == []


@pytest.mark.parametrize("members", [{"../outside": b"x"}, {"models/x": b""}, {"tables/users.copy": None}])
def test_a_file_with_more_or_less_in_it_than_it_says_is_refused(
    file: Path, there: Place, members: Mapping[str, bytes | None]
) -> None:
    sealed(file, members)
    with pytest.raises(NoBackup):
        there.restore(file)
    assert untouched(there)


def test_a_link_is_refused(file: Path, there: Place) -> None:
    sealed(file, {"secret_key": None}, secret_key="/etc/passwd")
    with pytest.raises(NoBackup, match=r"plain file|size"):
        there.restore(file)
    assert untouched(there)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE model_versions SET folder = '../../outside', pruned_at = now()",
        "UPDATE training_runs SET folders = ARRAY['versions/../../outside']",
        "UPDATE training_runs SET folders = ARRAY['/etc']",
    ],
)
def test_rows_that_name_a_place_outside_are_refused(
    here: Place, there: Place, db: Session, tmp_path: Path, statement: str
) -> None:
    with_files(here, db)
    db.execute(text(statement))
    db.commit()
    here.back_up(tmp_path / "backup")
    with pytest.raises(NoBackup, match="no model belongs"):
        there.restore(tmp_path / "backup")
    with there.engine.connect() as connection:
        assert tables.present(connection) == []
    assert list((there.models / "versions").iterdir()) == []


def test_a_database_that_is_not_empty_is_only_replaced_when_told(
    here: Place, file: Path, db: Session, tmp_path: Path
) -> None:
    original = here.rows()
    other = with_files(here, db, b"others")
    db.execute(text("INSERT INTO users (email, password_hash) VALUES ('a@b', 'x')"))
    db.commit()
    nobody_else(db)
    changed = here.rows()
    with pytest.raises(restore.NotRestored, match="--replace"):
        here.restore(file)
    same(here.rows(), changed)
    here.restore(file, replace=True)
    same(here.rows(), original)
    assert not (here.models / other).exists()
    invariants(here)


def test_a_restore_that_fails_at_its_end_changes_nothing(
    here: Place, file: Path, monkeypatch: pytest.MonkeyPatch, db: Session
) -> None:
    nobody_else(db)
    before = here.rows()
    shutil.rmtree(here.models / "versions")
    real = files.sync

    def fail(folder: Path) -> None:
        real(folder)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(restore, "sync", fail)
    with pytest.raises(OSError, match="Input/output"):
        here.restore(file, replace=True)
    same(here.rows(), before)
    assert list((here.models / "versions").iterdir()) == []
    assert not here.secret.exists()


def test_a_database_that_somebody_works_with_is_left_alone(
    here: Place, file: Path, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "DISCONNECT_SECONDS", 0.3)
    db.execute(text("SELECT 1"))
    with pytest.raises(restore.NotRestored, match="stop the service"):
        here.restore(file, replace=True)


def test_a_backup_of_an_earlier_revision_is_migrated_and_one_of_a_later_refused(
    there: Place, empty_database: str, tmp_path: Path, server: str
) -> None:
    with there.engine.begin() as connection:
        migrations.upgrade(connection, "0005")
        connection.execute(
            text("""INSERT INTO practice_tasks (user_id, topic, difficulty, completed, is_correct,
                                                actual_time_seconds, completed_at)
                    SELECT gen_random_uuid(), 'a', 'easy', true, true, 5, now() FROM generate_series(1, 50)""")
        )
    there.back_up(tmp_path / "backup")
    assert manifest_of(tmp_path / "backup")["revision"] == "0005"
    tasks = there.rows()["practice_tasks"]
    there.restore(tmp_path / "backup", replace=True)
    migrations.check(there.engine)
    assert there.rows()["practice_tasks"] == [f"{row[:-1]},,)" for row in tasks]  # no contributions, no school
    assert there.ask("SELECT sum(n) FROM student_totals WHERE scope = 'all'") == 50
    sealed(
        tmp_path / "backup",
        {"manifest.json": json.dumps(manifest_of(tmp_path / "backup") | {"revision": "9999"}).encode()},
    )
    with pytest.raises(migrations.SchemaMismatch, match="newer than this code"):
        there.restore(tmp_path / "backup", replace=True)


def test_the_way_back_from_a_newer_release_is_told_and_is_one(there: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older release knows no step down from the tables of a newer one: the newer has to go down first."""
    old = "0012"
    migrations.migrate(there.engine)
    with monkeypatch.context() as older:
        older.setattr(migrations, "REVISION", old)
        with pytest.raises(migrations.SchemaMismatch, match=f"run `alembic downgrade {old}` first"):
            restore.what_is_there(there.engine)
        environment = {**os.environ, "DATABASE_URL": there.engine.url.render_as_string(hide_password=False)}
        command = [sys.executable, "-m", "alembic", "downgrade", old]
        subprocess.run(command, cwd=Path(__file__).parents[2], env=environment, check=True, capture_output=True)
        assert migrations.revision(there.engine) == old
        restore.what_is_there(there.engine)


def test_tables_of_somebody_else_are_left_alone(file: Path, there: Place) -> None:
    there.ask("CREATE TABLE users (id int); SELECT 1")
    with pytest.raises((restore.NotRestored, DatabaseError)):
        there.restore(file)
    assert there.ask("SELECT count(*) FROM users") == 0


def test_the_role_need_not_be_a_superuser(here: Place) -> None:
    assert not here.ask("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
