"""Observer ``webhook``: tells a web address, such as a Slack channel's, when a run needs somebody.

The run is never held up: messages wait in a short queue for a thread that delivers them, and tries again where that
may help. A message is about an event, and an event is told once, also across restarts of the run.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from gtloop import events as ev
from gtloop.errors import ConfigError
from gtloop.interfaces import Context, Observer, Options
from gtloop.money import micro, show
from gtloop.wording import counted
from gtloop_plugins.observers.webhook.outbox import Outbox

if TYPE_CHECKING:
    from gtloop.events import Event
    from gtloop.state import State

Occasion = Literal["people", "confirm", "budget", "paused", "done"]
OCCASIONS: tuple[Occasion, ...] = ("people", "confirm", "budget", "paused", "done")


class WebhookOptions(Options):
    url: SecretStr | None = Field(
        None,
        repr=False,
        description="http or https address to POST to; kept in the run folder, so that url_env is safer",
    )
    url_env: str | None = Field(None, description="environment variable that holds the address, in place of url")
    on: tuple[Occasion, ...] = Field(
        OCCASIONS,
        description="when: people are asked, a yes to spending is owed, the budget is nearly or quite used up, "
        "the run is paused, it is done; in -o separated by commas",
    )
    secret_env: str | None = Field(
        None, description="environment variable with the secret that signs the body (X-Gtloop-Signature)"
    )
    budget_at: float = Field(0.9, gt=0, le=1, description="share of the budget, spent or promised, that is told")
    timeout_s: float = Field(10.0, gt=0, le=60, description="seconds that the address may take to answer")

    @field_validator("on", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class Webhook(Observer):
    """POSTs JSON: ``text`` (a sentence), ``event``, ``run``, ``id``, ``at`` and ``state`` (counts, cost, certified)."""

    name = "webhook"
    summary = "tells a web address (Slack, ...) when a run needs somebody"
    Options: ClassVar[type[Options]] = WebhookOptions

    def __init__(self, options: WebhookOptions, context: Context) -> None:
        super().__init__(options, context)
        self._outbox = Outbox(_address(options), _environment("secret_env", options.secret_env), options.timeout_s)

    def observe(self, event: Event, state: State) -> None:
        """Queue a message, where the event is an occasion for one."""
        self._send(occasion(event, state), event, state)
        if "budget" in self.options.on:
            self._watch_budget(event, state)

    def close(self) -> None:
        """Wait for what is under way, a few seconds at most."""
        self._outbox.close()

    def _send(self, told: tuple[Occasion, str] | None, event: Event, state: State) -> None:
        if told is not None and told[0] in self.options.on:
            self._outbox.put(self._message(*told, event, state))

    def _message(self, what: Occasion, text: str, event: Event, state: State) -> dict[str, Any]:
        found = self._status(state)
        run = self.context.run
        about = found["summary"] if what == "done" else ""
        return {
            "text": f"{run} {text}" + (f": {about}" if about else ""),
            "event": what,
            "run": run,
            "id": f"{run}-{state.seq}-{what}",
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "state": {
                "state": found["state"],
                "iteration": event.iteration,
                "items": found["items"],
                "cost_usd": found["cost_usd"] | {"budget": state.facts.settings["run"].get("budget_usd")},
                "certified": found["promise"]["certified"],
            },
        }

    def _status(self, state: State) -> dict[str, Any]:
        from gtloop.job import make_promise
        from gtloop.settings import Settings
        from gtloop.status import status

        settings = Settings.model_validate(state.facts.settings)
        assert self.context.task is not None
        return status(self.context.run, state, settings, make_promise(settings, self.context.task))

    def _watch_budget(self, event: Event, state: State) -> None:
        """Tell once that much of the budget is gone; again after there was more of it."""
        budget = state.facts.settings["run"].get("budget_usd")
        bill, mark = state.facts.bill, self.context.workdir / "budget-told"
        gone = bill.total + bill.reserved
        if not budget or gone < self.options.budget_at * micro(budget):
            mark.unlink(missing_ok=True)
        elif not mark.exists():
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
            share = f"has spent or promised {gone / micro(budget):.0%} of its budget of {show(micro(budget))}"
            self._send(("budget", share), event, state)


def occasion(event: Event, state: State) -> tuple[Occasion, str] | None:
    """What an event is to be told as, and what it says of the run; None for most."""
    match event:
        case ev.BatchSubmitted():
            batch = state.facts.batches[event.batch]
            if batch.phase == "ahead":  # for people who are at work anyway
                return None
            return "people", f"needs people: {counted(batch.count, 'image')} to answer ({batch.phase})"
        case ev.RunPaused(reason="confirm"):
            return "confirm", "needs a yes: look at the answers to the probe, then run it again with --yes"
        case ev.BudgetReached():
            left = f"{show(event.left)} is left, an image costs {show(event.needed)}"
            return "budget", f"has used up its budget: {left}"
        case ev.RunPaused():
            return "paused", f"is paused: {event.why or event.reason}"
        case ev.RunFinished():
            return "done", "is cancelled" if state.facts.cancelled else "is finished"
    return None


def _address(options: WebhookOptions) -> str:
    """The address to POST to; messages of faults never hold it.

    Raises:
        ConfigError: It is not given, given twice, or no http or https address.
    """
    if (options.url is None) == (options.url_env is None):
        raise ConfigError("observers.webhook: name the address to tell, by url or url_env (one of the two)")
    url = options.url.get_secret_value() if options.url else _environment("url_env", options.url_env) or ""
    try:
        parts = urlsplit(url.strip())
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        sound = sound and parts.username is None  # http.client would take it for a part of the host
    except ValueError:
        sound = False
    if not sound or any(c.isspace() or not c.isprintable() for c in url.strip()) or not url.isascii():
        where = "url" if options.url else f"the variable {options.url_env}"
        raise ConfigError(
            f"observers.webhook: {where} holds no http or https address, such as https://example.org/hook"
        )
    return url.strip()


def _environment(option: str, name: str | None) -> str | None:
    """What an environment variable holds that an option names; None where it names none.

    Raises:
        ConfigError: There is no such variable.
    """
    if name is None:
        return None
    if not (value := os.environ.get(name, "")):
        raise ConfigError(
            f"observers.webhook.{option}: the environment variable {name} is not set; set it, or leave the option out"
        )
    return value
