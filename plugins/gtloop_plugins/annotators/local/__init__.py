"""Annotator ``local``: a web page where people label, on this machine or for a whole team."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from gtloop.errors import GtloopError
from gtloop.interfaces import Annotator, Collected, Options
from gtloop.records import Request
from gtloop_plugins.annotators.local.database import Database
from gtloop_plugins.annotators.local.desk import Desk
from gtloop_plugins.annotators.local.people import People, Person, Role
from gtloop_plugins.annotators.local.shared import SharedDatabase, desk_database
from gtloop_plugins.annotators.local.shifts import Shifts
from gtloop_plugins.annotators.local.tokens import Tokens

if TYPE_CHECKING:
    from gtloop.opened import Run
    from gtloop_plugins.annotators.local.crowd import Crowd
    from gtloop_plugins.annotators.local.site import Address, Site

PORT = 8765
OWNER = "owner"


class LocalOptions(Options):
    host: str = Field("127.0.0.1", description="address that the page listens at; 0.0.0.0: all of this machine")
    port: int = Field(PORT, ge=1, le=65_535, description=f"its port; where {PORT} is taken, the next that is free")
    public_url: str | None = Field(None, description="how people reach it, if not by host and port: https://label.me")
    people: tuple[str, ...] = Field(("me",), description="names of those who label; each gets a personal link")
    reviewers: tuple[str, ...] = Field((), description="names of those who only verify and adjust labels")
    link_days: float = Field(30.0, gt=0, description="days for which links and sessions last")
    lease_minutes: float = Field(10.0, gt=0, description="minutes for which an image is kept for who has it open")

    @field_validator("public_url")
    @classmethod
    def _whole(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "http://x")
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or parts.query:
            raise ValueError("give scheme and host only, such as https://label.example.org")
        return url

    @field_validator("people", "reviewers", mode="before")
    @classmethod
    def _split(cls, names: Any) -> Any:
        return [name.strip() for name in names.split(",")] if isinstance(names, str) else names

    @field_validator("people", "reviewers")
    @classmethod
    def _named(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names) or not all(n.strip() and n.isprintable() and len(n) <= 80 for n in names):
            raise ValueError("names must be distinct, and 1 to 80 printable characters")
        return names

    @model_validator(mode="after")
    def _one_role(self) -> Self:
        if both := sorted(set(self.people) & set(self.reviewers)):
            raise ValueError(f"{both[0]!r} is in people and in reviewers; whoever labels gets reviews too")
        return self


class Local(Annotator):
    """People label in a browser; requests, leases and answers are in one database that driver and page share.

    It is a file of SQLite in the work folder, or where the run's ledger is in a server, that server.

    Everybody needs a personal link, also on this machine. What ``collect`` returns names people by opaque ids; their
    names are in table ``person`` only.
    """

    name = "local"
    summary = "a web page where people label, alone or as a team"
    Options = LocalOptions
    patient = True
    modes = frozenset({"draw", "verify", "adjust"})
    forms = frozenset({"*"})
    gives = frozenset({"block", "serve", "serve-many", "forget"})
    extra = "web"
    requires = ("fastapi", "uvicorn", "itsdangerous", "jinja2")
    defaults = {"run.workers": 1, "prices.answer_usd": "0"}

    def submit(self, requests: Sequence[Request]) -> None:
        """Put requests on the desk, behind those that are there."""
        self._desk.submit(requests)

    def collect(self, cursor: str, limit_s: float) -> Collected:
        """What people said, and what ended, after ``cursor``."""
        return self._desk.collect(cursor, limit_s)

    def cancel(self, request_ids: Sequence[str]) -> None:
        """Withdraw requests; who has one open is told when they submit."""
        self._desk.cancel(request_ids)

    def block(self, workers: Mapping[str, str]) -> None:
        """Give these people no more work; the page tells them the reason."""
        self._people.block(workers)

    def forget(self, worker: str) -> bool:
        """Erase somebody's name and end their links; False where there is no name to erase."""
        return self._people.forget(worker)

    def where(self) -> str:
        """The personal links, or how to get them."""
        from gtloop_plugins.annotators.local.serving import served_at

        url = served_at(self.context.workdir)
        if url is None:
            return f"open the page with: gtloop serve {self.context.workdir.parents[1]}"
        return "; ".join(f"{who}: {link}" for who, link in self._links(url))

    def serve(self, run: Run | None, *, host: str | None, port: int | None, ready: Callable[[str], None]) -> None:
        """Serve the page until SIGINT or SIGTERM; ``ready`` gets a personal link for each person.

        Raises:
            GtloopError: The address can't be used, or another process serves this run.
        """
        from gtloop_plugins.annotators.local.server import guarded
        from gtloop_plugins.annotators.local.serving import announced, listen, serve
        from gtloop_plugins.annotators.local.site import Address

        at, wanted = host or self.options.host, port or self.options.port
        with listen(at, wanted, nearby=port is None and wanted == PORT) as bound:
            address = Address(at, bound.getsockname()[1], self.options.public_url)
            site = self.site(address, None if run is None else run.root)
            lines = [f"{who}: {link}" for who, link in self._links(address.url)]
            with announced(self.context.workdir, address.url, many=isinstance(self._database, SharedDatabase)):
                serve(site, guarded(site), bound, lambda: ready("\n".join(lines)))

    def site(self, address: Address, root: Path | None = None) -> Site:
        """The parts of the page at an address; ``root`` is the run's folder, if there is a run.

        Raises:
            GtloopError: There is no form to show.
        """
        from gtloop_plugins.annotators.local.site import make_site

        form = self.context.form
        if form is None:
            raise GtloopError("annotator 'local' has no form to show; serve a run that has a task")
        return make_site(
            self._database,
            self._tokens,
            address,
            form,
            self.context.task,
            lease_s=60 * self.options.lease_minutes,
            price=self.context.price_per_answer,
            root=root,
            crowd=self.crowd(),
        )

    def crowd(self) -> Crowd | None:
        """Who comes from outside; None: people with personal links only. For plugins that bring a crowd."""
        return None

    @cached_property
    def shifts(self) -> Shifts:
        """What people of a crowd do."""
        return Shifts(self._database, self._tokens)

    def _links(self, url: str) -> Iterator[tuple[str, str]]:
        """Who is to get which link: those whom the options name, and the owner; nobody who was kept out."""
        from gtloop_plugins.annotators.local.site import link

        for person in self._named():
            if not person.revoked:
                name = "dashboard" if person.role == "owner" else person.name
                yield name, link(url, self._tokens, person)

    def _named(self) -> Iterator[Person]:
        roles: tuple[tuple[Role, tuple[str, ...]], ...] = (
            ("annotator", self.options.people),
            ("reviewer", self.options.reviewers),
            ("owner", (OWNER,)),
        )
        for role, names in roles:
            for name in names:
                yield self._people.ensure(name, role)

    @cached_property
    def _database(self) -> Database:
        return desk_database(self.context.workdir)

    @cached_property
    def _desk(self) -> Desk:
        return Desk(self._database)

    @cached_property
    def _people(self) -> People:
        return People(self._database)

    @cached_property
    def _tokens(self) -> Tokens:
        return Tokens(self._database.secret, self.options.link_days)
