"""What can be set from outside: environment variables or a file (`env_file`), one line each, unit in the name."""

import os
import re
import secrets
from functools import lru_cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.core.db import addresses
from app.domain.days import checked_zone
from app.domain.kinds import KINDS, TRAINED

APP = Path(__file__).resolve().parents[1]
ROLLOUT_FORM = "KIND:PERCENT or KIND:shadow, separated by commas, such as embedding_lstm:20"
DEFAULT_PORTS = {"http": 80, "https": 443}
HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")  # a name, in ASCII, or an address
LOOPBACK = ("localhost", "127.0.0.1", "::1")
STORES = ("file", "s3", "gs", "az")
BUCKET = re.compile(r"[A-Za-z0-9_.-]+")
STORE_FORMS = "file:///folder, s3://bucket/path, gs://bucket/path or az://container/path"
DATABASE_FORM = "postgresql://user:password@host/database"
Absolute = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
LogFormat = Annotated[Literal["auto", "console", "json"], BeforeValidator(str.lower)]
TrainerPlace = Annotated[Literal["here", "elsewhere"], BeforeValidator(str.lower)]
EngineName = Annotated[Literal["local", "dask"], BeforeValidator(str.lower)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(str.upper)]


def default_data_dir() -> Path:
    """Choose a folder of the system's for root, whose home is closed to the account that PostgreSQL must run as."""
    return Path("/var/lib/smartstudy") if os.name == "posix" and os.geteuid() == 0 else user_data_path("smartstudy")


def default_model_dir(given: dict[str, Any]) -> Path:
    """Choose a folder below DATA_DIR; in a clone beside the code, where the documents look for the models."""
    if is_clone():
        return APP / "ml" / "models"
    return Path(given.get("data_dir") or default_data_dir()) / "models"  # a DATA_DIR that is refused isn't in `given`


