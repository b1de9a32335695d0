"""What a backup says of itself. Whatever is read from a file is checked here before anybody believes it."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}\z")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}\z")]
# No separator, nothing hidden, no way up.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}\z")]
Folder = Annotated[str, StringConstraints(pattern=r"^versions/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}\z")]
Revision = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}\z")]

MANIFEST = "manifest.json"
SECRET = "secret_key"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Member(Strict):
    """A file in the backup."""

    size: int = Field(ge=0)  # bytes
    sha256: Sha256


class Table(Member):
    name: Identifier
    columns: list[Identifier]
    rows: int = Field(ge=0)


class Number(Strict):
    """The last number that the database gave out for a column."""

    table: Identifier
    column: Identifier
    last: int = Field(ge=0)


class Model(Strict):
    """The files of a version."""

    folder: Folder
    files: dict[FileName, Member]

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file, as a version's row has them."""
        return {name: member.sha256 for name, member in self.files.items()}


class Manifest(Strict):
    format: Literal[1] = 1
    made_at: AwareDatetime
    revision: Revision
    tables: list[Table]
    numbers: list[Number]
    models: list[Model]
    left_out: list[Folder]  # folders of versions whose files were missing or damaged when the backup was made
    secret: Member | None

    def members(self) -> dict[str, Member]:
        """By name in the file."""
        found: dict[str, Member] = {of_table(table.name): table for table in self.tables}
        for model in self.models:
            found |= {of_model(model.folder, name): member for name, member in model.files.items()}
        return found | ({SECRET: self.secret} if self.secret else {})

    def rows(self, table: str) -> int:
        return next((each.rows for each in self.tables if each.name == table), 0)


def of_table(name: str) -> str:
    return f"tables/{name}.copy"


def of_model(folder: str, file: str) -> str:
    return f"models/{folder}/{file}"
