"""Suggestions and plans in English: one sentence for each code, made from its values. Pages have the same in others.

The codes and what they come with:

| codes | values |
|---|---|
| aims_at_target, stretch, above_target, easier_for_now, no_model_yet | chance, target |
| went_wrong_lately | wrong, tasks |
| weak_for_exam, for_exam, belongs_to_exam | exam, chance |
| not_practised_for_days | days |
| another_difficulty | topic, chance |
| spreads_over_topics | topic |
| others_practise | students |
| review_before_exam | days (to the exam) |
| harder_by_now | chance |
| takes_longer | minutes (a task), minutes_per_day |
| new_topic, nothing_practised, newcomer | none |
| plan | exam (a date), days, topics, chance_now, chance_at_exam |
| plan_without_model | exam, days, topics |
| plan_too_early | exam, days, topics, tasks (to go), least (on each topic) |
| exam_today, exam_over | exam |
"""

from collections.abc import Mapping

from app.domain.planning import Reason
from app.ml.explanation.text import percent

SENTENCES: Mapping[str, str] = {
    "aims_at_target": "The chance to get it right is {chance}, near the {target} aimed at.",
    "stretch": "The chance to get it right is {chance}, below the {target} aimed at; no difficulty comes nearer.",
    "above_target": "The chance to get it right is {chance}, above the {target} aimed at; no difficulty comes nearer.",
    "easier_for_now": "Easier than usual for now, until it goes right again: the chance to get it right is {chance}.",
    "no_model_yet": "No model has learnt anything yet, so nothing is known of the chance and it starts easy.",
    "went_wrong_lately": "{wrong} of the last {tasks} on this topic went wrong.",
    "weak_for_exam": "The exam {exam} needs it: the chance to get a medium task right is {chance}.",
    "for_exam": "It belongs to the exam {exam} and goes well: the chance to get a medium task right is {chance}.",
    "belongs_to_exam": "It belongs to the exam {exam}.",
    "not_practised_for_days": "It was last practised {days} ago, so half of it or more may be forgotten.",
    "another_difficulty": "More practice of {topic}, at another difficulty: the chance to get it right is {chance}.",
    "spreads_over_topics": "A change after {topic}: mixed practice is remembered better.",
    "others_practise": "{students} other students have practised it lately.",
    "review_before_exam": "Once more before the exam, which is {days} away.",
    "harder_by_now": "Harder than before, for the chance has risen to {chance}.",
    "takes_longer": "One task takes about {minutes} minutes, longer than the {minutes_per_day} a day: begin it.",
    "new_topic": "It has not been practised yet.",
    "nothing_practised": (
        "There is nothing to go by yet: do a task on any topic, or plan an exam, and suggestions follow."
    ),
    "newcomer": "Nothing has been practised yet, so these are topics that several others have practised lately.",
    "plan": (
        "{days} to practise until {exam}, {topics}: followed, the plan is expected to raise the chance to get a medium "
        "task right from {chance_now} to {chance_at_exam}."
    ),
    "plan_without_model": (
        "{days} to practise until {exam}, {topics}. No model has learnt anything yet, so what it brings can't be said."
    ),
    "plan_too_early": (
        "{days} to practise until {exam}, {topics}. What the plan brings can be said from {least} finished tasks on "
        "each topic; still missing: {tasks}."
    ),
    "exam_today": "The exam is today, {exam}: there is nothing left to plan. Good luck.",
    "exam_over": "The exam was on {exam}; there is nothing left to plan.",
}
SHARES = ("chance", "target", "chance_now", "chance_at_exam")
COUNTED = {"days": ("day", "days"), "topics": ("topic", "topics")}


def sentence(reason: Reason) -> str:
    """The reason in words."""
    return SENTENCES[reason.code].format(**{name: _said(name, value) for name, value in reason.values.items()})


def sentences(reasons: tuple[Reason, ...]) -> str:
    return " ".join(map(sentence, reasons))


def _said(name: str, value: str | int | float) -> str:
    if isinstance(value, str):
        return value
    if name in SHARES:
        return percent(value)
    if name in COUNTED:
        return f"{value} {COUNTED[name][value != 1]}"
    return f"{value:g}"
