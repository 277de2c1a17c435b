# pragma version 0.4.3
# SPDX-License-Identifier: AGPL-3.0-only
"""
@title FeedFactory: makes every face once, at an address that is known before
@license AGPL-3.0-only
@notice Anyone may have a face made, or a proxy over one. Nobody owns the factory and nothing in it can change, so a
        face that it made is the face of this Aggregator's feed, of exactly this code.
@dev Faces are deployed in full from ERC-5202 blueprints: immutables are cheaper to read than a clone's delegation.
     Address (EIP-1014) = last 20 bytes of keccak256(0xff, factory, salt, keccak256(creation code, arguments)), where
     the creation code is the blueprint's without its three bytes 0xfe7100, and salt and arguments are ABI-encoded:
     face: salt = keccak256(face, number, component), arguments (aggregator, number), for FACE_FORECAST and FACE_EVENT
     (aggregator, number, component); proxy: salt = keccak256(face's address, owner), arguments (factory, face, owner).
"""

from .. import constants
from ..interfaces import IFeedFactory

implements: IFeedFactory

# Five faces, then the proxy.
BLUEPRINTS: constant(uint256) = 6
PROXY: constant(uint256) = 5
PREAMBLE: constant(Bytes[3]) = x"fe7100"

AGGREGATOR: immutable(address)

blueprints: address[BLUEPRINTS]
made: HashMap[bytes32, address]
isFace: public(HashMap[address, bool])
isProxy: public(HashMap[address, bool])


@deploy
def __init__(aggregator: address, blueprints: address[BLUEPRINTS]):
    """
    @notice Binds the factory to one Aggregator and to the code of its faces for ever.
    @param aggregator The Aggregator.
    @param blueprints ERC-5202 blueprints of Feed, StrictFeed, PositiveFeed, ForecastFeed, EventFeed and FeedProxy.
    """
    # CHECKS
    assert aggregator.is_contract, "factory: no aggregator"
    for blueprint: address in blueprints:
        assert blueprint.codesize > 3, "factory: not a blueprint"
        assert slice(blueprint.code, 0, 3) == PREAMBLE, "factory: not a blueprint"
    # EFFECTS
    AGGREGATOR = aggregator
    self.blueprints = blueprints


# PERMISSIONLESS


@external
def create(face: uint256, number: uint256, component: uint256) -> address:
    """
    @notice Makes a face. One that was made before is returned as it is: nobody makes the call fail by being first.
    @param face Which face: FACE_* of constants.vy.
    @param number Feed number; listed, and of a kind that fits: prices for PositiveFeed, forecasts for ForecastFeed,
           events for EventFeed.
    @param component Place of the quantile or outcome for ForecastFeed and EventFeed; 0 for the others.
    @return Address of the face.
    """
    # CHECKS
    assert face < PROXY, "factory: unknown face"
    of_component: bool = face == constants.FACE_FORECAST or face == constants.FACE_EVENT
    assert of_component or component == 0, "factory: face has no component"
    salt: bytes32 = keccak256(abi_encode(face, number, component))
    known: address = self.made[salt]
    if known != empty(address):
        return known
    # INTERACTIONS: the constructor reads the Aggregator and calls nothing else.
    created: address = empty(address)
    blueprint: address = self.blueprints[face]
    if of_component:
        created = create_from_blueprint(blueprint, AGGREGATOR, number, component, salt=salt, code_offset=3)
    else:
        created = create_from_blueprint(blueprint, AGGREGATOR, number, salt=salt, code_offset=3)
    # EFFECTS
    self.made[salt] = created
    self.isFace[created] = True
    # LOG
    log IFeedFactory.FaceCreated(number=number, face=face, component=component, at=created)
    return created


@external
def createProxy(face: address, owner: address) -> address:
    """
    @notice Makes a proxy. One that was made before is returned as it is.
    @param face The first face; made by this factory.
    @param owner Who may move the proxy to another face: a timelock, so that its readers have time to leave.
    @return Address of the proxy.
    """
    # CHECKS
    salt: bytes32 = keccak256(abi_encode(face, owner))
    known: address = self.made[salt]
    if known != empty(address):
        return known
    # INTERACTIONS: the constructor asks this factory and the face, and calls nothing else.
    created: address = create_from_blueprint(self.blueprints[PROXY], self, face, owner, salt=salt, code_offset=3)
    # EFFECTS
    self.made[salt] = created
    self.isProxy[created] = True
    # LOG
    log IFeedFactory.ProxyCreated(face=face, owner=owner, at=created)
    return created


# VIEW


@external
@view
def addressOf(face: uint256, number: uint256, component: uint256) -> address:
    """
    @notice Where a face is.
    @param face Which face: FACE_* of constants.vy.
    @param number Feed number.
    @param component Place of the quantile or outcome; 0 for faces without one.
    @return Its address; zero if it was not made yet.
    """
    return self.made[keccak256(abi_encode(face, number, component))]


@external
@view
def proxyOf(face: address, owner: address) -> address:
    """
    @notice Where a proxy is.
    @param face Its first face.
    @param owner Its first owner.
    @return Its address; zero if it was not made yet.
    """
    return self.made[keccak256(abi_encode(face, owner))]


@external
@view
def aggregator() -> address:
    """
    @notice The Aggregator of all faces.
    @return Its address.
    """
    return AGGREGATOR


@external
@view
def blueprintOf(face: uint256) -> address:
    """
    @notice The code that a face is made of (ERC-5202).
    @param face Which face: FACE_* of constants.vy; 5 is the proxy.
    @return Address of the blueprint.
    """
    assert face < BLUEPRINTS, "factory: unknown face"
    return self.blueprints[face]
