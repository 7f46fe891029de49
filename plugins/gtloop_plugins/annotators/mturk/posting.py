"""Requests become HITs: one HIT with N assignments for each, posted once, whatever happens in between.

A HIT carries a token that is derived from the annotator's namespace, its request, part and attempt: asked again within
24 hours, Amazon answers that it is there already and which it is. The same name is its ``RequesterAnnotation``, so that
a HIT whose answer was lost is found in the list of all HITs (``adopt_orphans``) when its token is no longer good.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from gtloop import keyed
from gtloop.errors import ConfigError
from gtloop.interfaces import Context
from gtloop.money import show
from gtloop.records import Request
from gtloop_plugins.annotators.mturk.books import Books, Hit, now
from gtloop_plugins.annotators.mturk.forms import Question
from gtloop_plugins.annotators.mturk.options import SURCHARGE_FROM, MturkOptions, affordable, quote
from gtloop_plugins.annotators.mturk.people import Gate
from gtloop_plugins.annotators.mturk.service import Refused, Service

TOKEN_S = 23 * 3600
"""How long a token is trusted; Amazon keeps it for 24 hours."""
MARK = "gtloop"
_HIT_ID = re.compile(r"\b[A-Z0-9]{20,64}\b")


class Posting:
    """Posts what is planned in the books."""

    def __init__(self, options: MturkOptions, context: Context, service: Service, books: Books, gate: Gate) -> None:
        self._options, self._context, self._service, self._books, self._gate = options, context, service, books, gate
        self._question = Question(options, context, service)
        self._types: dict[tuple[int, tuple[str, ...]], str] = {}
        self._swept = False

    def plan(self, requests: Sequence[Request]) -> None:
        """Write down what is new or has grown."""
        with self._books.writing():
            for request in requests:
                if request.answers > self._books.wanted(request.id):
                    self._books.ask(request)
                    self._plan(request)
            self.check_confirmed(0)

    def _plan(self, request: Request) -> None:
        """The HITs that a request needs: its last one grows as far as it may, another takes the rest."""
        parts = self._books.hits("request = ?", request.id)
        lacking = request.answers - sum(h.planned for h in parts)
        last = parts[-1] if parts else None
        if last is not None and not (last.deleted or last.withdrawn):
            more = lacking
            if last.planned < SURCHARGE_FROM:  # Amazon lets no HIT grow to ten that had fewer
                more = min(more, SURCHARGE_FROM - 1 - last.planned)
            if request.max_price:
                more = min(more, (request.max_price - _cost(parts)) // (last.reward + last.fee))
            if more > 0:
                self._books.change(last.number, planned=last.planned + more, done=0)
            lacking -= max(0, more)
        if lacking <= 0:
            return
        parts = self._books.hits("request = ?", request.id)
        offer = quote(self._context.price_per_answer, lacking, self._options.masters)
        if request.max_price:  # what is reserved is the most that may be posted, even where the price has risen since
            left = request.max_price - _cost(parts)
            cheaper = affordable(offer.answer, lacking, self._options.masters, left)
            if cheaper is None:
                self._books.mark(request.id, refused=f"{show(left)} pays no {lacking} answers")
                return
            offer = cheaper
        self._books.plan(request.id, len(parts) + 1, lacking, offer.answer, offer.fee)

    def check(self) -> None:
        """Whether people could be shown an image."""
        self._check_market()
        self._question.check()

    def check_confirmed(self, cost: int) -> None:
        """In production, dollars have to be named before they are spent.

        Raises:
            ConfigError: They were not, or ``cost`` more micro-dollars are beyond them.
        """
        most = self._books.worst_case() + cost
        named = self._options.confirm_usd
        if self._options.production and (named is None or most > round(named * 1e6)):
            dollars = -(-most // 10_000) / 100
            raise ConfigError(
                f"this posts work for up to {show(most)} on Amazon Mechanical Turk; to post for real, say so with the "
                f"most that it may cost: -o annotators.mturk.confirm_usd={dollars:.2f}"
            )

    def post(self) -> None:
        """Post everything that is planned and not posted; nothing twice."""
        self._check_market()
        todo = self._books.hits("posted < planned AND withdrawn = 0 AND deleted = 0 AND done = 0")
        if not todo:
            return
        if not self._swept and any(h.hit is None and h.tried for h in todo):
            self.adopt_orphans()
            self._swept = True
            todo = self._books.hits("posted < planned AND withdrawn = 0 AND deleted = 0 AND done = 0")
        self._books.fact("market", self._options.market)
        for hit in todo:
            if hit.hit is not None:
                self._grow(hit)
            elif self._ready(hit):
                self._create(hit)

    def post_waiting(self) -> None:
        """Post what had to wait for other HITs to be done."""
        if self._books.hits("hit IS NULL AND part > 1 AND withdrawn = 0 AND done = 0"):
            self.post()

    def find_withdrawn(self) -> None:
        """Find HITs that were withdrawn while it was not known whether they were posted.

        What a list that was asked for after its time (``ends``) does not have was never posted.
        """
        unknown, began = "withdrawn = 1 AND done = 0 AND hit IS NULL", now()
        if self._books.hits(unknown):
            self.adopt_orphans()
            self._books.do(f"UPDATE hit SET done = 1 WHERE {unknown} AND ends <= ?", began)

    def _ready(self, hit: Hit) -> bool:
        """A further HIT of a request waits until all who worked on the ones before are known, to keep them out."""
        return hit.part == 1 or not self._books.hits("request = ? AND part < ? AND done = 0", hit.request, hit.part)

    def adopt_orphans(self) -> None:
        """Write down HITs that were posted, but whose answer never came."""
        lost = {self._name(h): h for h in self._books.hits("hit IS NULL")}
        for found in self._service.pages("list_hits", "HITs"):
            hit = lost.get(found.get("RequesterAnnotation") or "")
            if hit is not None:
                self._posted(hit, found)
        for hit in self._books.hits("hit IS NULL AND tried > 0"):
            if now() - hit.tried > TOKEN_S:  # it was never posted: a token anew
                self._books.change(hit.number, attempt=hit.attempt + 1, tried=0)

    def _create(self, hit: Hit) -> None:
        request = self._books.request(hit.request)
        assert request is not None
        question = self._question.of(request)
        kind = self._type(hit.reward, self._gate.closed_to(request, hit.part))
        if hit.tried and now() - hit.tried > TOKEN_S:
            self.adopt_orphans()
        if (intended := self._intend(hit.number)) is None:
            return
        hit = intended
        try:
            made = self._service.call(
                "create_hit_with_hit_type",
                HITTypeId=kind,
                MaxAssignments=hit.planned,
                LifetimeInSeconds=self._life(request),
                Question=question,
                RequesterAnnotation=self._name(hit),
                UniqueRequestToken=self._token(hit),
            )["HIT"]
            self._posted(hit, made)
        except Refused as e:
            if e.code.lower() != "hitalreadyexists":
                raise
            self._adopt(hit, e)

    def _intend(self, number: int) -> Hit | None:
        """Write down that a HIT is tried; None where it has been found, or the driver has withdrawn it, meanwhile."""
        with self._books.writing():
            (hit,) = self._books.hits("number = ?", number)
            if hit.hit is not None or hit.withdrawn:
                return None
            if not hit.tried:
                self._books.change(number, tried=now())
        return hit

    def _adopt(self, hit: Hit, said: Refused) -> None:
        """The HIT is there already, and the error names it."""
        for name in _HIT_ID.findall(said.said):
            found = self._service.call("get_hit", HITId=name)["HIT"]
            if found.get("RequesterAnnotation") == self._name(hit):
                self._posted(hit, found)
                return
        self.adopt_orphans()
        if self._books.hits("number = ?", hit.number)[0].hit is None:
            raise said

    def _posted(self, hit: Hit, made: dict[str, Any]) -> None:
        """Write down a HIT that Amazon has; one that had been given up is ended and collected, as any that is there."""
        posted, ends, kind = made["MaxAssignments"], made["Expiration"].timestamp(), made["HITTypeId"]
        with self._books.writing():
            if self._books.hits("number = ? AND hit IS NULL", hit.number):  # else the other thread has found it
                self._books.change(hit.number, hit=made["HITId"], posted=posted, ends=ends, type=kind, done=0)

    def _grow(self, hit: Hit) -> None:
        """More assignments for a HIT, which is offered anew for them."""
        request = self._books.request(hit.request)
        assert request is not None
        there = self._service.call("get_hit", HITId=hit.hit)["HIT"]["MaxAssignments"]
        if there < hit.planned:
            try:
                self._service.call(
                    "create_additional_assignments_for_hit",
                    HITId=hit.hit,
                    NumberOfAdditionalAssignments=hit.planned - there,
                    UniqueRequestToken=keyed.digest(self._token(hit), "more", there, hit.planned, length=64),
                )
            except Refused:  # it may say that the same token has done it already
                there = self._service.call("get_hit", HITId=hit.hit)["HIT"]["MaxAssignments"]
                if there < hit.planned:
                    raise
        life = self._life(request)
        self._service.call(
            "update_expiration_for_hit", HITId=hit.hit, ExpireAt=datetime.now(UTC) + timedelta(seconds=life)
        )
        self._books.change(hit.number, posted=hit.planned, ends=now() + life)

    def _type(self, reward: int, kept_out: tuple[str, ...]) -> str:
        key = (reward, kept_out)
        if key not in self._types:
            o = self._options
            title, description = self._question.advert()
            self._types[key] = self._service.call(
                "create_hit_type",
                AutoApprovalDelayInSeconds=round(o.auto_approve_days * 86_400),
                AssignmentDurationInSeconds=round(o.assignment_minutes * 60),
                Reward=f"{reward / 1e6:.2f}",
                Title=title,
                Description=description,
                Keywords=o.keywords,
                QualificationRequirements=o.qualifications(kept_out),
            )["HITTypeId"]
        return self._types[key]

    def _life(self, request: Request) -> int:
        most = self._options.lifetime_hours * 3600
        return max(30, round(min(most, request.deadline_s or most)))

    def _check_market(self) -> None:
        market, before = self._options.market, self._books.known("market")
        if before is not None and before != market:
            raise ConfigError(
                f"this run has posted to {before}, not to {market}; start another run for that, "
                "or give back the options that it had"
            )

    def _name(self, hit: Hit) -> str:
        """What finds a HIT again: at most 255 characters, whatever request ids look like."""
        return f"{MARK}:{self._books.namespace}:{keyed.digest(hit.request, length=32)}:{hit.part}"

    def _token(self, hit: Hit) -> str:
        return keyed.digest(self._books.namespace, hit.request, hit.part, hit.attempt, length=64)


def _cost(hits: Sequence[Hit]) -> int:
    """What HITs cost at most, micro-dollars."""
    return sum(h.planned * (h.reward + h.fee) for h in hits)
