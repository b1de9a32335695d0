from pathlib import Path

import pytest

from app.core.settings import settings


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("RETRAIN_EVERY", "0", "RETRAIN_EVERY"),
        ("RETRAIN_EVERY", "five", "RETRAIN_EVERY"),
        ("PORT", "70000", "PORT"),
        ("SECRET_KEY", "short", "32 bytes"),
        ("PREVIOUS_SECRET_KEY", "short", "32 bytes"),
        ("FAILED_SIGN_INS", "-1", "FAILED_SIGN_INS"),
        ("MAX_BODY_BYTES", "10", "MAX_BODY_BYTES"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1,proxy", "FORWARDED_ALLOW_IPS"),
        ("DATABASE_URL", "sqlite:///x.db", "runs on PostgreSQL"),
        ("MIN_SECONDS", "700", "below MAX_SECONDS"),
        ("MIN_TRAINING_TASKS", "3", "MIN_TRAINING_TASKS"),
    ],
)
def test_a_wrong_value_stops_the_start_with_a_sentence(
    environment: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(name, value)
    settings.cache_clear()
    with pytest.raises(SystemExit, match=complaint):
        settings()


def test_dotenv_is_read_and_the_environment_wins(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (environment / ".env").write_text("RETRAIN_EVERY=7\nTOKEN_HOURS=2\nSECRET_KEY=\n")
    monkeypatch.setenv("TOKEN_HOURS", "3")
    settings.cache_clear()
    assert (settings().retrain_every, settings().token_hours, settings().secret_key) == (7, 3, None)
