"""Where a reader of a gate goes next: the pages of `evalpipe serve`, where people can reach it."""

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Links:
    """Addresses below `base_url` (settings.alerts.base_url); none without it. `page` is that of this gate."""

    base_url: str | None = None
    page: str | None = None

    def issue(self, issue_id: str | None) -> str | None:
        if self.base_url is None or issue_id is None:
            return None
        return f"{self.base_url.rstrip('/')}/review/issues/{quote(issue_id, safe='')}"

    def gate(self, gate_id: str) -> str | None:
        if self.page is not None or self.base_url is None:
            return self.page
        return f"{self.base_url.rstrip('/')}/review/gates/{quote(gate_id, safe='')}"
