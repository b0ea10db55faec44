"""The one error that people see: a single line that says what is wrong, where, and what to type next."""


class ZeroshotError(Exception):
    """A mistake in the input or the machine that a person can mend; its text is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
