"""Why something is suggested or planned."""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple


def _(sentence: str) -> str:
    """Marks a sentence for the catalogues; it is translated when it is said."""
    return sentence


class ReasonKind(Enum):
    """The reasons there are, each with its English sentence, which names the values that it needs."""

    # of a suggestion
    AIMS_AT_TARGET = _("The chance to get it right is %(chance)s, near the %(target)s aimed at.")
    STRETCH = _("The chance to get it right is %(chance)s, below the %(target)s aimed at; no difficulty comes nearer.")
    ABOVE_TARGET = _(
        "The chance to get it right is %(chance)s, above the %(target)s aimed at; no difficulty comes nearer."
    )
    EASIER_FOR_NOW = _(
        "Easier than usual for now, until it goes right again: the chance to get it right is %(chance)s."
    )
    NO_MODEL_YET = _("No model has learned anything yet, so nothing is known of the chance and it starts easy.")
    WENT_WRONG_LATELY = _("%(wrong)s of the last %(tasks)s on this topic went wrong.")
    WEAK_FOR_EXAM = _("The exam %(exam)s needs it: the chance to get a medium task right is %(chance)s.")
    FOR_EXAM = _("It belongs to the exam %(exam)s and goes well: the chance to get a medium task right is %(chance)s.")
    BELONGS_TO_EXAM = _("It belongs to the exam %(exam)s.")
    NOT_PRACTISED_FOR_DAYS = _("It was last practised %(days)s ago, so half of it or more may be forgotten.")
    ANOTHER_DIFFICULTY = _(
        "More practice of %(topic)s, at another difficulty: the chance to get it right is %(chance)s."
    )
    SPREADS_OVER_TOPICS = _("A change after %(topic)s: mixed practice is remembered better.")
    OTHERS_PRACTISE = _("%(students)s other students have practised it lately.")
    NEW_TOPIC = _("It has not been practised yet.")
    # of a list of suggestions
    NOTHING_PRACTISED = _(
        "There is nothing to go by yet: do a task on any topic, or plan an exam, and suggestions follow."
    )
    NEWCOMER = _("Nothing has been practised yet, so these are topics that several others have practised lately.")
    # of a day's part of a plan
    REVIEW_BEFORE_EXAM = _("Once more before the exam, which is %(days)s away.")
    HARDER_BY_NOW = _("Harder than before, for the chance has risen to %(chance)s.")
    TAKES_LONGER = _("One task takes about %(minutes)s minutes, longer than the %(minutes_per_day)s a day: begin it.")
    # of a plan
    PLAN = _(
        "%(days)s to practise until %(exam)s, %(topics)s: followed, the plan is expected to raise the chance to get"
        " a medium task right from %(chance_now)s to %(chance_at_exam)s."
    )
    PLAN_WITHOUT_MODEL = _(
        "%(days)s to practise until %(exam)s, %(topics)s. No model has learned anything yet, so what it brings can't"
        " be said."
    )
    PLAN_TOO_EARLY = _(
        "%(days)s to practise until %(exam)s, %(topics)s. What the plan brings is known after %(least)s finished tasks"
        " on each topic; %(tasks)s to go."
    )
    EXAM_TODAY = _("The exam is today, %(exam)s: there is nothing left to plan. Good luck.")
    EXAM_OVER = _("The exam was on %(exam)s; there is nothing left to plan.")


class Reason(NamedTuple):
    """Why something is suggested, and what its sentence needs.

    Chances and shares are 0-1; `days`, `tasks`, `minutes` are numbers; `topic` and `exam` are names as they were typed,
    `exam` the date where it has no name.
    """

    kind: ReasonKind
    values: Mapping[str, str | int | float] = {}

    @property
    def code(self) -> str:
        """What the API calls it."""
        return self.kind.name.lower()


class SentenceEnum(Enum):
    """Reasons that are told in English only, each with its sentence, which names the values that it needs."""

    def said(self, **values: object) -> "Said":
        """The reason with these values."""
        return Said(self, str(self.value).format(**values))


class Said(NamedTuple):
    """A reason and its sentence: what decides asks for the `kind`, what is stored and shown is the `text`."""

    kind: SentenceEnum
    text: str