def is_clone() -> bool:
    """Tell whether this code stands in its repository; else it was installed from a wheel."""
    project = APP.parent / "pyproject.toml"
    return project.is_file() and 'name = "smartstudy"' in project.read_text(encoding="utf-8")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(extra="ignore")

    database_url: SecretStr | None = None  # none: a PostgreSQL of our own in DATA_DIR
    database_read_url: SecretStr | None = None  # a replica of it, for what is only read; none: the database itself
    data_dir: Absolute = Field(default_factory=default_data_dir)
    model_dir: Absolute = Field(default_factory=default_model_dir)
    model_url: str = ""  # where versions lie for good, for all machines; empty: in MODEL_DIR
    secret_key: SecretStr | None = None  # none: made once and kept in DATA_DIR
    previous_secret_key: SecretStr | None = None  # signs no more; what it signed is good until it expires
    token_hours: float = Field(24, gt=0, le=24 * 365)
    session_days: float = Field(30, gt=0, le=366)  # that a browser stays signed in
    correction_days: float = Field(7, ge=0, le=36_500)  # that students may correct a result; service keys always may

    # How often something may be tried, 0: as often as one likes. Kept in the database, for all processes together.
    failed_sign_ins: int = Field(10, ge=0, le=1_000_000)  # of one account from one address, in 5 minutes
    failed_sign_ins_per_address: int = Field(300, ge=0, le=1_000_000)  # in 5 minutes
    failed_sign_ins_per_account: int = Field(100, ge=0, le=1_000_000)  # in an hour
    registrations_per_address: int = Field(1000, ge=0, le=1_000_000)  # in 10 minutes
    # What one caller may use, 0: as much as they like. Requests are counted in the memory of each web process.
    requests_per_student: int = Field(1200, ge=0, le=10_000_000)  # in a minute; the same number may come at once
    requests_per_key: int = Field(60_000, ge=0, le=10_000_000)  # the same for a service key
    max_open_tasks: int = Field(1000, ge=0, le=10_000_000)  # of a student, that are asked and not finished
    max_topics: int = Field(2000, ge=0, le=10_000_000)  # of a student, finished or open; imports are not bounded
    established_students: int = Field(5, ge=0, le=1_000_000)  # who make a topic one for others; 0: none do
    max_body_bytes: int = Field(65_536, ge=1024)  # of a request
    max_header_bytes: int = Field(32_768, ge=1024, le=1_048_576)  # of a request, and of its address
    max_headers: int = Field(100, ge=10, le=10_000)  # of a request
    header_timeout_seconds: float = Field(10, gt=0, le=3600)  # from the connection, or a request's first byte
    body_timeout_seconds: float = Field(30, gt=0, le=3600)  # for a body to arrive; for the caller to take an answer in
    max_connections: int = Field(1000, ge=10, le=60_000)  # of a web process; fewer where it may have few open files
    max_connections_per_address: int = Field(250, ge=1, le=60_000)  # not of proxies (FORWARDED_ALLOW_IPS)

    host: str = "127.0.0.1"
    port: int = Field(4008, ge=0, le=65535)
    allowed_hosts: str = ""  # names it is reached by, *.example.org for all below; empty: see host_names; *: any
    cors_origins: str = ""  # of pages elsewhere that may call the API, such as https://app.example.org; commas between
    public_url: str = ""  # what links that are handed over or mailed begin with, https://study.example.org
    smtp_url: SecretStr | None = None  # none: no mail is sent; smtp://user:password@host:587, or smtps://
    mail_from: str = ""  # of mails; empty: smartstudy@ the host of PUBLIC_URL
    time_zone: str = "UTC"  # of students whose own is not known: where their days begin
    forwarded_allow_ips: str = ""  # proxies whose word on the client's address is taken, separated by commas

    retrain_every: int = Field(5, ge=1)  # finished tasks, of anybody
    min_training_tasks: int = Field(10, ge=10)  # fewer can't be split into a part to learn and a part to check
    full_training_growth: float = Field(0.5, gt=0)  # share of new tasks after which models are trained from scratch
    training_timeout_seconds: float = Field(3600, gt=0)  # of work: a run takes what fits
    training_memory_mb: int | None = Field(None, ge=200, le=1 << 24)  # of its process; none: most of what is free
    trainer: TrainerPlace = "here"  # where web processes have models trained; elsewhere: by `smartstudy trainer`
    trainer_silent_seconds: float = Field(60, gt=0)  # a run that gives no sign of life for so long is taken for dead
    trainer_idle_seconds: float = Field(900, gt=0)  # a warm trainer holds 500 MB: let it go when nobody studies
    keep_versions: int = Field(10, ge=1)  # of each kind, on disk

    engine: EngineName = "local"  # who does a training's heavy work; dask: workers of DASK_SCHEDULER
    dask_scheduler: str = ""  # tcp://host:8786, or tls://; on a private network only: who reaches it can run anything
    kinds: str = ",".join(TRAINED)  # of model, that are trained, separated by commas
    model: str = "auto"  # auto: the best on unseen tasks answers; or one of the kinds
    rollout: str = ""  # another kind for some students, see ROLLOUT_FORM

    min_probability: float = Field(0.01, gt=0, lt=0.5)
    max_probability: float = Field(0.99, gt=0.5, lt=1)
    min_seconds: float | None = Field(None, gt=0, le=86_400)  # none: from the data (app/ml/calibration/time_limits.py)
    max_seconds: float | None = Field(None, gt=0, le=86_400)

    log_format: LogFormat = "auto"  # auto: for people on a terminal, json everywhere else
    log_level: LogLevel = "INFO"
    access_log: bool = False  # a line for every request; those that fail have one anyway
    metrics_token: SecretStr | None = None  # none: whoever reaches /metrics may read it
    otel_exporter_otlp_endpoint: str | None = None  # either of them: traces are exported
    otel_exporter_otlp_traces_endpoint: str | None = None
    otel_traces_exporter: str | None = None

    @field_validator(
        *(
            "database_url",
            "database_read_url",
            "secret_key",
            "previous_secret_key",
            "metrics_token",
            "smtp_url",
            "min_seconds",
            "max_seconds",
        ),
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return value or None

    @field_validator("database_url", "database_read_url")
    @classmethod
    def _is_postgresql(cls, secret: SecretStr | None) -> SecretStr | None:
        """Check it here: whoever stumbles over it later quotes it, password and all."""
        from sqlalchemy.engine import make_url  # here, for who only fits a file needs no database
        from sqlalchemy.exc import ArgumentError

        url = secret.get_secret_value() if secret else DATABASE_FORM
        if not url.startswith(("postgresql://", "postgres://", "postgresql+psycopg2://")):
            raise ValueError(f"SmartStudy runs on PostgreSQL: {DATABASE_FORM}")
        addresses.check(url)
        try:
            make_url(url)
        except (ArgumentError, ValueError):
            raise ValueError(f"can't be read as {DATABASE_FORM}; {addresses.ENCODED}") from None
        return secret

    @field_validator("secret_key", "previous_secret_key")
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        if key and len(key.get_secret_value().encode()) < 32:
            raise ValueError("needs 32 bytes or more; leave it out and one is made and kept in DATA_DIR")
        return key

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _proxies_can_be_read(cls, written: str) -> str:
        for each in _listed(written):
            if each != "*":
                _ = ip_network(each)  # its error says what is wrong
        return written

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_exact(cls, written: str) -> str:
        for each in _listed(written):
            if each != _origin(each):
                raise ValueError(
                    f"{each!r} is no origin: write scheme, host and port as browsers do, such as "
                    "https://app.example.org or http://localhost:5173, with no path, no / at the end and no *"
                )
        return written

    @field_validator("public_url")
    @classmethod
    def _is_an_address(cls, written: str) -> str:
        at = urlsplit(written)
        if written and (at.scheme not in ("http", "https") or not at.hostname or at.query or at.fragment):
            raise ValueError("takes the address that the service is reached by, such as https://study.example.org")
        return written.rstrip("/")

    @field_validator("smtp_url")
    @classmethod
    def _is_a_mail_server(cls, secret: SecretStr | None) -> SecretStr | None:
        """Check it here: whoever stumbles over it later quotes it, password and all."""
        try:
            at = urlsplit(secret.get_secret_value()) if secret else None
            fits = at is None or (at.scheme in ("smtp", "smtps") and at.hostname and (at.port or 1) > 0)
        except ValueError:
            fits = False
        if not fits:
            raise ValueError("takes smtp://user:password@host:587 or smtps://..., its password percent-encoded")
        return secret

    @field_validator("model_url")
    @classmethod
    def _names_a_store(cls, url: str) -> str:
        return url.strip() and checked_store(url)

    @field_validator("dask_scheduler")
    @classmethod
    def _is_a_scheduler(cls, address: str) -> str:
        try:
            at = urlsplit(address)
            fits = at.scheme in ("tcp", "tls") and at.hostname and at.port and not (at.path or at.query or at.username)
        except ValueError:
            fits = False
        if address and not fits:
            raise ValueError("takes the address of Dask's scheduler, such as tcp://scheduler:8786")
        return address

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, name: str) -> str:
        return checked_zone(name)

    @field_validator("kinds")
    @classmethod
    def _kinds_are_known(cls, written: str) -> str:
        named = _listed(written)
        if not named or set(named) - set(KINDS):
            raise ValueError(f"takes one or more of {', '.join(KINDS)}, separated by commas")
        return written

    @field_validator("model")
    @classmethod
    def _model_is_known(cls, name: str) -> str:
        if name not in ("auto", *KINDS):
            raise ValueError(f"takes auto, {', '.join(KINDS)}")
        return name

    @field_validator("rollout")
    @classmethod
    def _rollout_can_be_read(cls, written: str) -> str:
        shares = _rollout(written)
        if sum(share for share in shares.values() if share is not None) > 100:
            raise ValueError("gives more than 100 % of the students away")
        return written

    def folders(self) -> dict[str, Path]:
        """The folders that have to have room, by the settings that name them; what is only fetched does without."""
        kept = {} if self.model_url else {"MODEL_DIR": self.model_dir}
        return {"DATA_DIR": self.data_dir, **kept}

    def host_names(self) -> tuple[str, ...]:
        """The names that a Host header may have; without ALLOWED_HOSTS those of this machine, or any where others may
        reach it."""
        if self.allowed_hosts:
            return tuple(name.lower() for name in _listed(self.allowed_hosts))
        return (*LOOPBACK, self.host.lower()) if is_loopback(self.host) else ("*",)

    def origins(self) -> frozenset[str]:
        """The origins whose pages may call the API."""
        return _origins(self.cors_origins)

    def mail_sender(self) -> str:
        """Return the address that mails come from."""
        return self.mail_from or f"smartstudy@{urlsplit(self.public_url).hostname or 'localhost'}"

    def scheduler(self) -> str | None:
        """Return the address of Dask's scheduler; none where this process does its work itself."""
        return self.dask_scheduler if self.engine == "dask" else None

    def trained_kinds(self) -> tuple[str, ...]:
        """Return the kinds of model that a training fits, unless somebody asks for one of them."""
        return tuple(_listed(self.kinds))

    def shares(self) -> dict[str, float]:
        """Return for each kind rolled out the share of the students it answers, percent."""
        return {kind: share for kind, share in _rollout(self.rollout).items() if share is not None}

    def shadows(self) -> tuple[str, ...]:
        """Return the kinds that are asked too, of every task, and whose answers are only recorded."""
        return tuple(kind for kind, share in _rollout(self.rollout).items() if share is None)

    @model_validator(mode="after")
    def _links_lead_here(self) -> "Settings":
        """Refuse mails whose links whoever asks for one could have lead elsewhere, by what they send as Host."""
        if self.smtp_url and not self.public_url:
            raise ValueError("SMTP_URL needs PUBLIC_URL, for the links in the mails, such as https://study.example.org")
        return self

    @model_validator(mode="after")
    def _engine_has_a_scheduler(self) -> "Settings":
        if self.engine == "dask" and not self.dask_scheduler:
            raise ValueError("ENGINE=dask needs DASK_SCHEDULER, such as tcp://scheduler:8786")
        return self

    @model_validator(mode="after")
    def _seconds_in_order(self) -> "Settings":
        if self.min_seconds is not None and self.max_seconds is not None and self.min_seconds >= self.max_seconds:
            raise ValueError("MIN_SECONDS must be below MAX_SECONDS")
        return self

    def signing_key(self) -> str:
        """Return the key that tokens are signed with."""
        if self.secret_key:
            return self.secret_key.get_secret_value()
        return _kept_secret(self.data_dir / "secret_key")


