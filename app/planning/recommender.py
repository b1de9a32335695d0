"""The next tasks for a student, best first, and why each of them.

Of each topic the difficulty whose predicted chance is nearest to the success rate aimed at: learning is quickest where
some, but few, go wrong (Wilson, Shenhav, Straccia & Cohen 2019, Nature Communications 10:4646, derive about 85 % right
for a wide class of learners). Topics in the order of their need (`difficulty.need`), an exam's before all others, each
once before any comes twice: mixed practice is remembered better than blocked (Rohrer & Taylor 2007, Instructional
Science 35, 481-498).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.db.statements import Database
from app.domain.attempts import DIFFICULTIES
from app.domain.planning import TASKS_TELLING, Exam, Recommendations, Suggestion, TopicState, Wishes
from app.domain.reasons import Reason, ReasonKind
from app.ml.prior import PRIOR
from app.ml.serving.model_order import ServingModels
from app.planning import difficulty
from app.planning.reasons import not_practised, went_wrong
from app.planning.topic_states import Last, TopicStates, topic_states, topic_states_now

SESSION = timedelta(minutes=30)  # what was done so lately is not suggested again at once
NEAR = 0.10  # of the target: near enough to say that it aims at it
ACCEPTABLE, FURTHER = 0.25, 0.15  # from the target, or from the nearest there is: what may be a topic's second choice


async def recommend(
    serving: ServingModels, database: Database, student: UUID, wishes: Wishes, n: int, school: UUID | None = None
) -> Recommendations:
    """Suggest at most n tasks, best first: for the topics wished for, else the next exam's and all that is practised.

    Who has finished nothing, or practises few topics, gets others too that several have practised lately; those of
    `school` among them, where its key asks, which sees its own students only.
    """
    return _recommended(await topic_states(serving, database, student, wishes.topics, school), wishes, n)


def recommend_now(serving: ServingModels, db: Session, student: UUID, wishes: Wishes, n: int) -> Recommendations:
    """Suggest the same through the session."""
    return _recommended(topic_states_now(serving, db, student, wishes.topics), wishes, n)


def _recommended(found: TopicStates, wishes: Wishes, n: int) -> Recommendations:
    moment = Moment(found.now, wishes.target, found.exam, found.last)
    remark = None
    if not found.topics:
        remark = Reason(ReasonKind.NOTHING_PRACTISED)
    elif found.last is None and any(topic.others for topic in found.topics):
        remark = Reason(ReasonKind.NEWCOMER)
    return Recommendations(wishes.target, suggestions(found.topics, moment, n), found.exam, remark)


@dataclass(frozen=True, slots=True)
class Moment:
    """When suggestions are made, for what, and after what."""

    now: datetime  # UTC
    target: float
    exam: Exam | None = None
    last: Last | None = None

    @property
    def just_done(self) -> Last | None:
        """The task finished last, if that was in this sitting."""
        return self.last if self.last and self.now - self.last.done.at <= SESSION else None

    def is_for_exam(self, topic: TopicState) -> bool:
        return self.exam is not None and topic.topic in self.exam.topics


def suggestions(topics: Sequence[TopicState], moment: Moment, n: int) -> tuple[Suggestion, ...]:
    """Return at most n tasks, best first; the same for the same arguments. Others' topics fill up the list."""
    own = _in_turns(in_order([topic for topic in topics if not topic.others], moment), moment)
    of_others = _in_turns(in_order([topic for topic in topics if topic.others], moment), moment)
    return tuple(islice(chain(own, of_others), n))


def _in_turns(ordered: Sequence[TopicState], moment: Moment) -> Iterator[Suggestion]:
    """Suggest every topic once before any comes twice."""
    choices = [choices_of(topic, moment) for topic in ordered]
    for place in range(len(DIFFICULTIES)):
        for topic, levels in zip(ordered, choices, strict=True):
            if place < len(levels):
                yield _suggestion(topic, levels[place], moment, first=place == 0)


