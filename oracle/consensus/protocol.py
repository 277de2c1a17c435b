"""The round: one validator's part of the protocol, sans I/O: `receive(event, now)` -> effects.

Why this file exists: the node, the simulator and the tests run this same code; two cores that are told the same things
at the same times want the same things done. Never in it: sockets, keys, files, clocks, floats.

    SlotStarted -> Observe -> Observed -> Sign -> Signed -> to the leader
    leader: > 2/3 of stake observed, then grace or everybody -> Sign -> Signed -> proposal to everyone
    everyone: proposal checked and recomputed -> Sign -> Signed -> attestation to everyone
    everyone: > 2/3 of stake attested -> Attested, timer by turn -> ReadHeads -> ChainHeads -> Transmit if still needed

Nothing is signed twice for one slot and kind, for a slot other than the clock's, or after its end. Each slot stands
alone: there is no view change, and no state outlives a slot but its attested report.
"""

from __future__ import annotations

from oracle.consensus.aggregate import aggregate
from oracle.consensus.events import (
    Attested,
    Broadcast,
    ChainHeads,
    Count,
    Effect,
    Event,
    JournalState,
    Observe,
    Observed,
    ReadHeads,
    Received,
    Send,
    SetTimer,
    Sign,
    Signed,
    SignRefused,
    SlotStarted,
    Superseded,
    Timer,
    TimerFired,
    TimerKind,
    Transmit,
)
from oracle.consensus.messages import (
    Attestation,
    Kind,
    Message,
    Observation,
    Proposal,
    ProposalRequest,
    SignedObservation,
    SignedProposal,
)
from oracle.consensus.network import MS, NetworkConfig, Slot, has_quorum
from oracle.consensus.rounds import PROPOSALS, Candidate, Round, Sending
from oracle.consensus.schedule import leader, pages_to_transmit, proposal_deadline_ms, transmit_delay_ms
from oracle.consensus.verify import (
    Recover,
    check_attestation,
    check_leader,
    check_observation,
    check_proposal,
    check_signature,
)
from oracle.consensus.wire import check_values
from oracle.errors import (
    BadSignature,
    LateProposal,
    LocalFault,
    NotTheLeader,
    PeerFault,
    UnaskedProposal,
    UnknownProposal,
    WrongKey,
    WrongReport,
    WrongSlot,
)

SILENT_SLOTS = 2
"""Slots in which a validator whose journal was empty at start signs nothing: the one it started in and the next."""
NAMES = 4
"""Proposals that one row's attestations may name in a slot: the name is not signed, anybody may have rewritten it."""
SERVINGS = 2
"""Times that one proposal request of one row is answered in a slot."""
RETRY_MS = 1_000
"""Wait for more signatures where those at hand are a quorum only with one that the chain revoked."""


