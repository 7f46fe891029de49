# No "from __future__ import annotations" here: FastAPI reads annotations, and its types are imported in functions.
"""Routes of the owner: the dashboard, people and their links, pausing the run."""

from typing import Annotated, Any, Literal

from pydantic import StringConstraints

from gtloop_plugins.annotators.local import figures
from gtloop_plugins.annotators.local.api import Body
from gtloop_plugins.annotators.local.guard import claim_of
from gtloop_plugins.annotators.local.people import Person
from gtloop_plugins.annotators.local.refused import Refused
from gtloop_plugins.annotators.local.site import Site
from gtloop_plugins.annotators.local.tokens import Claim

Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]+$")
]


class PersonBody(Body):
    name: Name
    role: Literal["annotator", "reviewer"] = "annotator"


def owner_routes(site: Site) -> Any:
    """The router of these routes."""
    from fastapi import APIRouter, Depends, Request
    from fastapi.responses import JSONResponse

    def owner(request: Request) -> Claim:
        claim = claim_of(request.scope)
        if site.people.admitted(claim).role != "owner":
            raise Refused(403, "owner_only", "only the owner of the run may do this")
        return claim

    router = APIRouter(prefix="/api", dependencies=[Depends(owner)])

    @router.get("/dashboard")
    def dashboard() -> JSONResponse:
        view = site.watch.view
        desk = {
            **site.desk.counts(),
            "people": figures.people(site.database, site.people.everybody()),
            "throughput": figures.throughput(site.database),
            "hours": figures.hours(site.database),
        }
        return JSONResponse({"status": view.status, "desk": desk, "events": view.events, "history": view.history})

    @router.post("/people")
    def invite(body: PersonBody) -> JSONResponse:
        try:
            body.name.encode()
        except UnicodeEncodeError:
            raise Refused(422, "bad_request", "name: it is no text") from None
        return JSONResponse(_linked(site, site.people.invite(body.name, body.role)))

    @router.post("/people/{person}/link")
    def link(person: str) -> JSONResponse:
        return JSONResponse(_linked(site, site.people.relink(person)))

    @router.post("/people/{person}/revoke")
    def revoke(person: str) -> JSONResponse:
        site.people.revoke(person)
        return JSONResponse({"ok": True})

    @router.post("/run/pause")
    def pause() -> JSONResponse:
        import gtloop
        from gtloop.errors import GtloopError

        if site.root is None:
            raise Refused(409, "no_run", "there is no run to pause")
        try:
            gtloop.open(site.root).pause("asked for at the dashboard")
        except GtloopError as e:
            raise Refused(409, "not_paused", str(e)) from None
        return JSONResponse({"ok": True})

    return router


def _linked(site: Site, person: Person) -> dict[str, Any]:
    return {"id": person.id, "name": person.name, "role": person.role, "link": site.link(person)}
