"""What must hold after every fault, of a database and a MODEL_DIR. Each break is a sentence."""

from collections.abc import Iterator

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import engine_for
from app.crud import model_tracker, model_versions, serving_changes
from app.domain.kinds import BASE
from app.ml.evaluation.simulated import school, simulate
from app.ml.registry import BY_NAME
from app.ml.serving import artifacts
from app.ml.serving.model_order import load, on_base
from app.ml.serving.version_store import VersionStore

TOTALS = """
    WITH counted AS (
        SELECT user_id, scope, key, count(*) AS n, count(*) FILTER (WHERE is_correct) AS n_correct,
               sum(round(least(actual_time_seconds, 1e6) * 1e6)::bigint) AS microseconds
        FROM practice_tasks
        CROSS JOIN LATERAL (VALUES ('all', ''), ('topic', topic), ('difficulty', difficulty), ('item', item_id))
            AS scopes (scope, key)
        WHERE completed AND key IS NOT NULL GROUP BY user_id, scope, key)
    SELECT count(*) FROM counted
    FULL JOIN student_totals AS kept USING (user_id, scope, key)
    WHERE (counted.n, counted.n_correct, counted.microseconds)
        IS DISTINCT FROM (kept.n::bigint, kept.n_correct::bigint, kept.microseconds::numeric)"""
NAMELESS = """
    SELECT count(*) FROM practice_tasks LEFT JOIN model_versions ON model_versions.id = model_version_id
    WHERE correctness_prob IS NOT NULL AND NOT coalesce(
        lnirt_model_version IS NOT NULL AND correctness_prob > 0 AND correctness_prob < 1
        AND estimated_time_seconds > 0 AND estimated_time_seconds < 'Infinity'
        AND (model_version_id IS NOT NULL OR lnirt_model_version IN ('prior', 'v1.0'))
        AND (model_version_id IS NULL OR lnirt_model_version <> 'prior')
        AND (model_version_id IS NULL
             OR lnirt_model_version = CASE kind WHEN 'lnirt' THEN 'v1.0' ELSE kind END), false)"""
UNFINISHED = "SELECT count(*) FROM training_runs WHERE outcome = 'running' AND finished_at IS NULL"
HALF = """
    SELECT id FROM training_runs AS run
    WHERE (outcome IN ('published', 'rejected')) <> EXISTS (SELECT FROM model_versions WHERE run_id = run.id)
       OR EXISTS (SELECT FROM model_versions WHERE run_id = run.id GROUP BY kind HAVING count(*) > 1)"""


def broken(url: str, store: VersionStore, *, settled: bool = False) -> list[str]:
    """What doesn't hold; `settled`: a run has succeeded since the fault, so nothing may be left lying about."""
    engine = engine_for(url)
    try:
        with Session(engine) as db:
            found = [
                *counted(db),
                *one_writer(db, settled),
                *serving(db, store),
                *predictions(db),
            ]
            return [*found, *(leftovers(db, store) if settled else ())]
    finally:
        engine.dispose()


def counted(db: Session) -> Iterator[str]:
    """I1: every completion counts once, in the tracker and in its student's totals."""
    tasks = db.scalar(text("SELECT count(*) FROM practice_tasks WHERE completed"))
    tracker = model_tracker.read(db)
    if tasks != tracker.trained_on + tracker.since_training:
        yield (
            f"{tasks} tasks are completed, but {tracker.trained_on} were trained on and {tracker.since_training} "
            "came since."
        )
    if wrong := db.scalar(text(TOTALS)):
        yield f"{wrong} totals are not the sums of their tasks."


def one_writer(db: Session, settled: bool) -> Iterator[str]:
    """I3: one run at a time, and what it published is whole."""
    open_runs = db.scalar(text(UNFINISHED))
    if open_runs > (0 if settled else 1):
        yield f"{open_runs} runs count as running."
    if half := db.scalars(text(HALF)).all():
        yield f"Runs {half} have other versions than their outcome says."
    if candidates := db.scalars(text("SELECT id FROM model_versions WHERE state = 'candidate'")).all():
        yield f"Versions {candidates} neither serve nor are rejected."


def serving(db: Session, store: VersionStore) -> Iterator[str]:
    """I2: one version of a kind serves, with the files that were published, and answers in finite numbers."""
    rows = db.execute(
        text("SELECT id, kind, place FROM model_versions WHERE state = 'serving' ORDER BY place, id")
    ).all()
    if len({row.kind for row in rows}) != len(rows) or len({row.place for row in rows}) != len(rows):
        yield f"The lineup is not one version of each kind in an order: {[tuple(row) for row in rows]}."
    change = next(iter(serving_changes.latest(db, 1)), None)
    if (list(change.lineup) if change else []) != [row.id for row in rows]:
        yield f"The last change says {change and list(change.lineup)}, but {[row.id for row in rows]} serve."
    attempts = simulate(school(3, seed=5), 6, seed=5).attempts
    versions, base = model_versions.serving(db), None
    for kind in sorted(versions, key=lambda name: name != BASE):  # what the others correct comes first
        version = versions[kind]
        try:
            model = load(store, BY_NAME[kind], version).model
            base = model if kind == BASE else base
            said = on_base(model, base).answers(attempts, np.arange(len(attempts)))
        except (artifacts.DamagedFiles, OSError, ValueError, KeyError) as why:
            yield f"Version {version.id} of {kind} serves, but can't be loaded: {why}."
            continue
        p, seconds = said.probability, said.seconds
        if not (np.isfinite(p).all() and np.isfinite(seconds).all() and (seconds > 0).all()):
            yield f"Version {version.id} of {kind} answers with numbers that are none."
        if not ((p >= 0) & (p <= 1)).all():
            yield f"Version {version.id} of {kind} answers with chances that are none."


def predictions(db: Session) -> Iterator[str]:
    """I4: every prediction stored names its model, and is one."""
    if wrong := db.scalar(text(NAMELESS)):
        yield f"{wrong} stored predictions don't name their model, or are none."


def leftovers(db: Session, store: VersionStore) -> Iterator[str]:
    """Folders that no version names or needs any more, and well-known names that lead nowhere."""
    kept = set(db.scalars(text("SELECT folder FROM model_versions WHERE pruned_at IS NULL")))
    known = set(db.scalars(text("SELECT folder FROM model_versions")))
    model_dir, versions = store.model_dir, (store.folder or store.model_dir) / artifacts.VERSIONS
    there = {f"{artifacts.VERSIONS}/{folder.name}" for folder in versions.glob("*")}  # staging, too
    if orphans := there - known:
        yield f"{len(orphans)} folders belong to no version: {', '.join(sorted(orphans))}."
    if pruned := (there & known) - kept:
        yield f"{len(pruned)} folders of versions that are gone are still there: {', '.join(sorted(pruned))}."
    leads = {(model_dir / name).resolve().parent for name in artifacts.SHOWN if (model_dir / name).is_symlink()}
    if len(leads) > 1:
        yield "The well-known names in MODEL_DIR lead to different versions."
