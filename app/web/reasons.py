"""Why something is suggested or planned, in the visitor's language; app/planning/text.py has the codes."""

from datetime import date

from app.domain.planning import Reason
from app.planning.text import COUNTED, SHARES
from app.web.languages import Words


def reason(words: Words, why: Reason) -> str:
    """A reason as a sentence."""
    values = {name: _said(words, name, value) for name, value in why.values.items()}
    return words(SENTENCES[why.code], **values)


def _said(words: Words, name: str, value: str | float) -> str:
    if name == "exam" and isinstance(value, str):
        return _exam(words, value)
    if isinstance(value, str):
        return value
    if name in SHARES:
        return words.percent(value)
    if name in COUNTED:
        return counted(words, name, int(value))
    return words.number(value, 1)


def _exam(words: Words, name: str) -> str:
    """An exam without a name goes by its date."""
    try:
        return words.day(date.fromisoformat(name))
    except ValueError:
        return name


def counted(words: Words, what: str, n: int) -> str:
    if what == "days":
        return words.many("%(num)s day", "%(num)s days", n)
    return words.many("%(num)s topic", "%(num)s topics", n)


def _(sentence: str) -> str:
    """Marks a sentence for the catalogues; it is translated when it is said."""
    return sentence


SENTENCES = {
    "aims_at_target": _("The chance to get it right is %(chance)s, near the %(target)s you aim at."),
    "stretch": _("The chance is %(chance)s, below the %(target)s you aim at; nothing comes nearer."),
    "above_target": _(
        "The chance to get it right is %(chance)s, above the %(target)s you aim at; nothing comes nearer."
    ),
    "easier_for_now": _("Easier than usual for now, until it goes right again: the chance is %(chance)s."),
    "no_model_yet": _("No model has learnt anything yet, so it starts easy."),
    "went_wrong_lately": _("%(wrong)s of your last %(tasks)s on this topic went wrong."),
    "weak_for_exam": _("The exam %(exam)s needs it: the chance to get a medium task right is %(chance)s."),
    "for_exam": _(
        "It belongs to the exam %(exam)s and goes well: the chance to get a medium task right is %(chance)s."
    ),
    "belongs_to_exam": _("It belongs to the exam %(exam)s."),
    "not_practised_for_days": _("You practised it last %(days)s ago, so half of it or more may be forgotten."),
    "another_difficulty": _("More practice of %(topic)s, at another difficulty: the chance is %(chance)s."),
    "spreads_over_topics": _("A change after %(topic)s: mixed practice is remembered better."),
    "others_practise": _("%(students)s other students have practised it lately."),
    "review_before_exam": _("Once more before the exam, which is %(days)s away."),
    "harder_by_now": _("Harder than before, for your chance has risen to %(chance)s."),
    "takes_longer": _("One task takes about %(minutes)s minutes, longer than the %(minutes_per_day)s a day: begin it."),
    "new_topic": _("You have not practised it yet."),
    "nothing_practised": _(
        "There is nothing to go by yet: do a task on any topic, or plan an exam, and suggestions follow."
    ),
    "newcomer": _(
        "You have not practised anything yet, so these are topics that several others have practised lately."
    ),
    "plan": _(
        "%(days)s to practise until %(exam)s, %(topics)s: if you follow the plan, the chance to get a medium task right"
        " is expected to rise from %(chance_now)s to %(chance_at_exam)s."
    ),
    "plan_without_model": _(
        "%(days)s to practise until %(exam)s, %(topics)s. No model has learnt anything yet, so what it brings can't be"
        " said."
    ),
    "plan_too_early": _(
        "%(days)s to practise until %(exam)s, %(topics)s. What the plan brings can be said from %(least)s finished"
        " tasks on each topic; still missing: %(tasks)s."
    ),
    "exam_today": _("The exam is today, %(exam)s: there is nothing left to plan. Good luck."),
    "exam_over": _("The exam was on %(exam)s; there is nothing left to plan."),
}
