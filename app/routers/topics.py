"""Topics: those that a student may pick; for admins all, renamed, merged, approved and hidden."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from app.core.db.statements import run_sync
from app.crud import learning_record, topic_history, topics
from app.domain.characters import folded
from app.domain.fields import StoredText
from app.routers.dependencies import AboutStudent, Acting, Admin, AdminOrKey, Db, OnceForCaller, SignedIn
from app.schemas.problem import problems
from app.schemas.topics import Merge, Rename, TopicChanged, TopicNamed, TopicOut, TopicPage

router = APIRouter(prefix="/topics", tags=["Topics"], route_class=OnceForCaller)
CHANGES = problems(400, 401, 403, 404, 413, 422)
MOST = 2**31 - 1


@router.get("", responses=problems(401, 403, 404, 422))
def list_topics(
    student: AboutStudent,
    caller: SignedIn,
    db: Db,
    search: Annotated[StoredText | None, Query(description="What the name holds, in any case.")] = None,
    mine: Annotated[bool, Query(description="For admins: what they may pick themselves, as students see it.")] = False,
    state: Annotated[
        Literal["approved", "hidden", "none", "any"], Query(description="For admins: what was decided.")
    ] = "any",
    offset: Annotated[int, Query(ge=0, le=MOST, description="The `next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> TopicPage:
    """The topics that a student may pick: their own, the most practised first, then those that may be suggested.

    Any other text is a topic too, as soon as a task of it is created. Admins see every topic that somebody has written,
    those with most students first, with what was decided of it.
    """
    if caller.is_admin and not mine:
        found = topics.listed(db, search=search or "", state=state, limit=limit + 1, offset=offset)
        items = [TopicOut.model_validate(topic) for topic in found]
    else:
        own = to_pick(db, student, search or "", caller.school)
        items = [TopicOut(name=name, own_tasks=n) for name, n in own[offset : offset + limit + 1]]
    return TopicPage(items=items[:limit], next=offset + limit if len(items) > limit else None)


def to_pick(db: Session, student: UUID, search: str, school: UUID | None = None) -> list[tuple[str, int]]:
    """Return topics whose names hold this, with how many tasks of each the student has finished."""
    own = {total.key: total.n for total in learning_record.totals(db, student)}
    others = [*run_sync(topic_history.popular_topics(student, school), db), *topics.approved(db)]
    both = own | {name: 0 for name in others if name not in own}
    return [(name, n) for name, n in both.items() if folded(search) in folded(name)]


@router.post("/rename", responses=problems(400, 401, 403, 404, 409, 413, 422))
def rename_topic(_admin: Admin, actor: Acting, db: Db, wish: Rename) -> TopicChanged:
    """Call a topic something else, in everybody's tasks and exam plans; 409 where that name is taken. For admins.

    The next training learns it from scratch. Who goes on to write the old name is led to the new one.
    """
    return TopicChanged.model_validate(topics.rename(db, wish.topic, wish.to, actor))


@router.post("/merge", responses=CHANGES)
def merge_topic(_admin: Admin, actor: Acting, db: Db, wish: Merge) -> TopicChanged:
    """Make a topic part of another one: tasks, totals and exam plans, in one transaction. For admins.

    It can't be undone. The next training learns the merged one from scratch.
    """
    return TopicChanged.model_validate(topics.merge(db, wish.topic, wish.into, actor))


@router.post("/approve", responses=CHANGES)
def approve_topic(_caller: AdminOrKey, actor: Acting, db: Db, wish: TopicNamed) -> TopicChanged:
    """Let a topic be suggested to everybody, as soon as one student practises it. For admins and service keys."""
    return TopicChanged.model_validate(topics.approve(db, wish.topic, actor))


@router.post("/hide", responses=CHANGES)
def hide_topic(_admin: Admin, actor: Acting, db: Db, wish: TopicNamed) -> TopicChanged:
    """Let a topic be suggested to nobody who does not practise it. For admins."""
    return TopicChanged.model_validate(topics.hide(db, wish.topic, actor))


@router.post("/show", responses=CHANGES)
def show_topic(_admin: Admin, actor: Acting, db: Db, wish: TopicNamed) -> TopicChanged:
    """Forget what was decided: the topic is suggested if enough established students practise it. For admins."""
    return TopicChanged.model_validate(topics.show(db, wish.topic, actor))
