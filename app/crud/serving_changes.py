"""Who serves, and every change of that. What a person changes stands in the audit too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.crud import audit, model_versions, rows, training_runs
from app.crud.model_versions import KNOWS_CORRECTED, KNOWS_ERASED, Version
from app.crud.rows import all_as, execute, first_as
from app.domain.actors import Actor
from app.domain.errors import NotAccepted, NotKept
from app.domain.kinds import KINDS
from app.domain.shares import ALL, Share

LOCK = "hashtext('smartstudy.serving')"  # as `take_turn` has it
FORMER = "a former admin"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of who serves."""

    id: int
    at: datetime
    what: str
    lineup: Sequence[int]  # versions, best first
    made_by: str
    reason: str
    back_to: int | None  # of a roll-back: the change it restored


SELECT = f"SELECT {', '.join(Change.__slots__)} FROM serving_changes"
RETIRE = "UPDATE model_versions SET state = 'retired', by_hand = false WHERE state = 'serving' AND id <> ALL(:ids)"
SERVE = """
    UPDATE model_versions SET state = 'serving', place = array_position(CAST(:ids AS int[]), id) - 1,
        by_hand = CASE WHEN id = :by_hand THEN true ELSE by_hand AND CAST(:by_hand AS int) IS NULL END
    WHERE id = ANY(:ids)"""
INSERT = """
    INSERT INTO serving_changes (what, lineup, made_by, reason, back_to)
    VALUES (:what, CAST(:ids AS int[]), :made_by, :reason, :back_to)"""
TAKE_SHARES = """
    UPDATE model_versions SET chance_share = 0, time_share = 0
    WHERE id <> ALL(:ids) AND chance_share + time_share > 0"""
SHARE = "UPDATE model_versions SET chance_share = :chance, time_share = :time WHERE id = :id"
BEFORE = f"""{SELECT} AS earlier
    WHERE lineup[1] <> :id AND id < (SELECT coalesce(back_to, id) FROM serving_changes ORDER BY id DESC LIMIT 1)
      AND EXISTS (SELECT 1 FROM model_versions
                  WHERE model_versions.id = earlier.lineup[1] AND pruned_at IS NULL AND NOT ({KNOWS_ERASED})
                      AND NOT {KNOWS_CORRECTED})
    ORDER BY id DESC LIMIT 1"""
SPOILT = f"""
    SELECT coalesce(bool_or({KNOWS_ERASED}), false) AS erased, coalesce(bool_or({KNOWS_CORRECTED}), false) AS corrected
    FROM model_versions WHERE pruned_at IS NULL"""
FORGET_NAME = """
    UPDATE {table} SET reason = left(reason, -length(:ending)) || ' by ' || :former || '.'
    WHERE right(reason, length(:ending)) = :ending"""


def take_turn(db: Session) -> None:
    """Nobody else changes who serves until this transaction ends."""
    rows.take_turn(db, "serving")


def hold_off(connection: Connection) -> None:
    """Nobody publishes, promotes or removes a version until this transaction ends; several may hold this at once."""
    execute(connection, f"SELECT pg_advisory_xact_lock_shared({LOCK})")


def serve(
    db: Session,
    lineup: Sequence[int],
    *,
    what: str,
    made_by: str,
    reason: str,
    by_hand: int | None = None,
    back_to: int | None = None,
) -> None:
    """These versions serve, the first of them answers; whoever else did retires. Call `take_turn` before."""
    ids = list(lineup)
    execute(db, RETIRE, ids=ids)
    execute(db, SERVE, ids=ids, by_hand=by_hand)
    execute(db, INSERT, what=what, ids=ids, made_by=made_by, reason=reason, back_to=back_to)


def share(db: Session, shares: Mapping[int, Share]) -> None:
    """What each serving version has to say of chance and time; those that are not named have nothing to say."""
    execute(db, TAKE_SHARES, ids=list(shares))
    for version_id, each in shares.items():
        execute(db, SHARE, id=version_id, chance=each.chance, time=each.time)


def promote(db: Session, version_id: int, actor: Actor) -> str:
    """Let this version answer; what was done, in a sentence.

    Raises:
        VersionNotFound: there is no such version.
        NotKept: its files are gone, it never was a model that can serve, or what it learnt no longer holds.
    """
    take_turn(db)
    version = model_versions.get(db, version_id)
    _must_be_kept(version)
    others = [other.id for other in model_versions.serving(db).values() if other.kind != version.kind]
    reason = f"Version {version_id} of {version.kind} was promoted by {actor.name}."
    _choose(db, [version_id, *others], "promoted", actor, reason)
    return reason


