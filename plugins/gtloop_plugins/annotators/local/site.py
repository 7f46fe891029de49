"""The parts of one web page, put together: database, people, work, pictures, and where it is found."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from gtloop.interfaces import Form, Task
from gtloop_plugins.annotators.local.crowd import Crowd
from gtloop_plugins.annotators.local.database import Database
from gtloop_plugins.annotators.local.desk import Desk
from gtloop_plugins.annotators.local.forms import Checker
from gtloop_plugins.annotators.local.people import People, Person
from gtloop_plugins.annotators.local.pictures import Pictures, sized
from gtloop_plugins.annotators.local.shifts import Shifts
from gtloop_plugins.annotators.local.tokens import Tokens
from gtloop_plugins.annotators.local.watch import Watch
from gtloop_plugins.annotators.local.work import Work

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
EVERYWHERE = ("0.0.0.0", "::", "")


@dataclass(frozen=True)
class Address:
    """Where the server listens, and by which address people come."""

    host: str
    port: int
    public_url: str | None = None

    @property
    def url(self) -> str:
        """What links begin with."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        host = socket.gethostname() if self.host in EVERYWHERE else self.host
        return f"http://{_bracketed(host)}:{self.port}"

    @property
    def secure(self) -> bool:
        return self.url.startswith("https://")

    @cached_property
    def _names(self) -> frozenset[str]:
        names = {_bracketed(self.host).lower(), *LOOPBACK}
        if self.host in EVERYWHERE:
            names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        plain = names if self.port == 80 else set()
        return frozenset(f"{name}:{self.port}" for name in names) | plain | {urlsplit(self.url).netloc.lower()}

    def answers_to(self, host: str) -> bool:
        """Whether a ``Host`` header is this server's; where it listens everywhere, any literal address is.

        A page of somebody else whose name is pointed here (DNS rebinding) comes with that name.
        """
        if host.lower() in self._names:
            return True
        name, _, port = host.rpartition(":")
        return self.host in EVERYWHERE and port == str(self.port) and _is_address(name)


@dataclass
class Site:
    """Everything that the routes need."""

    database: Database
    tokens: Tokens
    address: Address
    checker: Checker
    work: Work
    watch: Watch
    lease_s: float
    root: Path | None
    crowd: Crowd | None = None
    people: People = field(init=False)
    desk: Desk = field(init=False)
    shifts: Shifts = field(init=False)
    pictures: Pictures = field(default_factory=Pictures)

    def __post_init__(self) -> None:
        self.people, self.desk = People(self.database), Desk(self.database)
        self.shifts = Shifts(self.database, self.tokens)

    @property
    def form(self) -> Form:
        return self.checker.form

    @property
    def cookie(self) -> str:
        """Name of the session's cookie: cookies do not tell ports apart, and one machine may serve several runs."""
        return f"gtloop-{self.tokens.opaque('cookie')[:8]}"

    def take(self, form: Form, task: Task | None) -> None:
        """Go on with another form: categories were renamed, or the instructions have changed."""
        self.checker = self.work.check = Checker(form, task, sized)

    def link(self, person: Person) -> str:
        """Somebody's personal link."""
        return link(self.address.url, self.tokens, person)


def link(url: str, tokens: Tokens, person: Person) -> str:
    """Somebody's personal link below ``url``."""
    return f"{url}/join/{tokens.link(person.id, person.epoch)}"


def make_site(
    database: Database,
    tokens: Tokens,
    address: Address,
    form: Form,
    task: Task | None,
    *,
    lease_s: float,
    price: int,
    root: Path | None,
    crowd: Crowd | None = None,
) -> Site:
    """Put the parts together; ``root`` is the folder of the run, if there is one, ``crowd`` who comes from outside."""
    checker = Checker(form, task, sized)
    made: list[Site] = []
    changed: Callable[[Form, Task], None] = lambda form, task: made[0].take(form, task)  # noqa: E731
    work = Work(database, tokens, lease_s, checker, price)
    made.append(Site(database, tokens, address, checker, work, Watch(root, changed), lease_s, root, crowd))
    return made[0]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
