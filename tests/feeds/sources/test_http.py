import asyncio
import gzip

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from feeds.sources.http import Answer, Http, HttpLimits
from feeds.sources.secret import Secret
from feeds.sources.source import (
    BadRule,
    FeedError,
    MalformedAnswer,
    RateLimited,
    SourceClosed,
    SourceUnavailable,
)
from feeds.sources.url import checked_url
from feeds.types import SECOND, Micros
from tests.feeds.sources.check_suite import LIMITS
from tests.feeds.sources.hostile import HostileServer
from tests.feeds.sources.http_faults import FAULTS, HARMLESS, MAY_PASS

KEY = "k3y-not-to-be-seen"


async def honest(request):
    echo = {"query": dict(request.query), "key": request.headers.get("X-Key"), "body": (await request.read()).decode()}
    return web.json_response({"price": "1.5", **echo})


@pytest.fixture
async def server():
    async with HostileServer(honest) as found:
        yield found


async def test_request__honest__answer_with_what_was_sent(http, server, time, monkeypatch):
    monkeypatch.setenv("DODONA_TEST_KEY", KEY)
    secret = Secret.parse("env:DODONA_TEST_KEY")
    answer = await http.request(
        "s",
        "POST",
        f"{server.url}/a?x=1",
        params={"y": "a b&c=d", "k": secret},
        headers={"X-Key": secret},
        json={"n": 1},
    )
    assert (answer.status, answer.requested_at, answer.received_at) == (200, time.now, time.now)
    assert answer.json() == {
        "price": "1.5", "query": {"x": "1", "y": "a b&c=d", "k": KEY}, "key": KEY, "body": '{"n":1}'
    }  # fmt: skip


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - HARMLESS - MAY_PASS))
async def test_request__fault__a_feed_error_in_the_sources_name_without_the_key(http, server, fault, monkeypatch):
    monkeypatch.setenv("DODONA_TEST_KEY", KEY)
    server.always = fault
    with pytest.raises(FeedError) as caught:
        answer = await http.request("kraken", "GET", server.url, params={"k": Secret.parse("env:DODONA_TEST_KEY")})
        document = answer.json()
        assert document in (None, {}, []) or "error" in document
        raise SourceUnavailable("kraken", "sound JSON, of which the source must make what it can")
    assert caught.value.source == "kraken"
    assert KEY not in repr(caught.value) and caught.value.__context__ is None


async def test_request__library_with_the_session__meets_the_same_bounds(http, server):
    for fault in ("bomb", "deflate_bomb", "oversized", "flood", "deep", "deep_closed"):
        server.always = fault
        with pytest.raises(aiohttp.ClientPayloadError, match=r"bytes|deeper"):
            async with http.session.get(server.url) as response:
                await response.text(errors="replace")
    server.always = "redirect"
    with pytest.raises(SourceUnavailable, match="redirects"):
        await http.session.get(server.url)
    server.always = "429_seconds"
    with pytest.raises(RateLimited):
        await http.session.get(server.url)


async def test_request__cookies_and_environment_proxies__ignored(http, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    seen = []

    async def with_cookie(request):
        seen.append(request.headers.get("Cookie"))
        return web.json_response({}, headers={"Set-Cookie": "a=1; Path=/"})

    async with HostileServer(with_cookie) as server:
        for _ in range(2):
            await http.request("s", "GET", server.url)
    assert seen == [None, None]


async def test_request__retry_after__at_once_refused_until_then_for_every_source(http, server, time):
    server.script = ["429_seconds", "503_seconds", "429_date", "429_forever", "429"]
    for span in (2, 1, 3, LIMITS.most_retry_after_s, LIMITS.rest_s):
        with pytest.raises(RateLimited) as caught:
            await http.request("one", "GET", server.url)
        assert caught.value.retry_at == time.now + span * SECOND
        asked = server.requests
        time.advance(span - 0.5)
        with pytest.raises(RateLimited) as caught:
            await http.request("another", "GET", f"{server.url}/elsewhere")
        assert (caught.value.source, server.requests) == ("another", asked)
        assert caught.value.retry_at == pytest.approx(time.now + SECOND // 2, abs=2)
        time.advance(1)
    assert (await http.request("one", "GET", server.url)).status == 200


async def test_request__five_failures__circuit_opens_and_one_answer_closes_it(server, time):
    limits = HttpLimits(failures=5, rest_s=5, read_s=0.1, total_s=0.2)
    http = Http(clock=time.clock, limits=limits, steady=time.steady, pause=time.pause)
    server.script = ["500", "reset", "cut_body", "502_html", "no_http"]
    while server.requests < 5:  # aiohttp itself asks again once where a kept connection was cut
        with pytest.raises(SourceUnavailable) as caught:
            await http.request("s", "GET", server.url)
        assert not isinstance(caught.value, RateLimited)
    with pytest.raises(RateLimited, match="5 times in a row"):
        await http.request("s", "GET", server.url)
    assert server.requests == 5 and len(http.held) == 1
    time.advance(5.1)
    assert (await http.request("s", "GET", server.url)).status == 200
    assert http.held == {}
    await http.close()


async def test_request__host_with_a_rate__turns_are_waited_for_and_a_queue_too_long_refused(server, time):
    http = Http(clock=time.clock, limits=HttpLimits(total_s=3), steady=time.steady, pause=time.pause)
    http.slow_down(server.url, rate=0.5)
    began = time.now
    for _ in range(3):
        await http.request("s", "GET", server.url)
    assert time.now - began == 4 * SECOND
    stuck = Http(clock=time.clock, limits=HttpLimits(total_s=3), steady=lambda: 0.0, pause=time.pause)
    stuck.slow_down(server.url, rate=0.5)
    for _ in range(2):
        await stuck.request("s", "GET", server.url)
    with pytest.raises(RateLimited, match="more requests wait"):
        await stuck.request("s", "GET", server.url)
    await http.close()
    await stuck.close()


async def test_request__error_body_wanted__answer_with_its_status(http, server):
    server.always = "451_region"
    answer = await http.request("s", "GET", server.url, any_status=True)
    assert (answer.status, answer.json()["code"]) == (451, 0)


async def test_skew__from_dates__reported_per_host_and_never_applied(http, server, time):
    server.always = "skewed"
    answer = await http.request("s", "GET", server.url)
    assert answer.received_at == time.now
    (host,) = http.skew
    assert server.url.endswith(host)
    assert http.skew[host] > 100 * 86_400


async def test_close__in_use_and_twice__later_requests_refused(http, server):
    server.always = "hang"
    running = asyncio.ensure_future(http.request("s", "GET", server.url))
    while not server.requests:
        await asyncio.sleep(0.001)
    await http.close()
    await http.close()
    with pytest.raises(FeedError):
        await running
    with pytest.raises(SourceClosed):
        await http.request("s", "GET", server.url)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/b", "file:///etc/passwd", "//a/b", "a/b", "http://", "http://u:pw@a/", "http://a b/", "http://a/\n",
        "http://a/#f", "http://a\\@b/", "http://a:99999/", "http://[::1/", "javascript:1", "http://é/", "", None,
    ],
)  # fmt: skip
async def test_request__odd_url__refused_before_anything_is_sent(http, url):
    with pytest.raises(BadRule, match="url") as caught:
        await http.request("s", "GET", url)
    assert "pw" not in str(caught.value)


