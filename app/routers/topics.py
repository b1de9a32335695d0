"""Topics, for admins: listed, renamed, merged, approved and hidden."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from app.crud import topics
from app.domain.fields import StoredText
from app.routers.dependencies import Acting, Admin, AdminOrKey, Db
from app.schemas.problem import problems
from app.schemas.topics import Merge, Rename, TopicChanged, TopicNamed, TopicOut, TopicPage

router = APIRouter(prefix="/topics", tags=["Topics"])
CHANGES = problems(400, 401, 403, 404, 413, 422)
MOST = 2**31 - 1


@router.get("", responses=problems(401, 403, 422))
def list_topics(
    _admin: Admin,
    db: Db,
    search: Annotated[StoredText | None, Query(description="What the name holds, in any case.")] = None,
    state: Annotated[Literal["approved", "hidden", "none", "any"], Query(description="What was decided.")] = "any",
    offset: Annotated[int, Query(ge=0, le=MOST, description="The `next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> TopicPage:
    """Every topic that somebody has written, most students first, with what was decided of it. For admins."""
    found = topics.listed(db, search=search or "", state=state, limit=limit + 1, offset=offset)
    items = [TopicOut.model_validate(topic) for topic in found[:limit]]
    return TopicPage(items=items, next=offset + limit if len(found) > limit else None)


@router.post("/rename", responses=problems(400, 401, 403, 404, 409, 413, 422))
def rename_topic(_admin: Admin, actor: Acting, db: Db, wish: Rename) -> TopicChanged:
    """Call a topic something else, in everybody's tasks and exam plans; 409 where that name is taken. For admins.

    The next training learns it from scratch. Who goes on to write the old name begins it anew.
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
