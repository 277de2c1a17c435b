"""FeedProxy: one address, phases with their history, and 48 hours before anything changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from web3 import Web3

from contracts.artifacts import artifact
from oracle.chain.deploy import deploy, list_feeds, send
from oracle.chain.faces import Face, create_face, create_proxy
from oracle.chain.localnet import event_spec, forecast_spec, name32, price_spec, sample_words
from tests.contracts.faces.conftest import EVENT, FORECAST, OUTCOME, PRICE, QUANTILE

NOBODY = Web3.to_checksum_address("00" * 20)
NOTICE = 48 * 3600
PHASE_1, PHASE_2 = 1 << 64, 2 << 64
TWIN = 20


@pytest.fixture
def proxy(made, told):
    return made.proxies[Face.FEED]


@pytest.fixture
def twin(net, made, told):
    """A Feed of another number that tells the same series, with three rounds of its own from now on."""
    list_feeds(net.chain.w3, net.core, [price_spec(TWIN, base=name32("S1"))])
    net.chain.move_to(net.chain.now + 600)
    net.roll()
    for value in (1_000, 2_000, 3_000):
        net.transmit(net.blob(net.draft(sample_words(net.active.feeds, value))))
        net.chain.move_to(net.chain.now + 60)
    return create_face(net.chain.w3, made.factory, net.core.owner, Face.FEED, TWIN)


def propose(net, made, proxy, face) -> None:
    send(net.chain.w3, proxy.functions.proposeAggregator(face), made.owner)


def change(net, made, proxy, face) -> None:
    propose(net, made, proxy, face)
    net.chain.move_to(net.chain.now + NOTICE)
    send(net.chain.w3, proxy.functions.confirmAggregator(face), made.owner)


def test_proxy__first_phase__tells_its_face_with_the_phase_in_the_round(made, told, proxy, ask):
    face = made.faces[Face.FEED]
    assert (ask(proxy, "phaseId"), ask(proxy, "aggregator")) == (1, face.address)
    assert [ask(proxy, "phaseAggregators", phase) for phase in (0, 1, 2)] == [NOBODY, face.address, NOBODY]
    assert ask(proxy, "accessController") == NOBODY
    for name in ("decimals", "description", "version", "latestAnswer", "latestTimestamp", "identity"):
        assert ask(proxy, name) == ask(face, name)
    round_, *data, answered = ask(face, "latestRoundData")
    assert list(ask(proxy, "latestRoundData")) == [PHASE_1 + round_, *data, PHASE_1 + answered]
    assert ask(proxy, "latestRound") == PHASE_1 + round_
    for inner in (1, 2):
        _, *data, _ = ask(face, "getRoundData", inner)
        assert list(ask(proxy, "getRoundData", PHASE_1 + inner)) == [PHASE_1 + inner, *data, PHASE_1 + inner]
        assert ask(proxy, "getAnswer", PHASE_1 + inner) == ask(face, "getAnswer", inner)
        assert ask(proxy, "getTimestamp", PHASE_1 + inner) == ask(face, "getTimestamp", inner)


def test_proxy__unknown_phase__v2_is_zero_and_v3_has_no_data(proxy, ask, reverts):
    for id_ in (1, 2, PHASE_2 + 1, 2**80 - 1):
        assert (ask(proxy, "getAnswer", id_), ask(proxy, "getTimestamp", id_)) == (0, 0)
        with reverts("No data present"):
            ask(proxy, "getRoundData", id_)
    for id_ in (2**80 + PHASE_1 + 1, 2**256 - 1):
        assert (ask(proxy, "getAnswer", id_), ask(proxy, "getTimestamp", id_)) == (0, 0)


def test_confirm__another_listing_of_the_series__old_rounds_keep_their_ids(net, made, proxy, twin, ask):
    old = [list(ask(proxy, "getRoundData", PHASE_1 + round_)) for round_ in (1, 2)]
    change(net, made, proxy, twin.address)
    assert (ask(proxy, "phaseId"), ask(proxy, "aggregator")) == (2, twin.address)
    assert [ask(proxy, "phaseAggregators", phase) for phase in (1, 2)] == [made.faces[Face.FEED].address, twin.address]
    assert list(ask(proxy, "latestRoundData"))[:2] == [PHASE_2 + 3, 3_000 + TWIN]
    assert ask(proxy, "latestRound") == PHASE_2 + 3
    assert [ask(proxy, "getAnswer", PHASE_2 + round_) for round_ in (1, 2, 3)] == [1_020, 2_020, 3_020]
    assert [list(ask(proxy, "getRoundData", PHASE_1 + round_)) for round_ in (1, 2)] == old
    assert [ask(proxy, "getAnswer", PHASE_1 + round_) for round_ in (1, 2)] == [data[1] for data in old]
    assert (ask(proxy, "proposedAggregator"), ask(proxy, "confirmableAt")) == (NOBODY, 0)


def test_propose__of_the_same_series__previewed_without_phases_and_changes_nothing(net, made, proxy, twin, ask):
    before = list(ask(proxy, "latestRoundData"))
    proposed_at = net.chain.now
    propose(net, made, proxy, twin.address)
    assert ask(proxy, "proposedAggregator") == twin.address
    assert ask(proxy, "confirmableAt") == proposed_at + NOTICE
    assert list(ask(proxy, "proposedLatestRoundData")) == list(ask(twin, "latestRoundData"))
    assert list(ask(proxy, "proposedGetRoundData", 2)) == list(ask(twin, "getRoundData", 2))
    assert list(ask(proxy, "latestRoundData")) == before


def test_confirm__before_48_hours__reverts(net, made, proxy, twin, reverts):
    confirm = proxy.functions.confirmAggregator(twin.address)
    propose(net, made, proxy, twin.address)
    start = net.chain.now - 1
    net.chain.move_to(start + NOTICE - 1)
    with reverts("proxy: proposed less than 48 h ago"):
        confirm.call({"from": made.owner}, "pending")
    net.chain.move_to(start + NOTICE)
    confirm.call({"from": made.owner}, "pending")


def test_propose__a_second_time__starts_the_48_hours_anew(net, made, proxy, twin, ask, reverts):
    strict = made.faces[Face.STRICT].address
    propose(net, made, proxy, twin.address)
    net.chain.move_to(net.chain.now + NOTICE - 10)
    propose(net, made, proxy, strict)
    again = net.chain.now - 1
    net.chain.move_to(again + NOTICE - 1)
    with reverts("proxy: not the proposed face"):
        ask(proxy, "confirmAggregator", twin.address, sender=made.owner)
    with reverts("proxy: proposed less than 48 h ago"):
        ask(proxy, "confirmAggregator", strict, sender=made.owner)
    net.chain.move_to(again + NOTICE)
    send(net.chain.w3, proxy.functions.confirmAggregator(strict), made.owner)
    assert ask(proxy, "aggregator") == strict


def test_propose__the_very_same_again__starts_the_48_hours_anew_too(net, made, proxy, twin, ask, reverts):
    propose(net, made, proxy, twin.address)
    net.chain.move_to(net.chain.now + NOTICE)
    propose(net, made, proxy, twin.address)
    with reverts("proxy: proposed less than 48 h ago"):
        ask(proxy, "confirmAggregator", twin.address, sender=made.owner)


def test_propose__zero__withdraws(net, made, proxy, twin, ask, reverts):
    propose(net, made, proxy, twin.address)
    propose(net, made, proxy, NOBODY)
    assert (ask(proxy, "proposedAggregator"), ask(proxy, "confirmableAt")) == (NOBODY, 0)
    net.chain.move_to(net.chain.now + NOTICE)
    for face in (twin.address, NOBODY):
        with reverts("proxy: nothing is proposed"):
            ask(proxy, "confirmAggregator", face, sender=made.owner)


def test_preview__nothing_proposed__reverts(proxy, ask, reverts):
    with reverts("proxy: nothing is proposed"):
        ask(proxy, "proposedLatestRoundData")
    with reverts("proxy: nothing is proposed"):
        ask(proxy, "proposedGetRoundData", 1)


def test_preview__strict_face_of_a_refused_feed__shows_its_reason(net, made, proxy, ask, reverts):
    propose(net, made, proxy, made.faces[Face.STRICT].address)
    net.chain.move_to(net.chain.now + 10**6)
    with reverts("feed: stale"):
        ask(proxy, "proposedLatestRoundData")
    with reverts("No data present"):
        ask(proxy, "proposedGetRoundData", 9)


def test_events__propose_and_confirm__as_chainlink_names_them(net, made, proxy, twin):
    first = made.faces[Face.FEED].address
    receipt = send(net.chain.w3, proxy.functions.proposeAggregator(twin.address), made.owner)
    (event,) = proxy.events.AggregatorProposed().process_receipt(receipt)
    assert dict(event["args"]) == {"current": first, "proposed": twin.address}
    net.chain.move_to(net.chain.now + NOTICE)
    receipt = send(net.chain.w3, proxy.functions.confirmAggregator(twin.address), made.owner)
    (event,) = proxy.events.AggregatorConfirmed().process_receipt(receipt)
    assert dict(event["args"]) == {"previous": first, "latest": twin.address}


def offered(net, made, face: Face, number: int, component: int = 0) -> str:
    return create_face(net.chain.w3, made.factory, net.core.owner, face, number, component).address


@pytest.mark.parametrize(
    ("proxied", "changes"),
    [
        (Face.FEED, {"decimals": 7}), (Face.FEED, {"base": name32("S2")}), (Face.FEED, {"quote": name32("EUR")}),
        (Face.FORECAST, {"horizon": 86_400}), (Face.FORECAST, {"base": name32("S1")}),
        (Face.EVENT, {"outcomes": 4}), (Face.EVENT, {"base": name32("question 5")}),
    ],
)  # fmt: skip
def test_propose__another_series__reverts(net, made, ask, reverts, proxied, changes):
    """The twin without the change is taken; with it, it is another series."""
    like = {
        Face.FEED: price_spec(20, base=name32("S1")), Face.FORECAST: forecast_spec(20, base=name32("S2")),
        Face.EVENT: event_spec(20, 3, base=name32("question 4")),
    }[proxied]  # fmt: skip
    component = {Face.FEED: 0, Face.FORECAST: QUANTILE, Face.EVENT: OUTCOME}[proxied]
    list_feeds(net.chain.w3, net.core, [like, replace(like, number=24, **changes)])
    proxy = made.proxies[proxied]
    propose(net, made, proxy, offered(net, made, proxied, 20, component))
    with reverts("proxy: another series"):
        ask(proxy, "proposeAggregator", offered(net, made, proxied, 24, component), sender=made.owner)


def test_propose__other_kind_or_component__reverts(net, made, ask, reverts):
    given = [
        (Face.FEED, (Face.FEED, FORECAST, 0)), (Face.FEED, (Face.FEED, EVENT, 0)), (Face.FEED, (Face.FEED, 0, 0)),
        (Face.FORECAST, (Face.FORECAST, FORECAST, QUANTILE + 1)), (Face.FORECAST, (Face.FEED, FORECAST, 0)),
        (Face.EVENT, (Face.EVENT, EVENT, OUTCOME - 1)), (Face.EVENT, (Face.STRICT, EVENT, 0)),
    ]  # fmt: skip
    for proxied, other in given:
        with reverts("proxy: another series"):
            ask(made.proxies[proxied], "proposeAggregator", offered(net, made, *other), sender=made.owner)


def test_propose__face_that_the_factory_did_not_make__reverts(net, made, proxy, ask, reverts):
    """Same code, same Aggregator, same feed; and the proxies themselves: none of them came from `create`."""
    for face in (net.face(PRICE).address, made.proxies[Face.STRICT].address, net.core.aggregator.address):
        with reverts("proxy: not a face of the factory"):
            ask(proxy, "proposeAggregator", face, sender=made.owner)


def test_owner_functions__stranger__reverts(net, made, proxy, twin, ask, reverts):
    propose(net, made, proxy, twin.address)
    net.chain.move_to(net.chain.now + NOTICE)
    for name in ("proposeAggregator", "confirmAggregator", "transfer_ownership"):
        with reverts("ownable: caller is not the owner"):
            ask(proxy, name, twin.address, sender=net.core.owner)


def test_ownership__two_steps__moves_only_when_accepted(net, made, proxy, twin, ask, reverts):
    w3, heir = net.chain.w3, net.chain.accounts[9]
    send(w3, proxy.functions.transfer_ownership(heir), made.owner)
    assert (ask(proxy, "owner"), ask(proxy, "pending_owner")) == (made.owner, heir)
    with reverts("ownable_2step: caller is not the new owner"):
        ask(proxy, "accept_ownership", sender=made.owner)
    send(w3, proxy.functions.accept_ownership(), heir)
    assert (ask(proxy, "owner"), ask(proxy, "pending_owner")) == (heir, NOBODY)
    with reverts("ownable: caller is not the owner"):
        ask(proxy, "proposeAggregator", twin.address, sender=made.owner)
    send(w3, proxy.functions.proposeAggregator(twin.address), heir)


def test_proxy__every_power_of_the_owner_used__no_answer_but_that_of_a_face(net, made, told, ask):
    """Whatever the owner does, what is told is what some face of the series tells."""
    proxy = made.proxies[Face.POSITIVE]
    changing = {
        entry["name"]
        for entry in artifact("FeedProxy").abi
        if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure")
    }
    assert changing == {"proposeAggregator", "confirmAggregator", "transfer_ownership", "accept_ownership"}
    for sort in (Face.STRICT, Face.FEED, Face.POSITIVE):
        change(net, made, proxy, made.faces[sort].address)
        phase = ask(proxy, "phaseId") << 64
        for round_ in (1, 2):
            assert ask(proxy, "getAnswer", phase + round_) == ask(made.faces[Face.FEED], "getAnswer", round_)


def test_proxy__of_a_factory_made_elsewhere__bound_to_that_factory(net, made, ask, reverts):
    """Who deploys the proxy's code directly gets a proxy that believes that factory alone."""
    face = made.faces[Face.FEED].address
    proxy = deploy(net.chain.w3, net.core.owner, "FeedProxy", made.factory.address, face, made.owner)
    assert (ask(proxy, "factory"), ask(made.factory, "isProxy", proxy.address)) == (made.factory.address, False)
    made_by_factory = create_proxy(net.chain.w3, made.factory, net.core.owner, face, made.owner)
    assert net.chain.w3.eth.get_code(proxy.address) == net.chain.w3.eth.get_code(made_by_factory.address)
