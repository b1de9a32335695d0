"""A task of which LNIRT knows only some parts: the student, the topic, the difficulty, the exercise.

LNIRT's predictor is a sum, mean + topic + difficulty + (topic, difficulty) cell + exercise + student, so each part can
be left out: in its place stands what the population makes likely, with the variance among its members. A cell's part
needs both its topic and its difficulty. With app/ml/shapley.py the parts share what all of them together bring.
"""

from dataclasses import astuple, replace

import numpy as np

from app.domain.tasks import TaskRequest
from app.ml import shapley
from app.ml.answers import parts_of
from app.ml.lnirt.ability import Predictions, columns_of, newcomers, practised, predict
from app.ml.lnirt.data import Floats
from app.ml.lnirt.item_bank import LEAST_SLOPE, ItemBank
from app.ml.lnirt.posterior import ItemParameters

UNSEEN = object()  # no label of an item


def predictions(
    bank: ItemBank, whole: ItemParameters, state: Floats, practice: tuple[float, float], asked: TaskRequest
) -> Predictions:
    """What is expected of each coalition of the n parts of a task, 2^n in the order of `shapley.coalitions`.

    `whole` has the parameters of the task itself, `state` (1, nodes + 3) what is known of its student, who has finished
    so many tasks on the topic and on the exercise (`practice`), which counts whoever does them.
    """
    names, population = parts_of(asked), bank.population
    known = [frozenset(np.array(names)[row].tolist()) for row in shapley.coalitions(len(names))]
    columns = columns_of([_task(bank, whole, asked, parts) for parts in known])
    by_student = np.array(["student" in parts for parts in known])
    states = np.where(by_student[:, None], state, newcomers(population))
    return predict(
        population, states, practised(population, columns, np.tile(np.reshape(practice, (2, 1)), len(known)))
    )


def _task(bank: ItemBank, whole: ItemParameters, asked: TaskRequest, known: frozenset[str]) -> ItemParameters:
    if known >= set(parts_of(asked)) - {"student"}:
        return whole
    found = _group(bank, asked, known)
    if "exercise" not in known:
        return found
    return _moved(found, whole, _group(bank, asked, frozenset({"topic", "difficulty"})))


def _group(bank: ItemBank, asked: TaskRequest, known: frozenset[str]) -> ItemParameters:
    """Of an exercise that nobody has seen, where the topic, the difficulty, both or neither are known."""
    topic = asked.topic if "topic" in known else None
    return bank.find(UNSEEN, topic, asked.difficulty if "difficulty" in known else None).parameters


def _moved(start: ItemParameters, whole: ItemParameters, group: ItemParameters) -> ItemParameters:
    """The parameters `start`, moved as far as the exercise lies from its group."""
    each = _columns(start) + _columns(whole) - _columns(group)
    found = ItemParameters(*each.tolist())
    alpha_var, beta_var, time_var = max(found.alpha_var, 0.0), max(found.beta_var, 0.0), max(found.time_var, 0.0)
    most = (alpha_var * beta_var) ** 0.5
    return replace(
        found,
        alpha=max(found.alpha, LEAST_SLOPE),
        phi=max(found.phi, LEAST_SLOPE),
        sigma2=float(np.exp(found.sigma2)),
        alpha_var=alpha_var,
        beta_var=beta_var,
        alpha_beta_cov=min(max(found.alpha_beta_cov, -most), most),
        time_var=time_var,
    )


def _columns(item: ItemParameters) -> Floats:
    """Its numbers in their order, sigma2 as its log."""
    return np.array(astuple(replace(item, sigma2=float(np.log(item.sigma2)))))
