"""The trained models: which one serves, which ones are kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud.model_tracker import to_json


@dataclass(frozen=True, slots=True)
class Version:
    """One trained model and its files."""

    id: int
    kind: str
    folder: str  # below MODEL_DIR
    files: Mapping[str, str]  # name -> SHA-256, hexadecimal
    state: str
    reason: str | None
    n_tasks: int
    report: Mapping[str, Any]
    created_at: datetime


COLUMNS = "id, kind, folder, files, state, reason, n_tasks, report, created_at"


def publish(
    db: Session,
    *,
    kind: str,
    folder: str,
    files: Mapping[str, str],
    n_tasks: int,
    report: Mapping[str, Any],
    run_id: int,
) -> int:
    """The new version serves, the one before retires; in one transaction, so there is always exactly one."""
    db.execute(
        text("UPDATE model_versions SET state = 'retired' WHERE kind = :kind AND state = 'serving'"), {"kind": kind}
    )
    made: int = db.scalar(
        text("""INSERT INTO model_versions (kind, folder, files, state, n_tasks, report, run_id)
                VALUES (:kind, :folder, CAST(:files AS jsonb), 'serving', :n_tasks, CAST(:report AS jsonb), :run_id)
                RETURNING id"""),
        {
            "kind": kind,
            "folder": folder,
            "files": to_json(files),
            "n_tasks": n_tasks,
            "report": to_json(report),
            "run_id": run_id,
        },
    )
    return made


def serving(db: Session) -> dict[str, Version]:
    """The serving version of each kind."""
    rows = db.execute(text(f"SELECT {COLUMNS} FROM model_versions WHERE state = 'serving'")).mappings()
    return {row["kind"]: Version(**row) for row in rows}


def latest(db: Session, limit: int = 10) -> list[Version]:
    rows = db.execute(
        text(f"SELECT {COLUMNS} FROM model_versions ORDER BY id DESC LIMIT :limit"),
        {"limit": limit},
    ).mappings()
    return [Version(**row) for row in rows]


def prune(db: Session, kind: str, keep: int) -> list[str]:
    """Mark all but the newest `keep` retired versions as gone; their folders may be deleted after the commit."""
    rows = db.execute(
        text("""UPDATE model_versions SET pruned_at = now() WHERE id IN (
                    SELECT id FROM model_versions WHERE kind = :kind AND state = 'retired' AND pruned_at IS NULL
                    ORDER BY id DESC OFFSET :keep)
                RETURNING folder"""),
        {"kind": kind, "keep": keep - 1},
    )
    return [row.folder for row in rows]