def checked_store(url: str) -> str:
    """Return the URL of a store of models as MODEL_URL takes it; raise ValueError where it is none."""
    url = url.strip().rstrip("/")
    try:
        at = urlsplit(url)
        bucket = BUCKET.fullmatch(at.netloc.rpartition("@")[2]) and not {"", ".", ".."} & set(at.path.split("/")[1:])
        named = at.path.startswith("/") and not at.netloc if at.scheme == "file" else bucket
        if at.scheme not in STORES or not named or set("?#\r\n\t") & set(url):
            raise ValueError
    except ValueError:
        raise ValueError(f"takes {STORE_FORMS}") from None
    if "@" in at.netloc:
        raise ValueError("takes no secrets: the store reads variables of its own, such as AWS_SECRET_ACCESS_KEY")
    return url


def is_loopback(host: str) -> bool:
    """Tell whether it is a name or an address of this very machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() in LOOPBACK


def _listed(written: str) -> list[str]:
    """Split a text at its commas."""
    return [part.strip() for part in written.split(",") if part.strip()]


@lru_cache
def _origins(written: str) -> frozenset[str]:
    return frozenset(_listed(written))


def _origin(address: str) -> str | None:
    """Return the origin of an address as browsers write it (RFC 6454); none where it has none."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not HOST.fullmatch(host):
        return None
    named = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{named}" + ("" if port in (None, DEFAULT_PORTS[parts.scheme]) else f":{port}")


