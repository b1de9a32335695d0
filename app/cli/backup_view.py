"""`smartstudy backup` and `smartstudy restore`: what they say, and what they ask."""

from collections.abc import Callable
from pathlib import Path

import typer

from app.backup import archive, making, restoring
from app.backup.archive import Say
from app.backup.manifest import Manifest
from app.core.database import database_url, engine_for
from app.core.settings import settings

SECRET = "secret_key"


def back_up(path: Path, force: bool, say: Say) -> str:
    """Make the backup; what is to be said of it."""
    secret = _kept_secret()
    engine = engine_for(database_url())
    try:
        found = secret.read_bytes() if secret and secret.exists() else None
        manifest = making.make(engine, settings().model_dir, found, path, say, force)
    finally:
        engine.dispose()
    return f"Backed up {_contents(manifest)} to {path} ({path.stat().st_size / 1e6:,.1f} MB)."


def warnings(path: Path) -> list[str]:
    """What to know about the file that was just made."""
    with archive.checked(path, lambda _: None) as opened:
        manifest = opened.manifest
    key = "the key that tokens are signed with and " if manifest.secret else ""
    said = [f"It holds {key}the hashes of passwords and service keys: keep it as safe as the database itself."]
    if manifest.left_out:
        named = ", ".join(manifest.left_out)
        said.append(
            f"Left out, for their files are missing or damaged: {named}. The models in service may be affected."
        )
    return said


def restore(path: Path, replace: bool, yes: bool, say: Say, before_asking: Callable[[], None]) -> str:
    """Check the file, ask if need be, restore; what is to be said of it."""
    with archive.checked(path, say) as opened:
        restoring.refuse_newer(opened.manifest)
        engine = engine_for(database_url())
        try:
            lost = restoring.what_is_there(engine)
            engine.dispose()  # nobody may be connected, nor may we
            before_asking()
            _agree(lost, opened.manifest, replace, yes)
            restoring.restore(engine, settings().model_dir, _kept_secret(), opened, say, replace)
        finally:
            engine.dispose()
        return f"Restored {_contents(opened.manifest)}, as of {opened.manifest.made_at:%Y-%m-%d %H:%M} UTC."


def _agree(lost: str | None, manifest: Manifest, replace: bool, yes: bool) -> None:
    if lost is None:
        return
    if not replace:
        raise restoring.NotRestored(
            f"The database holds {lost}. --replace puts the backup in their place; they are lost then."
        )
    if not yes:
        said = f"The database holds {lost}; they are lost when the backup of {manifest.made_at:%Y-%m-%d %H:%M} UTC"
        typer.confirm(f"{said} ({_contents(manifest)}) takes their place. Go on?", abort=True)


def _contents(manifest: Manifest) -> str:
    tasks, accounts = manifest.rows("practice_tasks"), manifest.rows("users")
    return f"{tasks:,} tasks, {accounts:,} accounts and the files of {len(manifest.models):,} model versions"


def _kept_secret() -> Path | None:
    """Where the signing key is kept; none where SECRET_KEY gives it."""
    return None if settings().secret_key else settings().data_dir / SECRET