class Core:
    """One validator of one config; `me` is its row, None for an onlooker that signs and sends nothing.

    `recover`: (digest, signature) -> address or None. Nothing is signed until `JournalState` was told. `receive` never
    raises for what a peer sent (that becomes `Count("refused_*", rule)`); it raises LocalFault for misuse.
    """

    def __init__(self, config: NetworkConfig, me: int | None, recover: Recover) -> None:
        """Start with no round; `me` must be a row of the config's table."""
        if me is not None and not 0 <= me < len(config.rows):
            raise LocalFault("this validator is no row of the config's table", given=me, limit=len(config.rows) - 1)
        self.config = config
        self.me = me
        self._recover = recover
        self._rounds: dict[int, Round] = {}
        self._silent_until: int | None = None
        self._last_slot: int | None = None
        self._revoked = frozenset[int]()
        self._out: list[Effect] = []

    def receive(self, event: Event, now_ms: int) -> list[Effect]:
        """Take one event at local time `now_ms`; return what to do, in order."""
        self._out = []
        match event:
            case JournalState(empty):
                self._silent_until = self.config.slot_at(now_ms) + SILENT_SLOTS if empty else self.config.first_slot
            case SlotStarted(slot):
                self._on_event_slot_started(slot, now_ms)
            case Observed():
                self._on_event_observed(event, now_ms)
            case Received(message):
                self._on_event_received(message, now_ms)
            case Signed():
                self._on_event_signed(event, now_ms)
            case SignRefused(kind, _, reason):
                self._out.append(Count(f"unsigned_{kind}", reason))
            case TimerFired(timer):
                self._on_event_timer_fired(timer, now_ms)
            case ChainHeads():
                self._on_event_chain_heads(event, now_ms)
            case Superseded(first_slot):
                self._last_slot = first_slot - 1
        return self._out

    def proposed(self, slot: int) -> Proposal | None:
        """Proposal that this validator put together as leader of a slot still remembered."""
        round_ = self._rounds.get(slot)
        return round_.own_proposal if round_ is not None else None

    # --- events of this node ---

    def _on_event_slot_started(self, slot: Slot, now_ms: int) -> None:
        if slot != self.config.slot_at(now_ms):
            self._out.append(Count("late_slot"))
            return
        for old in [old for old in self._rounds if self._expired(old, now_ms)]:
            del self._rounds[old]
        round_ = self._rounds.setdefault(slot, Round(slot))
        if not self._may_sign(slot, now_ms):
            self._out += [Count("silent_slot")] if self.me is not None else []
            return
        if leader(self.config, slot) == self.me:
            self._out.append(Count("led"))
        self._out.append(Observe(slot))
        self._lead(round_, now_ms)
        self._attest(round_, now_ms)

    def _on_event_observed(self, event: Observed, now_ms: int) -> None:
        round_ = self._rounds.get(event.slot)
        in_slot = self.config.slot_at(event.observed_at * MS) == event.slot
        if round_ is None or not in_slot or not self._may_sign(event.slot, now_ms):
            self._out.append(Count("late_observation"))
            return
        check_values(self.config, event.values)
        if Kind.OBSERVATION not in round_.asked:
            observation = Observation(self.config.digest, event.slot, event.observed_at, event.values)
            round_.own_observation = observation
            self._sign(round_, Kind.OBSERVATION, observation.digest(self.config))

    def _on_event_signed(self, event: Signed, now_ms: int) -> None:
        round_ = self._rounds.get(event.slot)
        if round_ is None or self.me is None or round_.asked.get(event.kind) != event.digest:
            raise LocalFault(f"a signature that nobody asked for: {event.kind} of slot {event.slot}")
        try:
            check_signature(self.config, self._recover, event.digest, event.signature, self.me)
        except BadSignature as fault:
            raise WrongKey("the key does not sign for this row; check the key file", given=fault.given) from fault
        if self.config.slot_at(now_ms) != event.slot:
            self._out.append(Count("late_signature", event.kind))
            return
        match event.kind:
            case Kind.OBSERVATION:
                self._send_observation(round_, event.signature, now_ms)
            case Kind.PROPOSAL:
                self._send_proposal(round_, event.signature, now_ms)
            case Kind.REPORT:
                self._send_attestation(round_, event.signature, now_ms)

    def _on_event_timer_fired(self, timer: Timer, now_ms: int) -> None:
        round_ = self._rounds.get(timer.slot)
        if round_ is None:
            return
        if timer.kind is TimerKind.GRACE:
            round_.grace_over = True
            self._lead(round_, now_ms)
        elif round_.sending is Sending.WAITING and not self._expired(timer.slot, now_ms):
            round_.sending = Sending.READING
            self._out.append(ReadHeads(timer.slot))

    def _on_event_chain_heads(self, event: ChainHeads, now_ms: int) -> None:
        self._revoked = event.revoked
        for slot, round_ in sorted(self._rounds.items()):
            if round_.sending is not Sending.READING:
                continue
            found = round_.assemble(self.config, self._revoked)
            if found is None:
                round_.sending = Sending.WAITING
                self._out.append(SetTimer(Timer(TimerKind.TRANSMIT, round_.slot), now_ms + RETRY_MS))
                continue
            round_.sending, (attested, _) = Sending.DONE, found
            pages = pages_to_transmit(self.config, slot, attested.results, event.heads, event.requested)
            self._out.append(Transmit(attested, pages) if pages else Count("transmit_not_needed"))

    # --- messages of peers ---

    def _on_event_received(self, message: Message, now_ms: int) -> None:
        try:
            match message:
                case SignedObservation():
                    self._on_message_observation(message, now_ms)
                case SignedProposal():
                    self._on_message_proposal(message, now_ms)
                case Attestation():
                    self._on_message_attestation(message, now_ms)
                case ProposalRequest():
                    self._on_message_proposal_request(message, now_ms)
        except PeerFault as fault:
            self._out.append(Count(f"refused_{type(message).__name__}", fault.rule))

    def _on_message_observation(self, signed: SignedObservation, now_ms: int) -> None:
        round_ = self._round_for(signed.slot, now_ms)
        if leader(self.config, signed.slot) != self.me:
            raise NotTheLeader("an observation goes to the slot's leader", given=self.me)
        if round_.collected.get(signed.signer) != signed:
            check_observation(self.config, signed, self._recover)
            self._out += round_.sight(signed)
            round_.collected.setdefault(signed.signer, signed)
            self._lead(round_, now_ms)

    def _on_message_proposal(self, signed: SignedProposal, now_ms: int) -> None:
        round_ = self._round_for(signed.slot, now_ms)
        name = signed.proposal.struct_hash
        if name in round_.checked:
            return
        check_leader(self.config, signed, self._recover)
        said = round_.leader_said = round_.leader_said or signed
        first = leader(self.config, signed.slot)
        if said.proposal != signed.proposal:
            self._out += round_.accuse(Kind.PROPOSAL, first, said, signed)
        if not round_.named_beside(first, name):
            if now_ms >= proposal_deadline_ms(self.config, signed.slot):
                raise LateProposal("proposal came after its deadline and no attestation names it", given=now_ms)
            if round_.candidates or said.proposal != signed.proposal:
                raise UnaskedProposal("a second proposal that no attestation names")
        if len(round_.checked) >= PROPOSALS:
            raise UnaskedProposal("too many proposals of one slot", limit=PROPOSALS)
        round_.checked.add(name)
        result = check_proposal(self.config, signed, self._recover)
        self._accept(round_, name, Candidate(signed, result), now_ms)

    def _on_message_attestation(self, attestation: Attestation, now_ms: int) -> None:
        round_, row = self._round_for(attestation.slot, now_ms), attestation.signer
        known, name = round_.attestations.get(row), attestation.proposal
        if known == attestation:
            return
        check_attestation(self.config, attestation, self._recover)
        if known is not None and known.report != attestation.report:
            self._out += round_.accuse(Kind.REPORT, row, known, attestation)
            return
        round_.attestations.setdefault(row, attestation)
        names, candidate = round_.names.setdefault(row, set()), round_.candidates.get(name)
        if name not in names and len(names) < NAMES:
            names.add(name)
            if candidate is None and self.me is not None:
                request = ProposalRequest(self.config.digest, attestation.slot, name, self.me)
                self._out.append(Send(self.config.rows[row].address, request))
        self._assemble(round_, now_ms)
        if candidate is not None and candidate.aggregate.report != attestation.report:
            raise WrongReport("attested report is not what its proposal gives", given=row)

    def _on_message_proposal_request(self, request: ProposalRequest, now_ms: int) -> None:
        round_ = self._round_for(request.slot, now_ms)
        candidate, served = round_.candidates.get(request.proposal), round_.served.get(request.requester, 0)
        if candidate is None or served >= SERVINGS or request.requester == self.me:
            raise UnknownProposal("no such proposal here, or asked for too often", given=served, limit=SERVINGS)
        round_.served[request.requester] = served + 1
        self._out.append(Send(self.config.rows[request.requester].address, candidate.signed))

    # --- steps of the round, each safe to try at any time ---

    def _lead(self, round_: Round, now_ms: int) -> None:
        """Propose once there is a quorum of observations and everybody is in or grace is over."""
        slot, config = round_.slot, self.config
        if leader(config, slot) != self.me or Kind.PROPOSAL in round_.asked or not self._may_sign(slot, now_ms):
            return
        stake, deadline = sum(config.rows[row].stake for row in round_.collected), proposal_deadline_ms(config, slot)
        if now_ms >= deadline or not has_quorum(stake, config.total_stake):
            return
        if len(round_.collected) < len(config.rows) and not round_.grace_over and now_ms + config.grace_ms < deadline:
            if not round_.grace_set:
                round_.grace_set = True
                self._out.append(SetTimer(Timer(TimerKind.GRACE, slot), now_ms + config.grace_ms))
            return
        items = tuple(signed for _, signed in sorted(round_.collected.items()))
        round_.own_proposal = Proposal(config.digest, slot, items)
        self._sign(round_, Kind.PROPOSAL, round_.own_proposal.digest(config))

    def _accept(self, round_: Round, name: bytes, candidate: Candidate, now_ms: int) -> None:
        """Keep a valid proposal; the first is attested."""
        items = candidate.signed.proposal.observations
        for item in items:
            self._out += round_.sight(item)
        round_.candidates[name] = candidate
        round_.checked.add(name)
        if round_.first is None:
            round_.first = name
            if Kind.OBSERVATION in round_.asked:
                included = any(item.signer == self.me for item in items)
                self._out.append(Count("own_observation", "included" if included else "left_out"))
        self._attest(round_, now_ms)
        self._assemble(round_, now_ms)

    def _attest(self, round_: Round, now_ms: int) -> None:
        """Sign the report of the first valid proposal, in its slot and once."""
        if round_.first is not None and Kind.REPORT not in round_.asked and self._may_sign(round_.slot, now_ms):
            report = round_.candidates[round_.first].aggregate.report
            self._sign(round_, Kind.REPORT, report.digest(self.config))

    def _assemble(self, round_: Round, now_ms: int) -> None:
        """Announce the report when its quorum is there, and wait for our turn to transmit it."""
        found = None if round_.complete else round_.assemble(self.config, self._revoked)
        if found is None:
            return
        round_.complete = True
        self._out += [Attested(*found), Count("completed")]
        if self.me is not None:
            round_.sending = Sending.WAITING
            at_ms = now_ms + transmit_delay_ms(self.config, round_.slot, self.me)
            self._out.append(SetTimer(Timer(TimerKind.TRANSMIT, round_.slot), at_ms))

    # --- sending what was signed ---

    def _send_observation(self, round_: Round, signature: bytes, now_ms: int) -> None:
        assert round_.own_observation is not None and self.me is not None
        signed = SignedObservation(round_.own_observation, self.me, signature)
        first = leader(self.config, round_.slot)
        self._out.append(Count("own_observation", "sent"))
        if first == self.me:
            round_.collected.setdefault(self.me, signed)
            self._out += round_.sight(signed)
            self._lead(round_, now_ms)
        else:
            self._out.append(Send(self.config.rows[first].address, signed))

    def _send_proposal(self, round_: Round, signature: bytes, now_ms: int) -> None:
        assert round_.own_proposal is not None
        if now_ms >= proposal_deadline_ms(self.config, round_.slot):
            self._out.append(Count("late_signature", Kind.PROPOSAL))
            return
        signed = SignedProposal(round_.own_proposal, signature)
        round_.leader_said = signed
        self._out.append(Broadcast(signed))
        result = aggregate(self.config, {item.signer: item.observation for item in signed.proposal.observations})
        self._accept(round_, signed.proposal.struct_hash, Candidate(signed, result), now_ms)

    def _send_attestation(self, round_: Round, signature: bytes, now_ms: int) -> None:
        assert round_.first is not None and self.me is not None
        report = round_.candidates[round_.first].aggregate.report
        attestation = Attestation(report, round_.first, self.me, signature)
        round_.attestations[self.me] = attestation
        self._out.append(Broadcast(attestation))
        self._assemble(round_, now_ms)

    # --- rules ---

    def _sign(self, round_: Round, kind: Kind, digest: bytes) -> None:
        round_.asked[kind] = digest
        self._out.append(Sign(kind, round_.slot, digest))

    def _may_sign(self, slot: int, now_ms: int) -> bool:
        """Whether this validator may sign for `slot` now: its clock's slot, of this config, after any silence."""
        if self.me is None or self._silent_until is None or slot != self.config.slot_at(now_ms):
            return False
        return self._silent_until <= slot and self._is_ours(slot)

    def _is_ours(self, slot: int) -> bool:
        """Whether the slot belongs to this config, and not to the one before it or after it."""
        return self.config.first_slot <= slot and (self._last_slot is None or slot <= self._last_slot)

    def _expired(self, slot: int, now_ms: int) -> bool:
        """Whether the chain would no longer take a report of `slot`."""
        return now_ms > self.config.slot_start_ms(slot + 1) + self.config.max_report_age * MS

    def _round_for(self, slot: Slot, now_ms: int) -> Round:
        """Round of a message: the clock's slot, the next one (their clock may be ahead), or one not yet expired."""
        current = self.config.slot_at(now_ms)
        if slot in (current, current + 1) and self._is_ours(slot):
            return self._rounds.setdefault(slot, Round(slot))
        if slot > current or slot not in self._rounds:
            raise WrongSlot("message is for a slot that is not worked on", given=slot, limit=current)
        return self._rounds[slot]
