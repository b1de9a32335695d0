"""E-mail addresses as names of accounts: one spelling for each, and none that looks like another's."""

from collections.abc import Iterable
from functools import lru_cache
from types import ModuleType
from unicodedata import normalize

from app.domain import characters

LONGEST = 254  # characters
ANYWHERE = {"COMMON", "INHERITED"}  # digits, dots, accents
DOTTED_TWICE = {"i\u0307": "i", "j\u0307": "j"}  # nobody sees a second dot
# Alphabets that one language mixes; whatever else is mixed is meant to look like something else (UTS 39).
WRITTEN_TOGETHER = (
    {"LATIN", "HAN", "HIRAGANA", "KATAKANA"},
    {"LATIN", "HAN", "HANGUL"},
    {"LATIN", "HAN", "BOPOMOFO"},
)


def plainest(written: str) -> str:
    """The address as accounts are looked up by: NFKC, lower case; empty where it is too long to be one.

    To normalise accents takes time by the square of their number.
    """
    stripped = written.strip()
    return "" if len(stripped) > LONGEST else normalize("NFKC", normalize("NFKC", stripped).lower())


def checked(written: str) -> str:
    """The address of a new account, in the one spelling that is stored. Raises ValueError.

    Nothing is ever sent there, so its domain need not exist, nor be one of the internet's.
    """
    validator = _validator()
    try:
        found = validator.validate_email(plainest(written), check_deliverability=False, globally_deliverable=False)
    except validator.EmailNotValidError:
        raise ValueError("must be an e-mail address, such as ada@example.com") from None
    address = characters.checked(plainest(found.normalized))
    if any(_is_mixed(part) for part in [found.local_part, *found.domain.split(".")]):
        raise ValueError("must not mix letters of several alphabets in one part of the address")
    return address


def in_latin(address: str) -> str:
    """The address that this one could be taken for: each letter of another alphabet as the plain one it looks like."""
    if address.isascii():
        return address
    for twice, once in DOTTED_TWICE.items():
        address = address.replace(twice, once)
    return "".join(map(_look_alike, address))


def _look_alike(letter: str) -> str:
    from confusable_homoglyphs import confusables

    if letter.isascii():
        return letter
    found = confusables.is_confusable(letter, greedy=True)
    looks = (each["c"] for each in found[0]["homoglyphs"]) if found else ()
    return next((each.lower() for each in looks if each.isascii()), letter)


def _is_mixed(part: str) -> bool:
    from confusable_homoglyphs import categories

    used: Iterable[str] = () if part.isascii() else categories.unique_aliases(part)
    scripts = set(used) - ANYWHERE
    return len(scripts) > 1 and not any(scripts <= together for together in WRITTEN_TOGETHER)


@lru_cache
def _validator() -> ModuleType:
    """Imported when first needed; it takes names for local networks and tests as well."""
    import email_validator

    email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()
    return email_validator
