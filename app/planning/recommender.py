"""The next tasks for a student, by either door to the database; `suggesting` decides, `outlook` knows."""

from uuid import UUID

from sqlalchemy.orm import Session

from app.core.db.statements import Database
from app.domain.planning import Recommendations, Wishes
from app.domain.reasons import Reason, ReasonKind
from app.ml.serving.model_order import ServingModels
from app.planning.suggestions import Moment, suggestions
from app.planning.topic_states import Outlook, for_wishes, outlook, outlook_now


async def recommend(
    serving: ServingModels, database: Database, student: UUID, wishes: Wishes, n: int
) -> Recommendations:
    """At most n tasks, best first: for the topics wished for, else for the next exam's and then all that is practised.

    Who has finished nothing, or practises few topics, gets others too that several have practised lately.
    """
    return _recommended(await outlook(serving, database, for_wishes(student, wishes.topics)), wishes, n)


def recommend_now(serving: ServingModels, db: Session, student: UUID, wishes: Wishes, n: int) -> Recommendations:
    """The same through the session."""
    return _recommended(outlook_now(serving, db, for_wishes(student, wishes.topics)), wishes, n)


def _recommended(found: Outlook, wishes: Wishes, n: int) -> Recommendations:
    moment = Moment(found.now, wishes.target, found.exam, found.last)
    return Recommendations(wishes.target, suggestions(found.topics, moment, n), found.exam, _remark(found))


def _remark(found: Outlook) -> Reason | None:
    if not found.topics:
        return Reason(ReasonKind.NOTHING_PRACTISED)
    if found.last is None and any(topic.others for topic in found.topics):
        return Reason(ReasonKind.NEWCOMER)
    return None
