"""The network configs that a node works on, each with its core, and the one timer that opens their slots.

Why this file exists: a config is replaced while rounds are in flight, and a slot belongs to exactly one config. Never
in it: what an effect does, the chain, HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from oracle.clock import Clock
from oracle.consensus.events import Event, JournalState, SlotStarted, Superseded
from oracle.consensus.network import NetworkConfig, Slot
from oracle.consensus.protocol import Core
from oracle.keys import recover

SILENT_SLOTS = 2
"""The slot in which a node with an empty journal starts, and the next: nothing is signed in them."""

Tell = Callable[[bytes, Event], None]
"""Queue an event for the core of the config with this digest."""


@dataclass(slots=True)
class Epoch:
    """One network config and the round's core for it."""

    config: NetworkConfig
    core: Core


class Epochs:
    """The configs in work. `address`: this validator's (20 bytes). `entered`: called at the start of each slot."""

    def __init__(
        self, clock: Clock, address: bytes, journal_empty: bool, tell: Tell, entered: Callable[[Epoch, Slot], None]
    ) -> None:
        self._clock, self._address, self._journal_empty = clock, address, journal_empty
        self._tell, self._entered = tell, entered
        self._by_digest: dict[bytes, Epoch] = {}
        self._silent_until: int | None = None
        self._timer: int | None = None
        self.slot: Slot | None = None
        self._entered_at: tuple[bytes, Slot] | None = None

    @property
    def all(self) -> list[Epoch]:
        """Every config in work, ascending."""
        return sorted(self._by_digest.values(), key=lambda epoch: epoch.config.count)

    @property
    def newest(self) -> int:
        """Number of the newest config in work; 0 before the first."""
        return max((epoch.config.count for epoch in self._by_digest.values()), default=0)

    def get(self, digest: bytes) -> Epoch | None:
        """The config with this digest, if it is in work."""
        return self._by_digest.get(digest)

    def active(self) -> Epoch | None:
        """The config whose slots the clock is in: the newest that has begun, else the oldest."""
        now, every = self._clock.now_ms(), self.all
        begun = [e for e in every if e.config.slot_start_ms(e.config.first_slot) <= now]
        return begun[-1] if begun else (every[0] if every else None)

    def adopt(self, configs: Sequence[NetworkConfig]) -> list[NetworkConfig]:
        """Work on these configs (ascending) and on no other; returns the new ones. Opens slots from now on."""
        fresh = [config for config in configs if config.digest not in self._by_digest]
        for config in fresh:
            self._by_digest[config.digest] = Epoch(config, self._new_core(config))
        known = {config.digest for config in configs}
        self._by_digest = {digest: epoch for digest, epoch in self._by_digest.items() if digest in known}
        self._tell_ends()
        self._open_slot(None)
        return fresh

    def rebuild(self, epoch: Epoch) -> None:
        """Give the config a new core: the old one raised and is in no known state. The journal keeps what it signed."""
        epoch.core = self._new_core(epoch.config)
        self._tell_ends()

    def _tell_ends(self) -> None:
        """Tell each core but the newest where its slots end."""
        for older, newer in pairwise(epoch.config for epoch in self.all):
            self._tell(older.digest, Superseded(newer.first_slot))

    def _new_core(self, config: NetworkConfig) -> Core:
        core = Core(config, config.index_of(self._address), recover)
        now = self._clock.now_ms()
        slot = config.slot_at(now)
        if self._silent_until is None:
            self._silent_until = slot + SILENT_SLOTS
        core.receive(JournalState(self._journal_empty and slot < self._silent_until), now)
        return core

    def _open_slot(self, timer: int | None) -> None:
        """Tell the active core if the clock entered a slot, and wait for the next. A replaced timer does nothing."""
        if timer is not None and timer != self._timer:
            return
        epoch, now = self.active(), self._clock.now_ms()
        if epoch is None:
            return
        network = epoch.config
        slot = network.slot_at(now)
        if self._entered_at != (network.digest, slot):
            self._entered_at, self.slot = (network.digest, slot), slot
            if slot >= network.first_slot:
                self._tell(network.digest, SlotStarted(slot))
            self._entered(epoch, slot)
        starts = [e.config.slot_start_ms(e.config.first_slot) for e in self._by_digest.values()]
        at = min([network.slot_start_ms(slot + 1), *(start for start in starts if start > now)])
        if at != self._timer:
            self._timer = at
            self._clock.call_at(at, partial(self._open_slot, at))
