"""For admins: the topics that students have written, renamed, merged, approved and hidden by forms."""

from fastapi import Request
from fastapi.responses import Response
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from app.crud import topics
from app.domain.errors import NotAccepted, TopicNotFound, TopicTaken
from app.domain.fields import StoredText, Text200
from app.routers.dependencies import Db, ReadDb
from app.web.admin import position
from app.web.names import unfit_text
from app.web.pages import go_to, render
from app.web.sessions import Acting, Admin, FormText, page_router, translator_of

PAGE = "/admin/topics"
router = page_router(PAGE)
TOPICS_PER_PAGE = 100
WRITTEN: TypeAdapter[str] = TypeAdapter(StoredText)
NEW: TypeAdapter[str] = TypeAdapter(Text200)
DECISIONS = {"approve": topics.approve, "hide": topics.hide, "show": topics.show}


@router.get("")
def listed(request: Request, _admin: Admin, db: ReadDb, search: str = "", after: str = "", done: str = "") -> Response:
    """Show the topics, those with most students first."""
    translator = translator_of(request)
    messages = {  # of what a form came to; the address bar holds its code only
        "rename": translator("The topic is renamed, in all tasks and exam plans."),
        "merge": translator("The topics are one now; the next training learns it from scratch."),
        "approve": translator("The topic is approved."),
        "hide": translator("The topic is hidden."),
        "show": translator("The decision on the topic is withdrawn."),
    }
    return _page(request, db, search=search, start=position(after) or 0, done=messages.get(done))


def _page(
    request: Request,
    db: Session,
    status: int = 200,
    search: str = "",
    start: int = 0,
    done: str | None = None,
    wrong: str | None = None,
    given: tuple[str, str] = ("", ""),
) -> Response:
    sought = search.replace("\x00", "")[:200]
    found = topics.listed(db, search=sought, limit=TOPICS_PER_PAGE + 1, offset=start)
    return render(
        request,
        "admin_topics.html",
        status,
        entries=found[:TOPICS_PER_PAGE],
        following=start + TOPICS_PER_PAGE if len(found) > TOPICS_PER_PAGE else None,
        search=sought,
        done=done,
        wrong=wrong,
        given=given,
    )


@router.post("/rename")
def rename(request: Request, _admin: Admin, actor: Acting, db: Db, topic: FormText = "", to: FormText = "") -> Response:
    return _moved(request, db, "rename", topic, to, actor)


@router.post("/merge")
def merge(request: Request, _admin: Admin, actor: Acting, db: Db, topic: FormText = "", to: FormText = "") -> Response:
    return _moved(request, db, "merge", topic, to, actor)


def _moved(request: Request, db: Session, how: str, topic: str, to: str, actor: Acting) -> Response:
    translator = translator_of(request)
    try:
        if how == "rename":
            topics.rename(db, WRITTEN.validate_python(topic), NEW.validate_python(to), actor)
        else:
            topics.merge(db, WRITTEN.validate_python(topic), WRITTEN.validate_python(to), actor)
    except ValidationError as error:
        usual = translator("Please name a topic, and its new name or the other topic, of 1 to 200 characters each.")
        return _page(request, db, 422, wrong=unfit_text(translator, error, usual), given=(topic, to))
    except (TopicNotFound, TopicTaken, NotAccepted) as error:
        said = {
            TopicNotFound: translator("One of these topics does not exist."),
            TopicTaken: translator("There is a topic of that name: merge the two instead."),
            NotAccepted: translator("These are the same."),
        }
        return _page(request, db, error.status, wrong=said[type(error)], given=(topic, to))
    return go_to(request, PAGE, done=how)


@router.post("/approve")
def approve(request: Request, _admin: Admin, actor: Acting, db: Db, topic: FormText = "") -> Response:
    return _decided(request, db, "approve", topic, actor)


@router.post("/hide")
def hide(request: Request, _admin: Admin, actor: Acting, db: Db, topic: FormText = "") -> Response:
    return _decided(request, db, "hide", topic, actor)


@router.post("/show")
def show(request: Request, _admin: Admin, actor: Acting, db: Db, topic: FormText = "") -> Response:
    return _decided(request, db, "show", topic, actor)


def _decided(request: Request, db: Session, how: str, topic: str, actor: Acting) -> Response:
    try:
        DECISIONS[how](db, WRITTEN.validate_python(topic), actor)
    except ValidationError:
        raise TopicNotFound from None
    return go_to(request, PAGE, done=how)
