"""What can go wrong, in words for the caller: the class is the code, its docstring the message."""

from collections.abc import Mapping


class AppError(Exception):
    """Something went wrong."""

    status = 500
    headers: Mapping[str, str] = {}

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or (self.__doc__ or "").strip()
        super().__init__(self.detail)


class NotSignedIn(AppError):
    """Send `Authorization: Bearer <token or service key>`; a token comes from POST /auth/token."""

    status = 401
    headers = {"WWW-Authenticate": "Bearer"}  # noqa: RUF012


class NotAllowed(AppError):
    """Only an admin may do this."""

    status = 403


class TaskNotFound(AppError):
    """There is no such task among yours."""

    status = 404


class PlanNotFound(AppError):
    """There is no such plan among yours."""

    status = 404


class TopicNotFound(AppError):
    """Nobody has written this topic; GET /topics lists those that there are."""

    status = 404


class TopicTaken(AppError):
    """There is a topic of that name; merge the two instead."""

    status = 409


class KeyOfAnotherRequest(AppError):
    """This Idempotency-Key came with another request in the last 24 hours: a new request needs a new key."""

    status = 422


class TooManyPlans(AppError):
    """Twenty plans are as many as a student may have: delete one first, with DELETE /preparation/plans/{id}."""

    status = 409


class TooManyOpenTasks(AppError):
    """The student has as many open tasks as they may have: finish one first."""

    status = 409


class TooManyTopics(AppError):
    """The student has as many topics as they may have: choose one of these."""

    status = 409


class OtherResult(AppError):
    """The task has been completed before, with another result: PUT /practice-tasks/{id}/result changes it."""

    status = 409


class NoResult(AppError):
    """The task has no result yet: PATCH /practice-tasks/{id} records one."""

    status = 409


class HasResult(AppError):
    """Only an open task can be discarded, and this one is completed: PUT /practice-tasks/{id}/result changes its
    result, DELETE /practice-tasks/{id}/result takes it back."""

    status = 409


class TooLate(AppError):
    """This can't be changed any more."""

    status = 403


class VersionNotFound(AppError):
    """There is no such version."""

    status = 404


class NotKept(AppError):
    """The version can't serve any more."""

    status = 409


class KeyNotFound(AppError):
    """There is no such service key."""

    status = 404


class SessionNotFound(AppError):
    """There is no such session among yours."""

    status = 404


class TrainingBusy(AppError):
    """One training is at work and one is waiting; that one will see all tasks finished until it starts."""

    status = 409


class StudentNotFound(AppError):
    """Nothing is stored about this student."""

    status = 404


class NotAllowedByStudent(AppError):
    """This student has an account and has not allowed your school; POST /users/me/schools or their settings do that."""

    status = 403


class NotOfThisSchool(AppError):
    """Your key brought no student of this id: name yours by `student`, which takes any text."""

    status = 404


class SchoolNotFound(AppError):
    """No school's service key has this name here: ask your school how its key is called."""

    status = 404


class HasAccount(AppError):
    """This student has an account of their own: only they can erase it, signed in, with DELETE /users/me."""

    status = 409


class AccountNotFound(AppError):
    """There is no account with this address or id."""

    status = 404


class AccountDisabled(AppError):
    """This account is disabled: ask whoever runs the service."""

    status = 403


class OwnAccount(AppError):
    """Nobody may disable their own account; another admin can."""

    status = 409


class LastAdmin(AppError):
    """This is the last admin who can sign in; make another one first, with `smartstudy admin create EMAIL`."""

    status = 409


class NoMail(AppError):
    """This service sends no mail: ask whoever runs it for a link by which you set a new password."""

    status = 409


class LinkGone(AppError):
    """This link has been used or has run out, or it was never one of ours: ask for a new one."""

    status = 410


class EmailTaken(AppError):
    """Somebody has registered with this e-mail address; sign in, or use another."""

    status = 409


class LooksTaken(AppError):
    """This address looks like that of another account; use one in the plain letters of one alphabet."""

    status = 409


class WeakPassword(AppError):
    """This password would soon be guessed: use a longer one, such as a few words, without your name or address."""

    status = 422


class NotAccepted(AppError):
    """The request can't be accepted as it is."""

    status = 422


class TooManyTries(AppError):
    """This was tried too often; try again later."""

    status = 429

    def __init__(self, detail: str, wait_seconds: int) -> None:
        super().__init__(detail)
        self.headers = {"Retry-After": str(wait_seconds)}


class StoreAway(AppError):
    """The store of the models does not answer just now. Try again shortly."""

    status = 503
    headers = {"Retry-After": "10"}  # noqa: RUF012


class DatabaseUnavailable(AppError):
    """The database does not answer just now. Try again shortly; what was stored all the same counts once."""

    status = 503
    headers = {"Retry-After": "2"}  # noqa: RUF012
