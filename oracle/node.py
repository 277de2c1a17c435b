"""One validator: builds everything and performs effects. The only file that knows all the parts.

Why this file exists: the round is pure, so somebody has to poll, sign, send, set timers and talk to the chain for it.
Never in it: rules of the round, formats, SQL, HTTP.

Every piece of work runs under `_supervised`, the one place that catches whatever was not foreseen: it is logged with
its traceback, counted, shown in /health, and the part goes on. The rest of the code catches what it names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, ParamSpec, TypeVar

import structlog

from feeds.types import Micros
from oracle.chain.adapter import ChainAdapter
from oracle.clock import Activity, Clock
from oracle.config import LocalConfig
from oracle.consensus.events import (
    Accuse,
    Attested,
    Broadcast,
    Count,
    Effect,
    Event,
    Observe,
    Observed,
    ReadHeads,
    Received,
    Send,
    SetTimer,
    Sign,
    Signed,
    SignRefused,
    TimerFired,
    Transmit,
)
from oracle.consensus.messages import Message, SignedObservation
from oracle.consensus.network import NetworkConfig, Slot
from oracle.consensus.verify import screen
from oracle.consensus.wire import config_digest_of, decode, encode
from oracle.epochs import Epoch, Epochs
from oracle.errors import ChainFault, JournalFault, SlotAlreadySigned, WrongDigest
from oracle.journal import Journal, OwnValue
from oracle.keys import HotKey, recover
from oracle.logbook import Logbook
from oracle.peers import Busy, Outbox
from oracle.service.api import Health, Json
from oracle.service.metrics import Metrics
from oracle.watch import Sighting, Watch

MAX_INBOX = 2048
REFRESH_SLOTS = 16
READ_TRIES = 3
RETRY_S = 0.5
GAS_OF_A_TRANSMIT = 500_000

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Told:
    """An event on its way to a core; `peer`: whose message it is, None for our own."""

    digest: bytes
    event: Event
    peer: str | None


class Node:
    """One validator between its parts: `warm_up`, `join`, then `run` works until it is cancelled; `close` ends it."""

    def __init__(
        self, config: LocalConfig, key: HotKey, journal: Journal, chain: ChainAdapter, watch: Watch, clock: Clock
    ) -> None:
        self.config, self.clock = config, clock
        self.activity, self.metrics = Activity(), Metrics()
        self.book = Logbook(self.metrics)
        self.outbox = Outbox(clock, self.activity, self.metrics)
        self._key, self._journal, self._chain, self._watch = key, journal, chain, watch
        self._log = structlog.get_logger().bind(node=config.node.name)
        self._queue: asyncio.Queue[_Told] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._journal_thread = ThreadPoolExecutor(1, "journal")
        self._model_thread = ThreadPoolExecutor(1, "models")
        self._quote_thread = ThreadPoolExecutor(1, "quotes")
        self._watching = asyncio.Lock()
        self._epochs = Epochs(clock, key.address, journal.empty, self._tell, self._on_slot)
        self._slots_seen = 0

    # What the service may ask

    def health(self) -> Health:
        """Its health now; every reason names the thing and the mend."""
        return Health(self.book.reasons(self.clock.now_ms()), self.book.warnings)

    def status(self) -> Json:
        """Who it is, where it is, what it runs."""
        epoch = self._epochs.active()
        row = None if epoch is None else epoch.config.index_of(self._key.address)
        return {
            "name": self.config.node.name,
            "address": self._key.checksum_address,
            "row": row,
            "chain_id": self.config.chain.chain_id,
            "aggregator": self.config.chain.aggregator,
            "config_count": None if epoch is None else epoch.config.count,
            "config_digest": None if epoch is None else "0x" + epoch.config.digest.hex(),
            "now_ms": self.clock.now_ms(),
            "slot": self._epochs.slot,
            "last_completed": self.book.last_completed,
            "peers": {"0x" + address.hex(): url for address, url in self.outbox.peers.items()},
            "sources_down": dict(self._watch.down),
            "sources_named": self.book.named,
            "evidence": self.book.evidence,
            "healthy": self.health().ok,
        }

    def round(self, slot: int) -> Json | None:
        """What it knows of one slot; None if nothing."""
        return self.book.round(slot)

    # Life

    async def warm_up(self) -> None:
        """Poll the sources and bring the panels up to now."""
        now = Micros(self.clock.now_ms() * 1000)
        async with self._watching:
            await self._watch.poll(now)
            await self._in_thread(self._quote_thread, self._watch.save)
            await self._in_thread(self._model_thread, self._watch.advance, now)

    async def join(self) -> None:
        """Read the configs and peers, enter the slot. Raises ChainFault if the chain cannot be read now."""
        with self.activity.work():
            self._adopt(await self._chain.network_configs())
            await self._refresh()

    async def run(self) -> None:
        """Work until cancelled."""
        await self._supervised("rounds", self._handle_events, forever=True)

    async def close(self) -> None:
        """Stop everything that was started, in order; what was signed stays in the journal."""
        self.clock.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.outbox.close()
        self._model_thread.shutdown(wait=True, cancel_futures=True)
        self._quote_thread.shutdown(wait=True)
        self._journal_thread.shutdown(wait=True)

    def accept(self, body: bytes, peer: str) -> None:
        """A peer's bytes: queued as a message. Raises PeerFault or Busy."""
        epoch = self._epochs.get(config_digest_of(body))
        if epoch is None:
            raise WrongDigest("message is for a config that is not worked on", given=body[1:33].hex())
        if self._queue.qsize() >= MAX_INBOX:
            raise Busy
        screen(epoch.config, body, recover, self.clock.now_ms())
        message = decode(body, epoch.config)
        self.metrics.received.add(kind=type(message).__name__)
        self._tell(epoch.config.digest, Received(message), peer)

    # Supervision

    async def _supervised(self, part: str, work: Callable[[], Awaitable[None]], *, forever: bool = False) -> None:
        """Run `work`; whatever it raises is loud and counted. `forever`: start it again, each time a little later."""
        pause = RETRY_S
        while True:
            try:
                await work()
                if not forever:
                    return
            except Exception as error:  # the one supervisor: a part may fail, the node stays up and says so
                self.metrics.restarts.add(part=part)
                foreseen = isinstance(error, JournalFault)  # the disk's doing: as loud, without our stack
                said = str(error) if foreseen else f"{type(error).__name__}: {error}; see the log"
                self.book.trouble(part, self.clock.now_ms(), said)
                self._log.error("part failed", part=part, why=said, exc_info=not foreseen)
                if not forever:
                    return
            await asyncio.sleep(pause)
            pause = min(2 * pause, 30.0)

    def _start(self, part: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the rest, counted as work in progress."""
        self.activity.begin()

        async def _run() -> None:
            await work

        task = asyncio.create_task(self._supervised(part, _run), name=part)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.activity.end()

    async def _in_thread(self, pool: ThreadPoolExecutor, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, partial(work, *args, **named))

    # Events in

    def _tell(self, digest: bytes, event: Event, peer: str | None = None) -> None:
        """Queue an event for a core; it counts as work in progress until its effects are under way."""
        self.activity.begin()
        self._queue.put_nowait(_Told(digest, event, peer))

    async def _handle_events(self) -> None:
        while True:
            told = await self._queue.get()
            epoch = self._epochs.get(told.digest)
            try:
                if epoch is not None:
                    self._handle(epoch, told)
            finally:
                self.activity.end()

    def _handle(self, epoch: Epoch, told: _Told) -> None:
        sound = False
        try:
            for effect in epoch.core.receive(told.event, self.clock.now_ms()):
                self._perform(epoch, effect, told.peer)
            sound = True
        finally:
            if not sound:
                self._epochs.rebuild(epoch)

    # Slots and the chain

    def _on_slot(self, epoch: Epoch, slot: Slot) -> None:
        """The clock entered a slot: say how we are, and look at the chain."""
        self._slots_seen += 1
        self.metrics.slot.set(slot)
        self._judge(epoch, slot)
        self._start("chain watch", self._watch_chain())

    def _judge(self, epoch: Epoch, slot: int) -> None:
        """Health that shows at a slot's start."""
        row = epoch.config.index_of(self._key.address)
        stranger = None if row is not None else f"{self._key.checksum_address} is no validator; register it in Staking"
        self.book.condition("validator", stranger)
        last = self.book.last_completed
        stalled = last is not None and slot - last > 10
        self.book.condition("rounds", f"no report since slot {last}; check peers and clock" if stalled else None)
        self.book.condition("quotes", self._watch.unsaved)
        unheard = [r.address.hex()[:8] for r in epoch.config.rows if r.address not in self.outbox.peers]
        unheard = [name for name in unheard if name != self._key.address.hex()[:8]]
        wrong = f"no usable endpoint of {', '.join(unheard)}; they have to register one" if unheard else None
        self.book.condition("peers", wrong)

    def _adopt(self, configs: tuple[NetworkConfig, ...]) -> None:
        """Work on these configs. Raises ConfigError where the settings contradict one of them."""
        for config in configs:
            self._watch.check(config)
        for config in self._epochs.adopt(configs):
            self._log.info("config adopted", count=config.count, first_slot=config.first_slot)

    async def _watch_chain(self) -> None:
        """Notice a new config; now and then read the rest that changes slowly."""
        try:
            if await self._chain.config_count() != self._epochs.newest or self._slots_seen % REFRESH_SLOTS == 0:
                self._adopt(await self._chain.network_configs())
                await self._refresh()
        except ChainFault as fault:
            self.book.condition("chain", str(fault))
        else:
            self.book.condition("chain", None)

    async def _refresh(self) -> None:
        """Endpoints of every validator of the configs in work, and our balance. Raises ChainFault."""
        book: dict[bytes, str] = {}
        for epoch in self._epochs.all:
            book |= await self._chain.endpoints(epoch.config)
        book.pop(self._key.address, None)
        self.outbox.set_endpoints(book)
        if (active := self._epochs.active()) and (slot := self._epochs.slot) is not None:
            self._judge(active, slot)  # at a start the slot was entered before anybody's endpoint was read
        balance = await self._chain.balance()
        self.metrics.balance.set(balance)
        need = GAS_OF_A_TRANSMIT * self.config.chain.max_fee_gwei * 10**9
        who = self._key.checksum_address
        poor = f"{balance / 1e18:.4f} left, a transmission may cost {need / 1e18:.4f}; fund {who}"
        self.book.condition("balance", poor if balance < need else None)

    # Effects

    def _perform(self, epoch: Epoch, effect: Effect, peer: str | None) -> None:
        network = epoch.config
        match effect:
            case Observe(slot):
                self._start("observe", self._observe(network, slot))
            case Sign():
                self._start("sign", self._sign(network, effect))
            case Broadcast(message):
                self._broadcast(network, message)
            case Send(to, SignedObservation() as message):
                self._start("send observation", self._send_observation(network, to, message))
            case Send(to, message):
                self.outbox.post(to, encode(message, network), network.slot_start_ms(message.slot + 1))
            case SetTimer(timer, at_ms):
                self.clock.call_at(at_ms, partial(self._tell, network.digest, TimerFired(timer)))
            case ReadHeads():
                self._start("read heads", self._read_heads(network))
            case Attested():
                self.book.attested(network, effect)
            case Transmit():
                self._start("transmit", self._transmit(network, effect))
            case Accuse(evidence):
                self.book.accused(evidence)
                self._log.warning("evidence", kind=evidence.kind, offender=evidence.offender, slot=evidence.slot)
            case Count():
                self.book.count(effect, peer)

    async def _observe(self, network: NetworkConfig, slot: int) -> None:
        async with self._watching:
            now = self.clock.now_ms()
            began = perf_counter()
            await self._watch.poll(Micros(now * 1000))
            saved = self._in_thread(self._quote_thread, self._watch.save)
            _, past = await asyncio.gather(saved, self._in_thread(self._journal_thread, self._past, slot))
            seeing = (network, slot, Micros(now * 1000), past)
            sighting = await self._in_thread(self._model_thread, self._watch.see, *seeing)
        own = {int(v.feed): OwnValue(v.value, v.outside_run) for v in sighting.values if v is not None}
        await self._in_thread(self._journal_thread, self._journal.save_values, slot, now // 1000, own)
        self.metrics.observe_ms.observe((perf_counter() - began) * 1000)
        self._note(network, slot, now, sighting)
        self._tell(network.digest, Observed(network.slot_at(now), now // 1000, sighting.values))

    def _past(self, slot: int) -> tuple[dict[int, OwnValue], dict[int, OwnValue]]:
        return self._journal.values(slot - 1), self._journal.values(slot - 2)

    def _note(self, network: NetworkConfig, slot: int, now_ms: int, sighting: Sighting) -> None:
        self.book.observed(network, slot, now_ms, sighting)
        if sighting.newest is not None:
            self.metrics.quote_to_signed.observe(self.clock.now_ms() - sighting.newest // 1000)
        if weights := self._watch.weights(sighting):
            self.book.weights(slot, weights)
        self.book.skill(self._watch.skill(sighting))
        self.book.sources(sighting.sources)
        for part, why in sighting.troubles.items():
            self.metrics.restarts.add(part=part)
            self.book.trouble(part, now_ms, why)
            self._log.error("panel refused its series", part=part, why=why)

    async def _sign(self, network: NetworkConfig, effect: Sign) -> None:
        kind, slot, digest = effect.kind, effect.slot, effect.digest
        try:
            await self._in_thread(self._journal_thread, self._journal.reserve, kind.value, slot, digest)
        except (SlotAlreadySigned, JournalFault) as fault:
            self._log.warning("not signed", kind=kind, slot=slot, why=str(fault))
            self.book.trouble("journal", self.clock.now_ms(), str(fault))
            self._tell(network.digest, SignRefused(kind, slot, fault.rule))
        else:
            self._tell(network.digest, Signed(kind, slot, digest, self._key.sign(digest)))

    def _broadcast(self, network: NetworkConfig, message: Message) -> None:
        body, until = encode(message, network), network.slot_start_ms(message.slot + 1)
        for row in network.rows:
            if row.address != self._key.address:
                self.outbox.post(row.address, body, until)

    async def _send_observation(self, network: NetworkConfig, to: bytes, message: SignedObservation) -> None:
        body, observed_at = encode(message, network), message.observation.observed_at
        await self._in_thread(self._journal_thread, self._journal.record_sent, message.slot, observed_at, body)
        self.outbox.post(to, body, network.slot_start_ms(message.slot + 1))

    async def _read_heads(self, network: NetworkConfig) -> None:
        for attempt in range(READ_TRIES):
            try:
                heads = await self._chain.chain_heads(network)
            except ChainFault as fault:
                self.book.trouble("read heads", self.clock.now_ms(), str(fault))
                await asyncio.sleep(RETRY_S * 2**attempt)
            else:
                self._tell(network.digest, heads)
                return

    async def _transmit(self, network: NetworkConfig, effect: Transmit) -> None:
        slot = effect.attested.report.slot
        try:
            landed = await self._chain.transmit(effect.attested, effect.pages)
        except ChainFault as fault:
            self.metrics.transmits.add(outcome=fault.rule)
            self.book.trouble("transmit", self.clock.now_ms(), str(fault))
            self._log.warning("transmission failed", slot=slot, why=str(fault))
        else:
            self.book.transmitted(slot, landed, self.clock.now_ms() - network.slot_start_ms(slot))
