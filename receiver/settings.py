"""Settings of the receiver's commands."""

from pathlib import Path

from pydantic import ConfigDict, Field

from foundation.settings import DEFAULT_DATA, Redaction

MEBIBYTE = 1 << 20


class ReceiverConfig(Redaction):
    """Settings of a running receiver."""

    model_config = ConfigDict(allow_inf_nan=False)

    data: Path = DEFAULT_DATA
    """Directory that keeps everything."""

    grpc: str = "127.0.0.1:4317"
    """Address for OTLP/gRPC; port 0 takes a free one."""

    http: str = "127.0.0.1:4318"
    """Address for OTLP/HTTP, SQL and health; port 0 takes a free one."""

    tls_cert: Path | None = None
    """Certificate chain (PEM) both ports answer with."""

    tls_key: Path | None = None
    """Private key (PEM) of the certificate."""

    tls_client_ca: Path | None = None
    """Authorities (PEM) whose client certificates are demanded: mutual TLS."""

    plaintext: bool = False
    """Bind an address others can reach without TLS, because a mesh or proxy in between encrypts. Keys are needed all
    the same."""

    cors_allowed_origins: tuple[str, ...] = ()
    """Origins whose pages may send spans, logs and rewards from a browser, such as `https://app.example`; `*` for any.
    Default: none."""

    max_request_mb: int = Field(default=64, ge=1, le=1024)
    """Largest export request in MiB, after inflation. Agents' spans are big: the OTLP default of 4 MiB loses them."""

    max_backlog_mb: int = Field(default=256, ge=1)
    """MiB of requests taken but not yet in a day file. Beyond it clients are asked to come again."""

    reserve_mb: int = Field(default=128, ge=1)
    """MiB of the disk, at most an eighth of it, that stay free for landing what was taken. Below it clients are asked
    to come again."""

    land_every_s: float = Field(default=1.5, gt=0, le=60)
    """Longest a span waits for its day file. Queries see it before that; this bounds the replay after a crash."""

    retain_days: int | None = Field(default=None, ge=2)
    """Remove a day's file this many days after the day. Default: keep everything."""

    retain_gb: float | None = Field(default=None, gt=0)
    """Remove the oldest sealed days while the day files are larger than this many GiB. Default: keep everything."""

    sql_timeout_s: float = Field(default=30, gt=0)
    """Longest a query may run."""

    sql_max_rows: int = Field(default=1_000_000, ge=1)
    """Most rows a query may return."""

    sql_max_result_mb: int = Field(default=256, ge=1)
    """Largest result of a query in MiB, as Arrow."""

    sql_max_concurrent: int = Field(default=4, ge=1)
    """Queries of others than this machine's own commands that run at once; more wait a few seconds, then are asked to
    come again."""

    memory_limit: str = Field(default="2GB", pattern=r"(?i)^\d+(\.\d+)? ?([kmgt]i?b|b)$")
    """DuckDB's memory limit, such as 2GB or 512MiB: for landing, and for each query's process."""

    @property
    def memory_limit_bytes(self) -> int:
        """The memory limit in bytes."""
        unit = self.memory_limit.lstrip("0123456789. ").strip().lower()
        number = self.memory_limit.lower().removesuffix(unit)
        return int(float(number) * (1024 if "i" in unit else 1000) ** "bkmgt".index(unit[0]))

    @property
    def max_request_bytes(self) -> int:
        """Largest export request in bytes."""
        return self.max_request_mb * MEBIBYTE

    @property
    def max_backlog_bytes(self) -> int:
        """Bound of the backlog in bytes."""
        return self.max_backlog_mb * MEBIBYTE

    @property
    def retain_bytes(self) -> int | None:
        """Most bytes of day files to keep."""
        return None if self.retain_gb is None else int(self.retain_gb * 2**30)

    @property
    def sql_max_result_bytes(self) -> int:
        """Largest result of a query in bytes."""
        return self.sql_max_result_mb * MEBIBYTE