async def test_request__secret_in_clear_to_elsewhere__refused(http, monkeypatch):
    monkeypatch.setenv("DODONA_TEST_KEY", f"http://example.org/{KEY}")
    secret = Secret.parse("env:DODONA_TEST_KEY")
    for url, how in (
        ("http://example.org/", {"headers": {"K": secret}}),
        ("http://example.org/", {"params": {"k": secret}}),
        (secret, {}),
    ):
        with pytest.raises(BadRule, match="https") as caught:
            await http.request("s", "GET", url, **how)
        assert KEY not in str(caught.value)


async def test_request__header_that_would_split__refused(http, server):
    for headers in ({"X": "a\r\nY: b"}, {"X\n": "a"}, {"X": "é"}, {"": "a"}):
        with pytest.raises(BadRule, match="header"):
            await http.request("s", "GET", server.url, headers=headers)
    assert server.requests == 0


@given(st.text(max_size=60) | st.from_regex(r"https?://[a-z0-9.:@\[\]%-]{0,20}[/?#\\]?[!-~]{0,20}", fullmatch=True))
def test_checked_url__any_text__goes_to_the_host_that_is_written_or_is_refused(text):
    try:
        url = checked_url(text)
    except FeedError:
        return
    assert url.host and f"://{url.raw_authority}" in text
    assert url.user is None and url.fragment == ""


contents = st.dictionaries(
    st.sampled_from(["Content-Type"]), st.text(max_size=30) | st.just("application/json; charset=x")
)


@given(st.binary(max_size=30) | st.just(b"{}"), contents)
def test_answer__any_body_and_type__json_or_malformed(body, headers):
    answer = Answer("s", 200, body, headers, Micros(1), Micros(2))
    try:
        answer.json()
    except MalformedAnswer:
        return
    assert "json" in headers["Content-Type"].lower()


async def test_request__any_bytes_as_http__answer_or_feed_error(time):
    """A server that answers with raw bytes near HTTP: whatever comes, an `Answer` or a FeedError."""
    heads = (
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 999 X\r\n", b"HTTP/9.9 200\r\n", b"Content-Length: 2\r\n", b"\x00",
        b"Content-Length: x\r\n", b"Content-Encoding: gzip\r\n", b"Content-Encoding: deflate\r\n", b": \r\n", b"{}",
        b"Transfer-Encoding: chunked\r\n", b"\r\n", b"2\r\n{}\r\n0\r\n\r\n", gzip.compress(b"{}"), b"Location: \r\n",
        b"Date: \xff\r\n", b"Retry-After: -9\r\n", b"Set-Cookie: ;;\r\n", b"Content-Type: application/json\r\n",
        b"X" * 9000 + b": 1\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n",
    )  # fmt: skip
    outcomes = {"answer": 0, "error": 0}
    async with HostileServer(honest, seed=1) as server:
        http = Http(clock=time.clock, limits=LIMITS, steady=time.steady, pause=time.pause)
        for _ in range(150):
            rng = server.rng
            data = b"".join([heads[0]] * (rng.random() < 0.8) + rng.choices(heads, k=rng.randint(0, 6)))

            async def raw(server, request, data=data):
                request.transport.write(data)
                request.transport.close()
                return web.Response()

            FAULTS["raw"] = raw
            server.always = "raw"
            try:
                await http.request("s", "GET", server.url)
                outcomes["answer"] += 1
            except FeedError:
                outcomes["error"] += 1
            finally:
                del FAULTS["raw"]
            time.advance(11)
        await http.close()
    assert min(outcomes.values()) > 5, outcomes


async def test_slow_down__host_written_in_other_letters__is_the_same_host(http):
    http.slow_down("https://API.example/a", 0.5)
    http.slow_down("https://api.example:443/b", 2.0)
    assert list(http._hosts) == ["api.example"]
