"""Every way in which the node can say no, in one tree, so that a caller can tell whose fault it was.

    DodonaError
    |- ConfigError   the operator's file or the chain's config cannot be used      -> fix it, exit code 2
    |- LocalFault    our own bug or misuse                                         -> loud, never swallowed
    |- PeerFault     a peer sent rubbish                                           -> count, drop, go on
    `- ChainFault    the chain or its RPC did not do what was asked                -> wait, retry, or stop

Why this file exists: blame is the first thing a handler must know (h11's split into local and remote errors). One
class per rule; each carries what was `given` and the `limit` it broke. Never in it: behaviour.
"""

from __future__ import annotations


class DodonaError(Exception):
    """Base of every error raised on purpose. `given` and `limit` carry the offending value and the rule's bound."""

    def __init__(self, message: str, *, given: object = None, limit: object = None) -> None:
        """Build it from one line that names the thing and the mend."""
        super().__init__(message)
        self.given = given
        self.limit = limit

    @property
    def rule(self) -> str:
        """Name of the broken rule: the class name, used as a metric label."""
        return type(self).__name__


class ConfigError(DodonaError):
    """A setting, of this node or of the network, that cannot be used."""


class BadFeedSpec(ConfigError):
    """A feed of the network config breaks a rule of the word layout or of its kind."""


class BadNetworkConfig(ConfigError):
    """The network config as read from the chain contradicts itself."""


class LocalFault(DodonaError):
    """Our own bug or misuse of an interface: never a peer's doing, never ignored."""


class ValueOutOfRange(LocalFault):
    """A number that we want to pack does not fit its field."""


class Unencodable(LocalFault):
    """A message built here that breaks the rules which peers would refuse it by."""


class WrongKey(LocalFault):
    """A signature made here does not recover to this validator's row of the table."""


class SlotAlreadySigned(LocalFault):
    """The journal holds an equal or higher slot of this kind with another digest: signing would be double-signing."""


class JournalFault(LocalFault):
    """The journal cannot be read or written, so nothing may be signed."""


class PeerFault(DodonaError):
    """A peer sent something that breaks a rule: counted, dropped, never a crash."""


class MessageTooLong(PeerFault):
    """More bytes than the longest valid message has; refused before parsing."""


class MalformedMessage(PeerFault):
    """Bytes that are not the canonical encoding of any message."""


class FieldOutOfRange(PeerFault):
    """A field whose value no honest validator can send."""


class WrongDigest(PeerFault):
    """A message for another config, chain or contract."""


class WrongSlot(PeerFault):
    """A message for a slot that this node does not work on now."""


class SlotTimeMismatch(PeerFault):
    """`observedAt` does not lie in the slot that the message names."""


class UnknownSigner(PeerFault):
    """A signer index that is not a row of the validator table."""


class BadSignature(PeerFault):
    """A signature that does not recover to the row it claims."""


class NotTheLeader(PeerFault):
    """A proposal not signed by the slot's leader, or an observation sent to a validator that does not lead."""


class DuplicateObservation(PeerFault):
    """A proposal that holds two observations of one validator, or holds them out of order."""


class NoQuorum(PeerFault):
    """Stake that is not more than two thirds of the total effective stake."""


class LateProposal(PeerFault):
    """A proposal straight from the leader after its deadline in the slot."""


class UnaskedProposal(PeerFault):
    """A second proposal of a slot that no attestation names."""


class UnknownProposal(PeerFault):
    """A request for a proposal that this node does not hold, or asked for too often."""


class WrongReport(PeerFault):
    """An attestation of a report that its proposal does not give."""


class WrongRoot(PeerFault):
    """A Merkle proof that does not lead to the signed root, or has the wrong number of hashes."""


class BadBlob(PeerFault):
    """Transmit bytes whose header, length and parts do not agree."""


class ChainFault(DodonaError):
    """The chain, or the RPC in front of it, did not do what was asked."""


class Unreachable(ChainFault):
    """No answer from the RPC."""


class WrongChain(ChainFault):
    """The chain id of the RPC, of the local config and of the contract are not one."""


class WrongConfigDigest(ChainFault):
    """The digest that the chain states is not what its own fields hash to."""


class Reverted(ChainFault):
    """A transaction or call that the contract refused."""
