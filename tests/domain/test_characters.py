import sys
import unicodedata
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.domain.characters import UnfitCharacter, checked, folded, tidy
from app.domain.fields import StoredText, Text200

NAMED = {
    "\u202eexe.txt": "U+202E (RIGHT-TO-LEFT OVERRIDE)",
    "a\u2066b\u2069": "U+2066 (LEFT-TO-RIGHT ISOLATE)",
    "Al\u200bgebra": "U+200B (ZERO WIDTH SPACE)",
    "\ufeffAlgebra": "U+FEFF (ZERO WIDTH NO-BREAK SPACE)",
    "Al\u00adgebra": "U+00AD (SOFT HYPHEN)",
    "a\x00b": "U+0000",
    "a\nb": "U+000A",
    "a\x85b": "U+0085",
    "a\u2028b": "U+2028 (LINE SEPARATOR)",
    "a\ud800": "U+D800",
    "a\ue000": "U+E000",
    "a\uffff": "U+FFFF",
    "a\u0378": "U+0378",  # not assigned
    "\u3164": "U+3164 (HANGUL FILLER)",
    "Algebra\ufe0f": "U+FE0F (VARIATION SELECTOR-16)",
    "Algebra\U000e0041": "U+E0041 (TAG LATIN CAPITAL LETTER A)",
    "Al\u200cgebra": "U+200C (ZERO WIDTH NON-JOINER)",
    "Algebra\u200d": "U+200D (ZERO WIDTH JOINER)",
    "\u200dAlgebra": "U+200D (ZERO WIDTH JOINER)",
}
HEAPED = {
    "A" + "\u0316\u0317" * 20: "U+0316 (COMBINING GRAVE ACCENT BELOW)",
    "Z" + "\u0488" * 5: "U+0488 (COMBINING CYRILLIC HUNDRED THOUSANDS SIGN)",
    "a" + "\u0316" * 4 + "\ufe0f\u20e3": "U+20E3 (COMBINING ENCLOSING KEYCAP)",
    "\u0301Algebra": "U+0301 (COMBINING ACUTE ACCENT)",
    "Linear \u0301Algebra": "U+0301 (COMBINING ACUTE ACCENT)",
}
FINE = [
    *("בְּרֵאשִׁ֖ית", "القُرْآنُ", "ที่นี่", "བསྒྲུབས", "a\u0316\u0317\u0318\u0319b\u0316"),
    *("Größe", "数学", "עברית", "العربية", "ﷺ", "İıſK", "x²≥0", "© ™", "Linear\u00a0Algebra", "'; DROP TABLE--"),
    *("می\u200cخواهم", "क्\u200dष", "ന്\u200d", "👩‍👩‍👧‍👦", "👩🏽‍🔬 lab", "🏳️‍🌈", "❤️", "1️⃣"),
]


@pytest.mark.parametrize(("text", "name"), (NAMED | HEAPED).items(), ids=ascii)
def test_what_nobody_sees_or_what_turns_text_around_is_refused_by_its_name(text: str, name: str) -> None:
    with pytest.raises(UnfitCharacter) as refused:
        checked(text)
    assert str(refused.value).startswith(f"must not hold {name}: ")


@pytest.mark.parametrize("text", FINE)
def test_letters_of_all_alphabets_and_emoji_are_taken_as_they_are(text: str) -> None:
    assert checked(text) == unicodedata.normalize("NFC", text)


def test_every_control_and_format_character_is_refused_between_latin_letters() -> None:
    hidden = [chr(each) for each in range(sys.maxunicode + 1) if unicodedata.category(chr(each)) in ("Cc", "Cf", "Cs")]
    assert len(hidden) > 2_000
    for character in hidden:
        with pytest.raises(UnfitCharacter):
            checked(f"a{character}b")


def test_one_text_is_one_text_however_its_accents_are_coded() -> None:
    assert checked("Alge\u0301bre") == checked("Alg\u00e9bre") == "Alg\u00e9bre"


def test_a_text_that_grows_when_its_accents_are_put_together_is_still_bounded() -> None:
    for field in (Text200, StoredText):
        with pytest.raises(ValidationError, match="at most 200 characters"):
            TypeAdapter(field).validate_python("\u0958" * 150)


def test_what_was_stored_before_can_be_asked_for() -> None:
    assert TypeAdapter(StoredText).validate_python(" a\u200bb ") == "a\u200bb"


@given(st.text())
def test_what_texts_share_is_the_same_for_all_their_spellings(text: str) -> None:
    key = folded(text)
    assert tidy(tidy(text)) == tidy(text)
    spelt = (key, tidy(text), text.casefold(), normalize("NFD", text), f" {text}\u00a0", text.replace(" ", "\u2003 "))
    assert [folded(each) for each in spelt] == [key] * len(spelt)


@pytest.mark.parametrize(
    "spellings",
    [
        ("Calculus", "calculus", "CALCULUS", " Calculus "),
        ("Linear Algebra", "linear  algebra", "Linear\u00a0Algebra", "LINEAR\u3000ALGEBRA"),
        ("G\u00e9om\u00e9trie", "ge\u0301ome\u0301trie", "G\u00c9OM\u00c9TRIE"),
        ("Größe", "GRÖSSE", "gröẞe"),
        ("Ὀδυσσεύς", "ὀδυσσεύσ", "ὈΔΥΣΣΕΎΣ"),
    ],
)
def test_spellings_of_one_text_are_one(spellings: tuple[str, ...]) -> None:
    assert len({folded(each) for each in spellings}) == 1


def test_texts_that_differ_by_an_accent_are_two() -> None:
    assert folded("Résumé") != folded("Resume")
