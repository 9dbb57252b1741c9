"""The migration step's settings: the only reader of its environment."""

from pydantic import Field, field_validator

from shared.settings import SharedSettings, with_driver


class Settings(SharedSettings):
    """Whose tables they are, beside the services' own access."""

    migrations_database_url: str | None = Field(
        default=None, description="The owner's access to the services' database; none: the services' role owns it."
    )

    @field_validator("migrations_database_url")
    @classmethod
    def _name_the_owners_driver(cls, url: str | None) -> str | None:
        return with_driver(url) if url else None

    @property
    def owner_url(self) -> str:
        """Who runs the migrations, and owns what they make."""
        return self.migrations_database_url or self.database_url

    @property
    def owner_variable(self) -> str:
        """The variable that says so."""
        return f"COMMANDCENTER_{'MIGRATIONS_' if self.migrations_database_url else ''}DATABASE_URL"