@lru_cache
def _rollout(written: str) -> dict[str, float | None]:
    """Map each kind to its percentage, None for a shadow. Raises ValueError with what is accepted."""
    shares: dict[str, float | None] = {}
    for part in _listed(written):
        kind, _, share = (piece.strip() for piece in part.partition(":"))
        if kind not in KINDS or kind in shares:
            raise ValueError(f"{part!r}: expected {ROLLOUT_FORM}; kinds are {', '.join(KINDS)}, each once")
        try:
            shares[kind] = None if share == "shadow" else float(share)
        except ValueError:
            raise ValueError(f"{part!r}: expected {ROLLOUT_FORM}") from None
        if not 0 <= (shares[kind] or 0) <= 100:  # false for NaN
            raise ValueError(f"{part!r}: the percentage must lie between 0 and 100")
    return shares


def _kept_secret(path: Path) -> str:
    """Read the secret, made by whoever comes first; two at once agree on one."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)  # unlike a rename, never replaces one that is there
        except FileExistsError:  # somebody else was first: theirs counts
            return path.read_text()
        finally:
            draft.unlink()
    return path.read_text()


def env_file() -> Path | None:
    """Return the file that ENV_FILE names, or `.env` in the folder where the command was started, if there is one.

    Raises:
        SystemExit: with a sentence, when it can't be read.
    """
    named = os.environ.get("ENV_FILE")
    path = Path(named or ".env").expanduser().absolute()
    try:
        if not named and not path.is_file():
            return None
        path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise SystemExit(f"SmartStudy can't start: the settings in {path} can't be read: {why}.") from None
    return path


@lru_cache
def settings() -> Settings:
    """Return the settings of this process.

    Raises:
        SystemExit: with a sentence for each wrong value, or on a file of settings that can't be read.
    """
    try:
        return Settings(_env_file=env_file())
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, e['loc'])).upper() or 'settings'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
            if e["type"] != "default_factory_not_called"  # because of another, which is told
        ]
        raise SystemExit("SmartStudy can't start with these settings.\n" + "\n".join(wrong)) from None
