"""Refusal of a request: its status, a sentence with a remedy, and when to come again."""


class Refused(Exception):
    """A request that is refused; the sentence is shown to who sent it."""

    def __init__(self, status: int, sentence: str, *, again: int = 0) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.again = status, sentence, again

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return {"retry-after": str(self.again)} if self.again else {}
