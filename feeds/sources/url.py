"""What may be sent: URLs, query values and headers, checked before a byte goes out.

Why this file exists: a URL is built from settings and symbols, and a key may stand in it; here it is made sure that it
leads where its author wrote, that secrets leave encrypted only, and that no error repeats a query. Never in it:
network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote, urlencode, urlsplit

from yarl import URL

from feeds.sources.secret import Secret
from feeds.sources.source import BadRule

_URL = re.compile(
    r"(?P<scheme>https?|wss?)://(?P<host>[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(?P<rest>[/?]\S*)?"
)
_VISIBLE = re.compile(r"[!-~]+")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")

Params = Mapping[str, "str | int | Secret"]
Headers = Mapping[str, "str | Secret"]


def checked_url(url: str | Secret) -> URL:
    """The URL, if it is absolute, of http, https, ws or wss, without user, fragment or odd characters.

    A Secret is a URL that is a key as a whole (RPC providers put the key into the path): read now, https or wss only.
    Raises BadRule, which repeats neither a query nor a secret, and SecretMissing.
    """
    text = url.reveal() if isinstance(url, Secret) else url
    shown: object = text.partition("?")[0] if isinstance(text, str) else text
    if isinstance(url, Secret) or (isinstance(shown, str) and "@" in shown):
        shown = f"not shown ({url})" if isinstance(url, Secret) else "not shown (it names a user)"
    match = _URL.fullmatch(text) if isinstance(text, str) and _VISIBLE.fullmatch(text) and len(text) <= 8000 else None
    if match is None or "#" in text or "\\" in text:
        raise BadRule("url", shown, "http(s)://host/path without user, fragment or spaces, at most 8000 characters")
    try:
        found = URL(text, encoded=True)
        sound = bool(found.host) and 0 < (found.port or 0) < 65536
    except ValueError:
        sound = False
    if not sound:
        raise BadRule("url", shown, "a URL with a valid host and port")
    if isinstance(url, Secret):
        refuse_in_clear(found, shown)
    return found


def with_params(url: URL, params: Params | None) -> URL:
    """`url` with `params` percent-encoded behind its own query, secrets revealed. Raises BadRule, SecretMissing."""
    if not params:
        return url
    if any(isinstance(value, Secret) for value in params.values()):
        refuse_in_clear(url)
    pairs = [(key, value.reveal() if isinstance(value, Secret) else value) for key, value in params.items()]
    query = "&".join(part for part in (url.raw_query_string, urlencode(pairs, quote_via=quote)) if part)
    return URL(f"{str(url).partition('?')[0]}?{query}", encoded=True)


def revealed(source: str, url: URL, headers: Headers | None) -> dict[str, str]:
    """`headers` as they are sent to `url`, secrets revealed. Raises BadRule, SecretMissing."""
    found = {}
    for key, value in (headers or {}).items():
        if _TOKEN.fullmatch(key) is None:
            raise BadRule(f"source {source}: a header's name", key, "a token of RFC 9110, 5.6.2")
        if isinstance(value, Secret):
            refuse_in_clear(url)
            found[key] = value.reveal()
        elif value.isascii() and value.isprintable():
            found[key] = value
        else:
            raise BadRule(f"source {source}: header {key}", value, "printable ASCII")
    return found


def refuse_in_clear(url: URL, shown: object = None) -> None:
    """Raise BadRule where a secret would leave this machine unencrypted."""
    if url.scheme not in ("https", "wss") and (url.raw_host or "") not in _LOOPBACK:
        given = shown or str(url).partition("?")[0]
        raise BadRule("url", given, "https (or wss) where a secret is sent")


def without_keys(text: str, url: str) -> str:
    """`text` with every part of the URL's path and query that may be a key replaced by three stars.

    >>> without_keys("no such key 0123456789ab for rpc.example", "https://rpc.example/v3/0123456789ab?x=1")
    'no such key *** for rpc.example'
    """
    parts = urlsplit(url)
    parts_of_it = re.split(r"[/?&=;,]+", f"{parts.path}?{parts.query}")
    words = {word for part in parts_of_it for word in (part, unquote(part)) if len(word) >= 6}
    for word in sorted(words, key=len, reverse=True):
        text = re.sub(re.escape(word), "***", text, flags=re.IGNORECASE)
    return text
