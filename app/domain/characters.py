"""Which characters topics, exercises and names may hold: none that nobody sees, or that turn around what follows.

They let one text look like another. Accents are stored in one way, NFC, however they were typed. Marks stand on a
letter, four at the most (Unicode Technical Standard 39, section 5.4): heaps of them cover the lines around.
"""

import re
import unicodedata

LINES = ("Zl", "Zp")  # separate lines and paragraphs
# Letters, signs and marks that leave no trace, though Unicode's categories don't say so.
BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef"
DRAWN = "\ufe0e\ufe0f"  # as text or as a picture: how a symbol before them is shown
JOINERS = "\u200c\u200d"
SUSPECT = re.compile(f"[{BLANK}{DRAWN}]")
MARKS = 4
JOINING = {  # scripts that write with joiners, as the names of their letters begin
    *("ARABIC", "SYRIAC", "NKO", "MONGOLIAN", "DEVANAGARI", "BENGALI", "GURMUKHI", "GUJARATI", "ORIYA", "TAMIL"),
    *("TELUGU", "KANNADA", "MALAYALAM", "SINHALA", "TIBETAN", "MYANMAR", "KHMER"),
}


class UnfitCharacter(ValueError):
    """A text holds a character that nobody sees, or that changes what is seen."""

    def __init__(self, character: str) -> None:
        name = unicodedata.name(character, "")
        self.character = f"U+{ord(character):04X}" + (f" ({name})" if name else "")
        super().__init__(f"must not hold {self.character}: nobody sees it, or it changes what is seen")


def checked(text: str) -> str:
    """Return the text in NFC. Raises UnfitCharacter for the first one that it must not hold."""
    if text.isascii() and text.isprintable():
        return text
    if not text.isprintable() or SUSPECT.search(text):
        for place, character in enumerate(text):
            if not _is_fine(text, place):
                raise UnfitCharacter(character)
    if heaped := _heaped_mark(text):
        raise UnfitCharacter(heaped)
    return unicodedata.normalize("NFC", text)


def _heaped_mark(text: str) -> str | None:
    """Return the first mark that stands on nothing, or on too many others."""
    heap = MARKS  # nothing carries none
    for character in re.sub(f"[{DRAWN}{JOINERS}]", "", text):
        if unicodedata.category(character) not in ("Mn", "Me"):
            heap = MARKS if character.isspace() else 0
        elif heap == MARKS:
            return character
        else:
            heap += 1
    return None


def tidy(text: str) -> str:
    """Put the text into NFC, with one plain space for what is between its words, and none around it."""
    if text.isascii() and "  " not in text and text.isprintable() and text == text.strip():
        return text
    return unicodedata.normalize("NFC", " ".join(text.split()))


def folded(text: str) -> str:
    """Return what two texts share that say the same, however they are coded, spaced and capitalised.

    It is Unicode's canonical caseless match: letters are folded with their accents apart.
    """
    text = tidy(text)
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def _is_fine(text: str, place: int) -> bool:
    character = text[place]
    if character in JOINERS:
        return _joins(text[:place], text[place + 1 :])
    if SUSPECT.match(character):
        return character in DRAWN and place > 0 and _is_symbol(text[place - 1], text[place + 1 : place + 2])
    category = unicodedata.category(character)
    return category[0] != "C" and category not in LINES


def _joins(before: str, after: str) -> bool:
    """Tell whether a joiner stands between letters of a script that needs it, or parts of one emoji."""
    left, right = before[-1:], after[:1]
    if not left:
        return False
    if _script(left) in JOINING:
        return unicodedata.combining(left) == 9 or (bool(right) and _script(right) in JOINING)  # 9: a virama
    pictures = {unicodedata.category(each) for each in (left, right) if each and each not in DRAWN}
    return bool(right) and pictures <= {"So", "Sk"}  # Sk: the tone of a skin


def _script(character: str) -> str:
    is_written = unicodedata.category(character)[0] in "LM"
    return unicodedata.name(character, "").partition(" ")[0] if is_written else ""


def _is_symbol(character: str, following: str) -> bool:
    return unicodedata.category(character) in ("So", "Sm") or following == "\u20e3"  # a digit's key
