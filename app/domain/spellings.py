"""What topics and exercises are called: as somebody wrote them first, however others code, space or capitalise them."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from app.domain.characters import folded, tidy

Kind = Literal["topic", "item"]


class Spelling(NamedTuple):
    """A topic or an exercise."""

    first: str  # as it was written first: what the ids of imported rows are made of
    name: str  # what it is called now, which is another where an admin renamed it


class Spellings:
    """Finds the spelling that shows; a text that nobody has written yet becomes the first of its own."""

    def __init__(self, known: Iterable[tuple[Kind, str, Spelling]] = ()) -> None:
        self._by_key: dict[Kind, dict[str, Spelling]] = {"topic": {}, "item": {}}
        self._by_text: dict[Kind, dict[str, Spelling]] = {"topic": {}, "item": {}}
        for kind, key, spelling in known:
            self._by_key[kind][key] = spelling

    def of(self, kind: Kind, text: str) -> Spelling:
        """Return the spelling of this text."""
        found = self._by_text[kind].get(text)
        if found is None:
            name = tidy(text)
            found = self._by_key[kind].setdefault(folded(text), Spelling(name, name))
            self._by_text[kind][text] = found
        return found
