"""Refusal of a request: its status, a sentence with a remedy, and when to come again."""

import contextlib
import re
from collections.abc import Iterator

_UNREADABLE = re.compile(r"gallery '.*(cannot be (read|opened)|is damaged)", re.DOTALL)
_PATHS = re.compile(r" '[^']*/[^']*'|[^\s'\"(]*/[^\s'\")]*")


class Refused(Exception):
    """A request that is refused; the sentence is shown to who sent it."""

    def __init__(self, status: int, sentence: str, *, again: int = 0) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.again = status, sentence, again

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return {"retry-after": str(self.again)} if self.again else {}


def unreadable(error: Exception) -> Refused:
    """The refusal where the gallery cannot be read; it names no paths."""
    return Refused(503, f"The gallery cannot be read any more ({_PATHS.sub('', str(error))}): start the page again.")


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Makes a refusal of an error within the block that says that the gallery cannot be read."""
    try:
        yield
    except ValueError as error:
        if not _UNREADABLE.search(str(error)):
            raise
        raise unreadable(error) from error
