"""Versions by hand: rows without a training, whose files nobody opens."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud import model_versions, serving_changes, training_runs

MOMENT = datetime(2026, 3, 1, tzinfo=UTC)


def version(db: Session, kind: str = "embedding_v2", **scores: Any) -> int:
    """A candidate, committed."""
    made = model_versions.add(
        db,
        kind=kind,
        folder=f"versions/{kind}-none",
        files={"weights.npz": "0" * 64},
        n_tasks=40,
        report={"rows": 40, "train_seconds": 1.5},
        scores={"usable": True, "log_loss": 0.6, "log_loss_standard_error": 0.02, "auc": 0.7, **scores},
        span=(MOMENT, MOMENT),
        run_id=training_runs.ask(db),
    )
    db.execute(text("UPDATE training_runs SET outcome = 'published', finished_at = now() WHERE outcome = 'asked'"))
    db.commit()
    return made


def serving(db: Session, *model_order: int) -> None:
    """These serve, the first answers."""
    serving_changes.take_turn(db)
    serving_changes.serve(db, model_order, what="published", made_by="run 1", reason="Made by a test.")
    db.commit()


def pruned(db: Session, version_id: int) -> None:
    db.execute(text("UPDATE model_versions SET pruned_at = now() WHERE id = :id"), {"id": version_id})
    db.commit()
