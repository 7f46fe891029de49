"""What people hold: signed links and sessions, and ids that tell nothing."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Literal, NamedTuple

Salt = Literal["join", "session"]
DAY_S = 86_400


class Claim(NamedTuple):
    """What a valid token says; whether it still holds, the desk knows (``people.admit``).

    ``session`` names one session of a person; a link's is empty.
    """

    person: str
    epoch: int
    session: str = ""


class Tokens:
    """Makes and reads tokens; links and sessions run out after ``days``."""

    def __init__(self, secret: str, days: float) -> None:
        self._secret, self.days = secret, days

    def link(self, person: str, epoch: int) -> str:
        """The token of a personal link."""
        return self._sign("join", [person, epoch])

    def session(self, claim: Claim) -> str:
        """The token of a new session of whom a link names."""
        return self._sign("session", [claim.person, claim.epoch, secrets.token_urlsafe(16)])

    def read(self, salt: Salt, token: str) -> Claim | None:
        """What a token says; None where it is forged, damaged or too old."""
        from itsdangerous import BadData, URLSafeTimedSerializer

        try:
            said = URLSafeTimedSerializer(self._secret, salt=salt).loads(token, max_age=int(self.days * DAY_S))
        except BadData:
            return None
        return Claim(*said)

    def csrf(self, claim: Claim) -> str:
        """What every change that this session asks for has to carry."""
        return self.opaque("csrf", claim.session)

    def opaque(self, *key: str) -> str:
        """32 hexadecimal digits that only this desk can make of a key."""
        text = "\0".join(key).encode("utf-8", "surrogatepass")
        return hmac.new(self._secret.encode(), text, hashlib.sha256).hexdigest()[:32]

    def _sign(self, salt: Salt, value: list[str | int]) -> str:
        from itsdangerous import URLSafeTimedSerializer

        signed = URLSafeTimedSerializer(self._secret, salt=salt).dumps(value)
        return signed if isinstance(signed, str) else signed.decode("ascii")
