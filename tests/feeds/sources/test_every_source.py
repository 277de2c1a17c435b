"""Every rule of the check suite over every kind of source."""

import pytest

from tests.feeds.sources.check_suite import RECORDED_RULES, RULES, found_rigs

RIGS = found_rigs()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.removeprefix("rule_"))
@pytest.mark.parametrize("rig", [rig for rig in RIGS if rig.honest is not None], ids=str)
async def test_source__on_a_hostile_server__keeps_rule(rig, rule):
    await rule(rig)


@pytest.mark.parametrize("rule", RECORDED_RULES, ids=lambda rule: rule.__name__.removeprefix("rule_"))
@pytest.mark.parametrize("rig", [rig for rig in RIGS if rig.honest is None], ids=str)
async def test_source__recorded__keeps_rule(rig, rule):
    await rule(rig)
