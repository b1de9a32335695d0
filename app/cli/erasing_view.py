"""What `smartstudy erase` asks and says."""

from app.crud.erasures import Erased, Found


def question(student: str, found: Found) -> str:
    """Whether to go on."""
    account = f" and the account {found.email}" if found.email else ""
    return f"Erase {_tasks(found.tasks)} of the student {student}{account}? It can't be undone"


def done(student: str, erased: Erased, pending: bool) -> str:
    """What went, and what may still know the student."""
    account = ", and the account" if erased.account else ""
    said = f"Erased {_tasks(erased.tasks)} ({erased.completed:,} completed) of the student {student}, with all that"
    said += f" was worked out from them{account}."
    if pending:
        return f"{said} The models in service learn of it in the next training: `smartstudy train` does it now."
    if erased.folders:
        return f"{said} Too few finished tasks remain to train on: LNIRT fitted to those answers."
    return said


def _tasks(n: int) -> str:
    return f"{n:,} task" if n == 1 else f"{n:,} tasks"