def in_order(topics: Sequence[TopicState], moment: Moment) -> list[TopicState]:
    """Sort the exam's topics first, each group by need; not the same topic twice in a row where there is another."""
    found: list[TopicState] = []
    for of_exam in (True, False):
        group = [topic for topic in topics if moment.is_for_exam(topic) is of_exam]
        group.sort(key=lambda topic: (-difficulty.need_of(topic, moment.now), -topic.others, topic.topic))
        if moment.just_done and len(group) > 1 and group[0].topic == moment.just_done.topic:
            group[0], group[1] = group[1], group[0]
        found += group
    return found


def choices_of(topic: TopicState, moment: Moment) -> list[str]:
    """Return the difficulties that may be suggested, best first; the one just done only where there is no other."""
    best = difficulty.aimed(topic, moment.target, moment.now)
    chances = zip(DIFFICULTIES, difficulty.probabilities(topic), strict=True)
    off = {level: abs(chance - moment.target) for level, chance in chances}
    most = max(ACCEPTABLE, off[best] + FURTHER)
    hardest = difficulty.hardest_allowed(topic, moment.now)
    place = DIFFICULTIES.index(best)
    beside = [each for each in DIFFICULTIES[max(place - 1, 0) : min(place + 1, hardest) + 1] if each != best]
    others = [each for each in beside if off[each] <= most]
    choices = [best, *sorted(others, key=lambda each: (off[each], DIFFICULTIES.index(each)))]
    just = moment.just_done
    if just and just.topic == topic.topic and len(choices) > 1:
        choices = [each for each in choices if each != just.done.difficulty]
    return choices


def _suggestion(topic: TopicState, level: str, moment: Moment, *, first: bool) -> Suggestion:
    reasons = _why_topic(topic, moment)
    if first:
        reasons += _why_difficulty(topic, level, moment)
    else:
        chance = topic.chances[level].correctness_prob
        reasons.insert(0, Reason(ReasonKind.ANOTHER_DIFFICULTY, {"topic": topic.topic, "chance": chance}))
    just = moment.just_done
    if first and just and just.topic != topic.topic:
        reasons.append(Reason(ReasonKind.SPREADS_OVER_TOPICS, {"topic": just.topic}))
    return Suggestion(topic.topic, level, topic.chances[level], tuple(reasons))


def _why_topic(topic: TopicState, moment: Moment) -> list[Reason]:
    found = went_wrong(topic, moment.now)
    if moment.exam and moment.is_for_exam(topic):
        now = topic.chances[difficulty.MEDIUM].correctness_prob
        found.append(Reason(_exam_reason(topic, moment), {"exam": moment.exam.called(), "chance": now}))
    if topic.n == 0:
        found.append(Reason(ReasonKind.NEW_TOPIC))
    if topic.others:
        found.append(Reason(ReasonKind.OTHERS_PRACTISE, {"students": topic.others}))
    return found + not_practised(topic, moment.now)


def _exam_reason(topic: TopicState, moment: Moment) -> ReasonKind:
    medium = topic.chances[difficulty.MEDIUM]
    if medium.model_version == PRIOR.model_version:
        return ReasonKind.BELONGS_TO_EXAM
    if medium.correctness_prob < moment.target:
        return ReasonKind.WEAK_FOR_EXAM
    untold = topic.n < TASKS_TELLING or difficulty.wrong_lately(topic, moment.now)
    return ReasonKind.BELONGS_TO_EXAM if untold else ReasonKind.FOR_EXAM


def _why_difficulty(topic: TopicState, level: str, moment: Moment) -> list[Reason]:
    said = topic.chances[level]
    values = {"chance": said.correctness_prob, "target": moment.target}
    if said.model_version == PRIOR.model_version:
        return [Reason(ReasonKind.NO_MODEL_YET, values)]
    wished = difficulty.nearest(difficulty.probabilities(topic), moment.target)
    if DIFFICULTIES.index(level) < wished and difficulty.wrong_lately(topic, moment.now):
        return [Reason(ReasonKind.EASIER_FOR_NOW, values)]
    if abs(values["chance"] - moment.target) <= NEAR:
        return [Reason(ReasonKind.AIMS_AT_TARGET, values)]
    return [Reason(ReasonKind.STRETCH if values["chance"] < moment.target else ReasonKind.ABOVE_TARGET, values)]
