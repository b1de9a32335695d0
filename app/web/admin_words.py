"""What the pages for admins call things: states of versions, outcomes of runs, acts in the audit, what a form did."""

from app.core.languages import Translator
from app.crud.model_versions import Version
from app.crud.training_runs import Run

MOST = 2**31 - 1


def what_was_done(translator: Translator, code: str) -> str | None:
    """The sentence for what a form came to; the address bar holds its code only."""
    said = {
        "paused": translator("Trainings are paused: none begins by itself until somebody lets them go on."),
        "resumed": translator("Trainings go on; one that is due begins now."),
        "asked": translator("The training begins as soon as no other is at work."),
        "promoted": translator("The version was promoted; who answers now is said below."),
        "rolledback": translator("Rolled back; who answers now is said below."),
        "sample": translator("The sample is loaded, and the models learn from it right now."),
    }
    return said.get(code)


def state_of(translator: Translator, version: Version) -> tuple[str, str]:
    """In a word or two, and how it is coloured."""
    if version.state == "serving":
        return (translator("answers"), "good") if version.answers else (translator("stands in"), "good")
    if version.pruned_at is not None:
        return translator("files deleted"), ""
    said = {
        "candidate": translator("not decided"),
        "retired": translator("answered before"),
        "rejected": translator("not good enough"),
    }
    return said.get(version.state, version.state), ""


def outcome_of(translator: Translator, run: Run) -> tuple[str, str]:
    """In a word or two, and how it is coloured."""
    said = {
        "asked": (translator("waits"), ""),
        "running": (translator("at work"), ""),
        "published": (translator("in service"), "good"),
        "rejected": (translator("nothing better"), ""),
        "failed": (translator("failed"), "bad"),
        "interrupted": (translator("interrupted"), "warn"),
        "merged": (translator("joined another"), ""),
    }
    return said.get(run.outcome, (run.outcome, ""))


def act_of(translator: Translator, act: str) -> str:
    said = {
        "promoted": translator("let it answer"),
        "rolled back": translator("rolled back"),
        "training asked": translator("asked for a training"),
        "trainings paused": translator("paused trainings"),
        "trainings resumed": translator("let trainings go on"),
        "admin created": translator("made an admin"),
        "key created": translator("made a key"),
        "key rotated": translator("replaced a key"),
        "key revoked": translator("revoked a key"),
        "student erased": translator("erased a student"),
        "settings tuned": translator("tuned the settings"),
        "tuned settings forgotten": translator("put the settings back"),
    }
    return said.get(act, act)


def position(given: str, most: int = MOST) -> int | None:
    """Where a page of a list begins, as its link has it; none, the newest, for anything else."""
    try:
        found = int(given)
    except ValueError:
        return None
    return found if 1 <= found <= most else None
