"""What storage refuses for good, by name, so that callers need not know the database's own errors."""


class NameTaken(Exception):
    """Another object of the kind has that name. Permanent: choose another."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is another {kind} named {name}")
        self.kind = kind
        self.name = name
