"""The one error the local stack shows to people."""


class StackError(Exception):
    """A start or stop that cannot succeed. Its text is one sentence: the cause and the way out."""
