"""`dodona demo`: the whole network on one machine, from training to report.

Why this file exists: it is the order of the story and nothing else. Never in it: how a step is done.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pandas as pd
import typer

from feeds.series import CloseSeries
from feeds.sources.replay import EURUSD, HOUR, ReplaySource, load_embedded_eurusd
from feeds.types import SECOND
from models.bundle import Bundle
from oracle.chain.adapter import ChainAdapter
from oracle.config import ChainSettings
from oracle.consensus.network import NetworkConfig
from oracle.demo import scenario
from oracle.demo.consumers import ConsumerFeeds, Consumers, EventQuestion, Terms
from oracle.demo.replay import Driver
from oracle.demo.report import write_report
from oracle.demo.scenario import Replay
from oracle.demo.story import summary_table, tell
from oracle.demo.training import hindsight, recorded_series, train_bundles
from oracle.demo.workspace import workspace, write_whole
from oracle.devnet import Devnet
from oracle.errors import LocalFault

FOLDER = Path("build/demo")
TERMINATED = 128 + signal.SIGTERM


def run_demo(*, serve: bool = False, folder: Path = FOLDER) -> None:
    """Train, replay, report; `serve`: then keep chain and nodes up until Ctrl-C. Foreseen errors are DodonaErrors."""
    began, folder = time.perf_counter(), folder.resolve()
    frames = load_embedded_eurusd()
    replay = scenario.replay_of(frames)
    sources = tuple(ReplaySource(name, {EURUSD: frame}, HOUR) for name, frame in frames.items())
    series = recorded_series(sources)
    with workspace(folder):
        typer.echo(f"Training on {scenario.SYMBOL} hours before {scenario.TRAIN_UNTIL:%Y-%m-%d} ...")
        bundles = train_bundles(series, folder / "cache", folder / "bundles")
        try:
            asyncio.run(_network(folder, frames, replay, series, bundles, began, serve))
        except asyncio.CancelledError:  # the devnet cancels its task on SIGTERM; everything has ended by now
            raise typer.Exit(TERMINATED) from None


async def _network(
    folder: Path, frames: Mapping[str, pd.DataFrame], replay: Replay, series: CloseSeries,
    bundles: tuple[Bundle, ...], began: float, serve: bool,
) -> None:  # fmt: skip
    listing = float(series.close[series.ts <= replay.starts[0] * SECOND][-1])
    specs = scenario.feed_specs(listing)
    plans = scenario.node_plans(folder / "bundles", replay)
    shutil.rmtree(folder / "net", ignore_errors=True)  # journals of an earlier run belong to a chain that is gone
    typer.echo(f"Starting a chain and {len(plans)} validators with stakes {scenario.STAKES} ...")
    devnet = Devnet(
        folder / "net", specs, plans, scenario.TIMING, first_slot_at=replay.starts[0], stakes=scenario.STAKES
    )
    async with devnet as net, aiohttp.ClientSession() as session:
        if net.first_slot != replay.slot(0):
            raise LocalFault(f"the first slot is {net.first_slot}, planned was {replay.slot(0)}")
        write_whole(folder / "deployment.json", (net.folder / "deployment.json").read_bytes())
        consumers = await asyncio.to_thread(_consumers, net)
        seen = await Driver(net, replay, consumers, session).run()
        network = await _network_config(net)
        track = hindsight(bundles, series, replay.starts[0], replay.starts[-1])
        story = tell(net, network, track, bundles, consumers, seen, began)
        paths = write_report(story.summary, story.record, folder)
        typer.echo(summary_table(story))
        typer.echo("Written: " + ", ".join(str(path) for path in paths))
        if serve:
            await _serve(net)


def _consumers(net: Devnet) -> Consumers:
    faces = net.deployment.faces
    feeds = ConsumerFeeds(faces[scenario.PRICE], faces[scenario.DAILY], faces[scenario.EVENT])
    question = EventQuestion(scenario.QUESTION, int(scenario.EXPIRY.timestamp()))
    return Consumers(net.web3, net.deployment.owner, feeds, question, Terms())


async def _network_config(net: Devnet) -> NetworkConfig:
    where = net.deployment
    chain = await ChainAdapter.connect(
        ChainSettings(where.rpc_url, where.chain_id, where.aggregator.lower(), where.staking.lower())
    )
    try:
        return await chain.network_config()
    finally:
        await chain.close()


async def _serve(net: Devnet) -> None:
    """Keep everything up, with time standing still, until the process is asked to stop."""
    where = net.deployment
    typer.echo(f"Chain {where.chain_id} at {where.rpc_url}; aggregator {where.aggregator}, staking {where.staking}")
    for spec in net.feeds:
        typer.echo(f"  {spec.symbol:<20} {where.faces[spec.number]}")
    typer.echo("Try `dodona feed list` in another shell. Ctrl-C ends it.")
    await asyncio.Event().wait()
