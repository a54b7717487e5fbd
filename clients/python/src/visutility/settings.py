"""Settings: where the server is, and the token that it wants."""

from __future__ import annotations

import os
from urllib.parse import SplitResult, urlsplit

DEFAULT_URL = "http://127.0.0.1:8080"


def server_url(url: str | None) -> SplitResult:
    """The server's address: ``url``, else $VISUTILITY_URL, else this machine. ValueError says what is wrong with it."""
    given = url or os.environ.get("VISUTILITY_URL") or DEFAULT_URL
    parts = urlsplit(given if "://" in given else "http://" + given)
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL holds a user or password; pass token=… or set VISUTILITY_TOKEN_FILE instead")
    _ = parts.port  # raises ValueError where it is no number
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{given!r} is not the address of a server, such as {DEFAULT_URL} or https://visutility.example.com")
    return parts


class Token:
    """The token, if any: given, else the content of the file $VISUTILITY_TOKEN_FILE, else $VISUTILITY_TOKEN.

    Of the file each reading counts, so that a token can be replaced while the program runs.
    """

    def __init__(self, given: str | None) -> None:
        self._file = os.environ.get("VISUTILITY_TOKEN_FILE", "") if given is None else ""
        self._value = given if given is not None else os.environ.get("VISUTILITY_TOKEN", "")
        self.read()

    def read(self) -> str:
        """The token now, "" for none. OSError where the file cannot be read, ValueError where it is no token."""
        value = self._value
        if self._file:
            with open(self._file, encoding="ascii") as f:
                value = f.read(4096)
        value = value.strip()
        if not all(" " <= c <= "~" for c in value):  # what it is, is nobody's business
            raise ValueError("the token holds something other than printable ASCII")
        return value
