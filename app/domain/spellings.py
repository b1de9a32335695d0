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
        self._known = {(kind, key): spelling for kind, key, spelling in known}
        self._written = dict[tuple[Kind, str], Spelling]()

    def of(self, kind: Kind, text: str) -> Spelling:
        """Return the spelling of this text."""
        found = self._written.get((kind, text))
        if found is None:
            found = self._known.setdefault((kind, folded(text)), Spelling(tidy(text), tidy(text)))
            self._written[kind, text] = found
        return found
