"""The next tasks for a student, best first, and why each of them.

Of each topic the difficulty whose predicted chance is nearest to the success rate aimed at: learning is quickest where
some, but few, go wrong (Wilson, Shenhav, Straccia & Cohen 2019, Nature Communications 10:4646, derive about 85 % right
for a wide class of learners). Topics in the order of their need (`choosing.need`), an exam's before all others, each
once before any comes twice: mixed practice is remembered better than blocked (Rohrer & Taylor 2007, Instructional
Science 35, 481-498).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice

from app.domain.attempts import DIFFICULTIES
from app.domain.planning import TASKS_TELLING, Done, Exam, Suggestion, TopicState
from app.domain.reasons import Reason, ReasonKind
from app.ml.prior import PRIOR
from app.planning import difficulty as choosing
from app.planning import spacing

SESSION = timedelta(minutes=30)  # what was done so lately is not suggested again at once
NEAR = 0.10  # of the target: near enough to say that it aims at it
ACCEPTABLE, FURTHER = 0.25, 0.15  # from the target, or from the nearest there is: what may be a topic's second choice


@dataclass(frozen=True, slots=True)
class Last:
    """The task finished last, whatever its topic."""

    topic: str
    done: Done


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
    """At most n tasks, best first; the same for the same arguments. What only others practise fills up the list."""
    own = _in_turns(in_order([topic for topic in topics if not topic.others], moment), moment)
    of_others = _in_turns(in_order([topic for topic in topics if topic.others], moment), moment)
    return tuple(islice(chain(own, of_others), n))


def _in_turns(ordered: Sequence[TopicState], moment: Moment) -> Iterator[Suggestion]:
    """Every topic once before any comes twice."""
    choices = [choices_of(topic, moment) for topic in ordered]
    for place in range(len(DIFFICULTIES)):
        for topic, difficulties in zip(ordered, choices, strict=True):
            if place < len(difficulties):
                yield _suggestion(topic, difficulties[place], moment, first=place == 0)


def in_order(topics: Sequence[TopicState], moment: Moment) -> list[TopicState]:
    """The exam's topics first, each group by need; not the same topic twice in a row where there is another."""
    found: list[TopicState] = []
    for of_exam in (True, False):
        group = [topic for topic in topics if moment.is_for_exam(topic) is of_exam]
        group.sort(key=lambda topic: (-choosing.need_of(topic, moment.now), -topic.others, topic.topic))
        if moment.just_done and len(group) > 1 and group[0].topic == moment.just_done.topic:
            group[0], group[1] = group[1], group[0]
        found += group
    return found


def choices_of(topic: TopicState, moment: Moment) -> list[str]:
    """The difficulties that may be suggested, best first; the one just done only where there is no other."""
    best = choosing.aimed(topic, moment.target, moment.now)
    chances = zip(DIFFICULTIES, choosing.probabilities(topic), strict=True)
    off = {difficulty: abs(chance - moment.target) for difficulty, chance in chances}
    most = max(ACCEPTABLE, off[best] + FURTHER)
    hardest = choosing.hardest_allowed(topic, moment.now)
    place = DIFFICULTIES.index(best)
    beside = [each for each in DIFFICULTIES[max(place - 1, 0) : min(place + 1, hardest) + 1] if each != best]
    others = [each for each in beside if off[each] <= most]
    choices = [best, *sorted(others, key=lambda each: (off[each], DIFFICULTIES.index(each)))]
    just = moment.just_done
    if just and just.topic == topic.topic and len(choices) > 1:
        choices = [each for each in choices if each != just.done.difficulty]
    return choices


def _suggestion(topic: TopicState, difficulty: str, moment: Moment, *, first: bool) -> Suggestion:
    reasons = _why_topic(topic, moment)
    if first:
        reasons += _why_difficulty(topic, difficulty, moment)
    else:
        chance = topic.chances[difficulty].correctness_prob
        reasons.insert(0, Reason(ReasonKind.ANOTHER_DIFFICULTY, {"topic": topic.topic, "chance": chance}))
    just = moment.just_done
    if first and just and just.topic != topic.topic:
        reasons.append(Reason(ReasonKind.SPREADS_OVER_TOPICS, {"topic": just.topic}))
    return Suggestion(topic.topic, difficulty, topic.chances[difficulty], tuple(reasons))


def _why_topic(topic: TopicState, moment: Moment) -> list[Reason]:
    found: list[Reason] = []
    if wrong := choosing.wrong_lately(topic, moment.now):
        found.append(Reason(ReasonKind.WENT_WRONG_LATELY, {"wrong": wrong[0], "tasks": wrong[1]}))
    if moment.exam and moment.is_for_exam(topic):
        now = topic.chances[choosing.MEDIUM].correctness_prob
        found.append(Reason(_exam_reason(topic, moment), {"exam": moment.exam.called(), "chance": now}))
    if topic.n == 0:
        found.append(Reason(ReasonKind.NEW_TOPIC))
    if topic.others:
        found.append(Reason(ReasonKind.OTHERS_PRACTISE, {"students": topic.others}))
    return found + not_practised(topic, moment.now)


def _exam_reason(topic: TopicState, moment: Moment) -> ReasonKind:
    medium = topic.chances[choosing.MEDIUM]
    if medium.model_version == PRIOR.model_version:
        return ReasonKind.BELONGS_TO_EXAM
    if medium.correctness_prob < moment.target:
        return ReasonKind.WEAK_FOR_EXAM
    untold = topic.n < TASKS_TELLING or choosing.wrong_lately(topic, moment.now)
    return ReasonKind.BELONGS_TO_EXAM if untold else ReasonKind.FOR_EXAM


def not_practised(topic: TopicState, now: datetime) -> list[Reason]:
    """Where more than half of it is likely forgotten."""
    days = spacing.days_since(topic.recent, now)
    if days is None or days < 1 or spacing.due(days, spacing.strength(topic.recent)) < 0.5:
        return []
    return [Reason(ReasonKind.NOT_PRACTISED_FOR_DAYS, {"days": int(days)})]


def _why_difficulty(topic: TopicState, difficulty: str, moment: Moment) -> list[Reason]:
    said = topic.chances[difficulty]
    values = {"chance": said.correctness_prob, "target": moment.target}
    if said.model_version == PRIOR.model_version:
        return [Reason(ReasonKind.NO_MODEL_YET, values)]
    wished = choosing.nearest(choosing.probabilities(topic), moment.target)
    if DIFFICULTIES.index(difficulty) < wished and choosing.wrong_lately(topic, moment.now):
        return [Reason(ReasonKind.EASIER_FOR_NOW, values)]
    if abs(values["chance"] - moment.target) <= NEAR:
        return [Reason(ReasonKind.AIMS_AT_TARGET, values)]
    return [Reason(ReasonKind.STRETCH if values["chance"] < moment.target else ReasonKind.ABOVE_TARGET, values)]