def roll_back(db: Session, actor: Actor) -> str:
    """Undo the change that put the answering version there; what was done, in a sentence.

    Raises:
        NotKept: there is nothing to go back to.
    """
    take_turn(db)
    serving = list(model_versions.serving(db).values())
    back_to = _before(db, serving[0]) if serving else None
    if back_to is None:
        raise NotKept(f"There is no earlier version to go back to{_not_spoilt(db)}.")
    then = [model_versions.get(db, version_id) for version_id in back_to.lineup]
    wanted = [each for each in then if each.pruned_at is None and not each.knows_erased and not each.knows_corrected]
    kinds = {version.kind for version in wanted}
    lineup = [version.id for version in (*wanted, *(each for each in serving if each.kind not in kinds))]
    reason = f"Rolled back to version {lineup[0]} of {wanted[0].kind} by {actor.name}."
    _choose(db, lineup, "rolled back", actor, reason, back_to.back_to or back_to.id)
    return reason


def retire(db: Session, version_id: int, actor: Actor) -> str:
    """Take a version out of service whose files are lost for good; what was done, in a sentence.

    The next training is not compared with it. Its files, should they come back, go.

    Raises:
        VersionNotFound: there is no such version.
        NotAccepted: it does not serve.
    """
    take_turn(db)
    version, serving = model_versions.get(db, version_id), model_versions.serving(db)
    if version.state != "serving":
        raise NotAccepted(f"Version {version_id} of {version.kind} is not in service.")
    others = [each for each in serving.values() if each.id != version_id]
    reason = f"Version {version_id} of {version.kind} was taken out of service by {actor.name}."
    serve(db, [each.id for each in others], what="rolled back", made_by=actor.name, reason=reason)
    share(db, {each.id: Share(each.chance_share, each.time_share) for each in others})
    model_versions.mark_gone(db, [version.folder])
    model_versions.explain(db, version_id, reason)
    training_runs.leave_behind(db, [version.folder])
    audit.record(db, actor, "retired", f"version {version_id}", said=reason)
    return reason


def _choose(
    db: Session, lineup: Sequence[int], what: str, actor: Actor, reason: str, back_to: int | None = None
) -> None:
    """What a person chose answers, and has all the say."""
    first = lineup[0]
    serve(db, lineup, what=what, made_by=actor.name, reason=reason, by_hand=first, back_to=back_to)
    share(db, {first: ALL})
    model_versions.explain(db, first, reason)
    audit.record(db, actor, what, f"version {first}", said=reason)


def _before(db: Session, answering: Version) -> Change | None:
    """The change to go back to: the last one in which another version answered that is kept.

    After a roll-back that is counted from the change it went back to, so that the next one goes further.
    """
    return first_as(Change, db, BEFORE, id=answering.id)


def _not_spoilt(db: Session) -> str:
    """What to add where versions are kept that must not come back."""
    spoilt = execute(db, SPOILT).one()
    since = ["a student was erased"] * spoilt.erased + ["results that it learnt were corrected"] * spoilt.corrected
    return f" that was trained since {' or '.join(since)}" if since else ""


def _must_be_kept(version: Version) -> None:
    if version.kind not in KINDS:
        raise NotKept(f"Version {version.id} is of the kind {version.kind}, which this release does not have.")
    if version.pruned_at is not None:
        raise NotKept(f"The files of version {version.id} are gone since {version.pruned_at:%Y-%m-%d %H:%M} UTC.")
    if version.scores.get("usable") is False:
        raise NotKept(f"Version {version.id} can't serve: {version.reason}")
    if version.knows_erased:
        raise NotKept(
            f"Version {version.id} may know a student who was erased since it was trained; it can't be chosen any more."
        )
    if version.knows_corrected:
        results = "one result that was" if version.corrected == 1 else f"{version.corrected} results that were"
        raise NotKept(
            f"Version {version.id} learnt from {results} corrected since it was trained; it can't be chosen any more."
        )


def latest(db: Session, limit: int = 10) -> list[Change]:
    """Newest first."""
    return all_as(Change, db, f"{SELECT} ORDER BY id DESC LIMIT :limit", limit=limit)


def forget_name(db: Session, email: str) -> None:
    """An admin was erased: what they chose stays, their address does not."""
    names = {"email": email, "former": FORMER}
    for table in ("serving_changes", "model_versions"):
        execute(db, FORGET_NAME.format(table=table), former=FORMER, ending=f" by {email}.")
    execute(db, "UPDATE serving_changes SET made_by = :former WHERE made_by = :email", **names)
    execute(db, "UPDATE training_control SET paused_by = :former WHERE paused_by = :email", **names)
