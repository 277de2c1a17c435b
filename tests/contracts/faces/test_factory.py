"""FeedFactory: every face once, at a predictable address, and nothing that does not fit."""

from __future__ import annotations

import pytest
from web3 import Web3
from web3.logs import DISCARD

from contracts.artifacts import artifact
from oracle.chain.deploy import deploy, list_feeds, send
from oracle.chain.faces import Face, create_face, create_proxy, face_address, proxy_address
from oracle.chain.localnet import event_spec, price_spec
from tests.contracts.faces.conftest import EVENT, FORECAST, PRICE, SERIES

NOBODY = Web3.to_checksum_address("00" * 20)


@pytest.mark.parametrize("face", Face, ids=lambda face: face.contract)
def test_create__any_face__lies_where_it_was_predicted(net, made, ask, face):
    at, aggregator = made.faces[face], net.core.aggregator.address
    assert at.address == face_address(made.factory.address, aggregator, face, *SERIES[face])
    assert ask(made.factory, "addressOf", face, *SERIES[face]) == at.address
    assert ask(made.factory, "isFace", at.address) and not ask(made.factory, "isProxy", at.address)
    assert (ask(at, "aggregator"), ask(at, "number")) == (aggregator, SERIES[face][0])
    direct = deploy(net.chain.w3, net.core.owner, face.contract, aggregator, *SERIES[face][: 1 + face.of_component])
    code = net.chain.w3.eth.get_code
    assert code(at.address) == code(direct.address), "the factory's face is the contract itself, not a clone"
    assert not ask(made.factory, "isFace", direct.address)


def test_create__by_anyone__logged_and_only_once(net, made, ask):
    w3, factory, first, second = net.chain.w3, made.factory, *net.chain.accounts[5:7]
    predicted = face_address(factory.address, net.core.aggregator.address, Face.FEED, 0)
    assert ask(factory, "addressOf", Face.FEED, 0, 0) == NOBODY
    assert ask(factory, "create", Face.FEED, 0, 0, sender=first) == predicted
    receipt = send(w3, factory.functions.create(Face.FEED, 0, 0), first)
    (event,) = factory.events.FaceCreated().process_receipt(receipt)
    assert dict(event["args"]) == {"number": 0, "face": Face.FEED, "component": 0, "at": predicted}
    assert ask(factory, "create", Face.FEED, 0, 0, sender=second) == predicted
    assert send(w3, factory.functions.create(Face.FEED, 0, 0), second)["logs"] == []


@pytest.mark.parametrize(
    ("face", "number", "component", "reason"),
    [
        (5, PRICE, 0, "factory: unknown face"),
        (2**255, PRICE, 0, "factory: unknown face"),
        (Face.FEED, PRICE, 1, "factory: face has no component"),
        (Face.STRICT, FORECAST, 3, "factory: face has no component"),
        (Face.FEED, 3, 0, "configurator: unknown feed"),
        (Face.STRICT, 2**16, 0, "configurator: unknown feed"),
        (Face.FORECAST, 2**255, 0, "configurator: unknown feed"),
        (Face.POSITIVE, FORECAST, 0, "feed: not a price"),
        (Face.POSITIVE, EVENT, 0, "feed: not a price"),
        (Face.FORECAST, EVENT, 0, "feed: not a forecast"),
        (Face.FORECAST, PRICE, 0, "feed: no such component"),
        (Face.FORECAST, FORECAST, 9, "feed: no such component"),
        (Face.FORECAST, FORECAST, 2**256 - 2, "feed: no such component"),
        (Face.FORECAST, FORECAST, 2**256 - 1, "feed: no such component"),
        (Face.EVENT, FORECAST, 0, "feed: not an event"),
        (Face.EVENT, PRICE, 0, "feed: no such component"),
        (Face.EVENT, EVENT, 3, "feed: no such component"),
        (Face.EVENT, EVENT, 2**256 - 1, "feed: no such component"),
    ],
)
def test_create__what_does_not_fit__reverts(made, ask, reverts, face, number, component, reason):
    with reverts(reason):
        ask(made.factory, "create", face, number, component)


