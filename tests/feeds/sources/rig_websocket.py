"""A plain websocket of prices in the check suite: what every streaming source stands on."""

import json

from feeds.sources.source import MalformedAnswer, QuoteGate
from tests.feeds.sources.check_suite import Rig
from tests.feeds.sources.hostile import open_socket


def prices(time):
    """After one `subscribe`, a price of each symbol again and again."""

    async def honest(request):
        socket = await open_socket(request)
        if await socket.receive(0.5) == '{"op":"subscribe"}':
            while not socket.raw.closed and not socket.server.stopping:
                for symbol, price in (("A/B", "1.25"), ("C/D", "7")):
                    await socket.send(json.dumps({"symbol": symbol, "price": price}))
                if await socket.receive(0.002) is None and request.transport is None:
                    break
        return socket.raw

    return honest


class PriceStream:
    """A `Streamer`: the least that one is."""

    def __init__(self, stage):
        self.name, self.symbols, self.gate = "stream", ("A/B", "C/D"), QuoteGate("stream")
        self._stage = stage

    async def stream(self):
        async with await self._stage.http.websocket(self.name, self._stage.ws_url) as socket:
            await socket.send_json({"op": "subscribe"})
            while True:
                message = await socket.receive_json()
                if not isinstance(message, dict) or message.get("symbol") not in self.symbols:
                    raise MalformedAnswer(self.name, message, "a price of a symbol asked for")
                known_at = socket.received_at
                quote = self.gate.admit(message["symbol"], message.get("price"), None, known_at, known_at)
                yield [] if quote is None else [quote]

    async def close(self):
        """Nothing is its own."""


RIGS = [Rig("websocket", PriceStream, {"A/B": 1.25, "C/D": 7.0}, prices)]
