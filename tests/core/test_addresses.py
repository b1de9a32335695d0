"""One spelling for each address, and none that looks like another's."""

import pytest

from app.core.addresses import checked, in_latin


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("Ada@EXAMPLE.com", "ada@example.com"),
        (" ada@example.com ", "ada@example.com"),
        ("jose\u0301@example.org", "jos\u00e9@example.org"),
        ("\uff41da@example.com", "ada@example.com"),
        ("ada@xn--e1afmkfd.xn--p1ai", "ada@\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444"),
        ("ada@school", "ada@school"),
        ("ada@school.local", "ada@school.local"),
        ("\u7530\u4e2d\u3055\u3093@example.jp", "\u7530\u4e2d\u3055\u3093@example.jp"),
    ],
)
def test_an_address_is_stored_in_one_spelling(written: str, stored: str) -> None:
    assert checked(written) == stored


@pytest.mark.parametrize(
    "written",
    [
        *("ada", "@example.com", "ada@", "a b@example.com", "a..b@example.com", "ada@@example.com", "ada@exa mple.com"),
        "ada\u200b@example.com",
        "\u0430da@example.com",  # a Cyrillic letter among Latin ones
        "ada@ex\u0430mple.com",
        *(f"ad{unseen}a@example.com" for unseen in "\u034f\u3164\ufe0f\U000e0100"),
    ],
)
def test_what_is_no_address_or_mixes_alphabets_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="must"):
        checked(written)


def test_letters_of_another_alphabet_are_taken_for_those_they_look_like() -> None:
    assert in_latin("\u0441\u043e\u0440\u0430@example.com") == "copa@example.com"
    assert in_latin("copa1@example.com") == "copa1@example.com"
    assert in_latin("i\u0307da@example.com") == "ida@example.com"
