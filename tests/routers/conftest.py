"""What tests of the doors share."""

import pytest

from app.core import security


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 takes long on purpose; where it is not what is tested it need not."""
    from argon2 import PasswordHasher

    monkeypatch.setattr(security, "HASHER", PasswordHasher(1, 8, 1))
    security._nobodys_hash.cache_clear()