def test_create__listed_for_the_next_config__is_made_ahead(net, made, ask):
    list_feeds(net.chain.w3, net.core, [price_spec(20)])
    face = create_face(net.chain.w3, made.factory, net.core.owner, Face.POSITIVE, 20)
    assert ask(face, "latestAnswer") == 0


def test_create__widest_event__every_outcome_has_its_own_address(net, made):
    list_feeds(net.chain.w3, net.core, [event_spec(12, 16)])
    given = made.factory.address, net.core.aggregator.address, Face.EVENT, 12
    faces = [create_face(net.chain.w3, made.factory, net.core.owner, Face.EVENT, 12, outcome) for outcome in (0, 15)]
    assert [face.address for face in faces] == [face_address(*given, outcome) for outcome in (0, 15)]


@pytest.mark.parametrize("face", Face, ids=lambda face: face.contract)
def test_create_proxy__over_any_face__lies_where_it_was_predicted(made, ask, face):
    at, proxy = made.faces[face].address, made.proxies[face].address
    assert proxy == proxy_address(made.factory.address, at, made.owner)
    assert ask(made.factory, "proxyOf", at, made.owner) == proxy
    assert ask(made.factory, "isProxy", proxy) and not ask(made.factory, "isFace", proxy)


def test_create_proxy__by_anyone__belongs_to_the_stated_owner_and_only_once(net, made, ask):
    w3, factory, (anyone, owner) = net.chain.w3, made.factory, net.chain.accounts[5:7]
    face = made.faces[Face.FEED].address
    receipt = send(w3, factory.functions.createProxy(face, owner), anyone)
    at = proxy_address(factory.address, face, owner)
    (event,) = factory.events.ProxyCreated().process_receipt(receipt, errors=DISCARD)
    assert dict(event["args"]) == {"face": face, "owner": owner, "at": at}
    assert send(w3, factory.functions.createProxy(face, owner), owner)["logs"] == []
    proxy = create_proxy(w3, factory, anyone, face, owner)
    assert (proxy.address, ask(proxy, "owner"), ask(proxy, "factory")) == (at, owner, factory.address)


def test_create_proxy__foreign_face_or_no_owner__reverts(net, made, ask, reverts):
    foreign = net.face(PRICE).address
    for face in (foreign, made.proxies[Face.FEED].address, NOBODY):
        with reverts("proxy: not a face of the factory"):
            ask(made.factory, "createProxy", face, made.owner)
    with reverts("proxy: no owner"):
        ask(made.factory, "createProxy", made.faces[Face.FEED].address, NOBODY)


def test_blueprint_of__each_sort__is_the_published_code(net, made, ask, reverts):
    names = [*(face.contract for face in Face), "FeedProxy"]
    for sort, name in enumerate(names):
        code = bytes(net.chain.w3.eth.get_code(ask(made.factory, "blueprintOf", sort)))
        assert code == b"\xfe\x71\x00" + artifact(name).bytecode
    with reverts("factory: unknown face"):
        ask(made.factory, "blueprintOf", 6)
    assert ask(made.factory, "aggregator") == net.core.aggregator.address


def test_factory__without_aggregator_or_with_plain_code_as_blueprint__cannot_be_made(net, made, ask, reverts):
    w3, built = net.chain.w3, artifact("FeedFactory")
    blueprints = [ask(made.factory, "blueprintOf", sort) for sort in range(6)]
    create = w3.eth.contract(abi=built.abi, bytecode=built.bytecode).constructor
    with reverts("factory: no aggregator"):
        create(NOBODY, blueprints).estimate_gas({"from": net.core.owner})
    for place in range(6):
        for wrong in (NOBODY, net.core.aggregator.address):
            given = [*blueprints[:place], wrong, *blueprints[place + 1 :]]
            with reverts("factory: not a blueprint"):
                create(net.core.aggregator.address, given).estimate_gas({"from": net.core.owner})


def test_factory__its_interface__has_no_owner_and_no_way_to_change_it():
    changing = {
        entry["name"]
        for entry in artifact("FeedFactory").abi
        if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure")
    }
    assert changing == {"create", "createProxy"}
