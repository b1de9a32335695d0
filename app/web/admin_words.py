"""What the pages for admins call things: states of versions, outcomes of runs, acts in the audit, what a form did."""

from app.crud.training_runs import Run
from app.crud.version_lists import Listed
from app.web.languages import Words

MOST = 2**31 - 1


def what_was_done(speaking: Words, code: str) -> str | None:
    """The sentence for what a form came to; the address bar holds its code only."""
    said = {
        "paused": speaking("Trainings are paused: none begins by itself until somebody lets them go on."),
        "resumed": speaking("Trainings go on; one that is due begins now."),
        "asked": speaking("The training begins as soon as no other is at work."),
        "promoted": speaking("The version was promoted; who answers now is said below."),
        "rolledback": speaking("Rolled back; who answers now is said below."),
        "sample": speaking("The sample is loaded, and the models learn from it right now."),
    }
    return said.get(code)


def state_of(speaking: Words, version: Listed) -> tuple[str, str]:
    """In a word or two, and how it is coloured."""
    if version.state == "serving":
        return (speaking("answers"), "good") if version.answers else (speaking("stands in"), "good")
    if version.pruned_at is not None:
        return speaking("files deleted"), ""
    said = {
        "candidate": speaking("not decided"),
        "retired": speaking("answered before"),
        "rejected": speaking("not good enough"),
    }
    return said.get(version.state, version.state), ""


def outcome_of(speaking: Words, run: Run) -> tuple[str, str]:
    """In a word or two, and how it is coloured."""
    said = {
        "asked": (speaking("waits"), ""),
        "running": (speaking("at work"), ""),
        "published": (speaking("in service"), "good"),
        "rejected": (speaking("nothing better"), ""),
        "failed": (speaking("failed"), "bad"),
        "interrupted": (speaking("interrupted"), "warn"),
        "merged": (speaking("joined another"), ""),
    }
    return said.get(run.outcome, (run.outcome, ""))


def act_of(speaking: Words, act: str) -> str:
    said = {
        "promoted": speaking("let it answer"),
        "rolled back": speaking("rolled back"),
        "training asked": speaking("asked for a training"),
        "trainings paused": speaking("paused trainings"),
        "trainings resumed": speaking("let trainings go on"),
        "admin created": speaking("made an admin"),
        "key created": speaking("made a key"),
        "key rotated": speaking("replaced a key"),
        "key revoked": speaking("revoked a key"),
        "student erased": speaking("erased a student"),
        "settings tuned": speaking("tuned the settings"),
        "tuned settings forgotten": speaking("put the settings back"),
    }
    return said.get(act, act)


def position(given: str, most: int = MOST) -> int | None:
    """Where a page of a list begins, as its link has it; none, the newest, for anything else."""
    try:
        found = int(given)
    except ValueError:
        return None
    return found if 1 <= found <= most else None
