# No "from __future__ import annotations" here: FastAPI reads annotations, and its types are imported in functions.
"""The web application: pages, images, and the routes of ``api`` and ``owner``, inside the guard."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gtloop.errors import BadImage, SourceError
from gtloop_plugins.annotators.local.crowd import PATH
from gtloop_plugins.annotators.local.guard import FAULT, App, Guard, Scope, claim_of, failure
from gtloop_plugins.annotators.local.people import Person
from gtloop_plugins.annotators.local.refused import Refused
from gtloop_plugins.annotators.local.site import Site
from gtloop_plugins.annotators.local.tokens import Claim

HERE = Path(__file__).parent
ENVELOPE = 4 << 10
"""Bytes of a body round the payload or draft that it carries."""
MASKS, OTHERS, DRAFT = 8 << 20, 1 << 20, 1 << 20
FRAME_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; frame-ancestors 'self'"
)
PAGES = {400: "That is not right", 401: "Sign in", 403: "Not allowed", 404: "Not found", 429: "Too fast"}


def make_app(site: Site) -> Any:
    """The FastAPI application, without its guard; its ``openapi()`` describes the interface."""
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError
    from fastapi.staticfiles import StaticFiles
    from starlette.exceptions import HTTPException

    from gtloop_plugins.annotators.local.api import label_routes
    from gtloop_plugins.annotators.local.owner import owner_routes

    app = FastAPI(title="gtloop: the local page", openapi_url=None, docs_url=None, redoc_url=None)

    fail = failing()

    def refused(request: Any, e: Any) -> Any:
        return fail(request.scope, e.status, e.code, str(e))

    def invalid(request: Any, e: Any) -> Any:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "body"
        return fail(request.scope, 422, "bad_request", " ".join(f"{where}: {first['msg']}".split()))

    def plain(request: Any, e: Any) -> Any:
        code = {404: "not_found", 405: "wrong_method"}.get(e.status_code, "bad_request")
        return fail(request.scope, e.status_code, code, str(e.detail))

    def fault(request: Any, e: Any) -> Any:  # the guard logs it
        return fail(request.scope, 500, "fault", FAULT)

    def away(request: Any, e: Any) -> Any:  # without the error: it names the image
        return fail(request.scope, 503, "images_away", "the images can't be reached just now; try again in a while")

    handlers: dict[Any, Any] = {
        **{Refused: refused, SourceError: away},
        **{RequestValidationError: invalid, HTTPException: plain},
    }
    for kind, handler in {**handlers, Exception: fault}.items():
        app.add_exception_handler(kind, handler)
    app.include_router(label_routes(site))
    app.include_router(owner_routes(site))
    app.include_router(_pages(site))
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    return app


def guarded(site: Site) -> App:
    """The application as it is served."""
    payload = MASKS if site.checker.masks else OTHERS
    bodies = {"/api/submit": payload + ENVELOPE, "/api/draft": DRAFT + ENVELOPE}
    address = site.address
    return Guard(make_app(site), site.tokens, address.answers_to, {address.url}, site.cookie, bodies, failing())


def failing() -> Callable[[Scope, int, str, str], App]:
    """Makes the answer to what was refused: a page where a page was asked for, else JSON."""
    render = _renderer()

    def fail(scope: Scope, status: int, code: str, text: str) -> App:
        if scope["path"].startswith(("/api/", "/static/", "/image/", "/sample/")):
            return failure(status, code, text)
        title = PAGES.get(status, "Something went wrong")
        page: App = render("error.html", status, csrf="", name="", role="", title=title, message=text, status=status)
        return page

    return fail


def _renderer() -> Any:
    from fastapi.responses import HTMLResponse
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Everything is escaped, whatever a template is called.
    templates = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined)

    def render(template: str, code: int = 200, **values: Any) -> Any:
        return HTMLResponse(templates.get_template(template).render(**values), code)

    return render


def _pages(site: Site) -> Any:
    from urllib.parse import parse_qs

    from fastapi import APIRouter, Request
    from fastapi.responses import RedirectResponse, Response

    router = APIRouter(include_in_schema=False)
    render = _renderer()

    def page(template: str, title: str, claim: Claim, person: Person) -> Any:
        values = {"csrf": site.tokens.csrf(claim), "name": person.name, "role": person.role, "title": title}
        return render(template, **values)

    @router.get("/", response_model=None)
    def label(request: Request) -> Any:
        claim = claim_of(request.scope)
        return page("label.html", "Label", claim, site.people.admitted(claim))

    @router.get("/dashboard")
    def dashboard(request: Request) -> Any:
        claim = claim_of(request.scope)
        person = site.people.admitted(claim)
        if person.role != "owner":
            raise Refused(403, "owner_only", "only the owner of the run sees this page")
        return page("dashboard.html", "Dashboard", claim, person)

    def invited(token: str) -> tuple[Claim, Person]:
        claim = site.tokens.read("join", token)
        if claim is None:
            raise Refused(401, "bad_link", "this link is not valid, or has run out; ask for a new one")
        return claim, site.people.admitted(claim)

    @router.get("/join/{token}")
    def join(token: str) -> Any:
        _, person = invited(token)
        return welcome(person, token)

    def welcome(person: Person, token: str, greeting: str = "") -> Any:
        values = {"csrf": "", "name": person.name, "role": person.role, "title": "Welcome", "token": token}
        return render("join.html", **values, greeting=greeting)

    @router.get(PATH)
    def arrive(request: Request) -> Any:
        if site.crowd is None:
            raise Refused(404, "not_found", "this run has no work for people from outside")
        who = site.crowd.arrive(dict(request.query_params))
        person = site.people.ensure(who.name, "guest")
        shift = None
        if site.crowd.admits(person.id):
            shift = site.shifts.begin(who.shift, person.id, who.images, who.lasts_s, who.note)
        if shift is not None and shift.left:
            return welcome(person, site.tokens.link(person.id, person.epoch), who.greeting)
        said = site.crowd.farewell(who.note, shift)
        return render("leave.html", csrf="", title="Thank you", said=said)

    @router.post("/join")
    async def enter(request: Request) -> Response:
        from anyio.to_thread import run_sync

        try:
            form = parse_qs((await request.body()).decode("latin-1"), max_num_fields=8)
        except ValueError:
            raise Refused(400, "bad_request", "that is no form with a token") from None
        claim, person = await run_sync(invited, form.get("token", [""])[0])
        response = RedirectResponse("/dashboard" if person.role == "owner" else "/", 303)
        response.set_cookie(
            site.cookie,
            site.tokens.session(claim),
            max_age=int(site.tokens.days * 86_400),
            httponly=True,
            samesite="strict",
            secure=site.address.secure,
        )
        return response

    @router.get("/image/{image}")
    def image(request: Request, image: str) -> Any:
        item = site.work.item(claim_of(request.scope), image=image)
        return _picture(site, request.headers.get("if-none-match"), item.uri)

    @router.get("/sample/{number}")
    def sample(request: Request, number: int) -> Any:
        site.people.admitted(claim_of(request.scope))
        if not 0 <= number < len(site.form.samples):
            raise Refused(404, "not_found", "there is no such sample")
        return _picture(site, request.headers.get("if-none-match"), site.form.samples[number].path)

    @router.get("/frame/{task}")
    def frame(request: Request, task: str) -> Response:
        site.work.item(claim_of(request.scope), task=task)
        html = next((p.html for p in site.form.primitives if p.html is not None), None)
        if html is None:
            raise Refused(404, "not_found", "this task has no page of its own")
        headers = {"content-security-policy": FRAME_POLICY}
        return Response(html, media_type="text/html; charset=utf-8", headers=headers)

    return router


def _picture(site: Site, known: str | None, uri: str) -> Any:
    from fastapi.responses import Response

    try:
        picture = site.pictures.get(uri)
    except BadImage as e:
        raise Refused(404, "image_gone", f"this image can't be shown ({e}); skip it") from None
    # Kept by the browser, yet asked for each time: who was kept out sees it no more.
    headers = {"etag": f'"{picture.etag}"', "cache-control": "private, no-cache"}
    if known == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(picture.data, media_type=picture.media, headers=headers)
