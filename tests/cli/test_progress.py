"""How far `evaluate` and `replay` have come."""

import re
import sys

import pytest

from app.cli import progress
from app.cli.progress import ProgressWatch, stopped, watched

STEP = {"model": "lnirt", "done": 1, "models": 4, "training": 3, "trainings": 10, "epoch": 5, "epochs": 10}


def test_models_trainings_and_epochs_are_told() -> None:
    watch = ProgressWatch("Replaying")
    assert (watch.words(), watch.share()) == ("", 0)
    watch(STEP)
    assert watch.words() == "lnirt (2 of 4), training 3 of 10, epoch 5 of 10"
    assert watch.share() == pytest.approx((1 + (2 + 4 / 10) / 10) / 4)
    assert re.fullmatch(r"Replaying: lnirt \(2 of 4\), training 3 of 10, epoch 5 of 10, \d+ s", watch.line())


def test_what_ctrl_c_ended_is_named() -> None:
    watch = ProgressWatch("Training")
    watch({"model": "a", "done": 1, "models": 4})
    assert stopped(["a", "b", "c"], watch).startswith("Interrupted in a (2 of 4). b, c had not begun.")


def test_without_a_terminal_lines_are_said_while_a_step_lasts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.001)
    with watched("Training") as watch:
        watch(STEP)
        said = ""
        while "lnirt (2 of 4)" not in said:
            said += capsys.readouterr().err
    assert capsys.readouterr().out == ""


def test_on_a_terminal_a_bar_is_drawn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "150")
    with watched("Training") as watch:
        watch(STEP)
    assert "lnirt (2 of 4), training 3 of 10, epoch 5 of 10" in capsys.readouterr().err
