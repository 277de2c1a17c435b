"""The command tree, and how a wrong use of it is told.

Why this file exists: `oracle/cli.py` must load in no time, this loads the rest. Never in it: work.
"""

from __future__ import annotations

from importlib import metadata
from typing import Annotated, Any

import typer

from feeds.sources.source import FeedError
from models.architectures import BundleError
from oracle.commands import abi, data, deploy, events, feed, feeds, model, node, store
from oracle.errors import ConfigError, DodonaError

FORESEEN = (DodonaError, FeedError, BundleError)

app = typer.Typer(
    help="An open oracle network: models, signed observations, consensus, feeds on chain.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(node.app, name="node")
app.add_typer(feed.app, name="feed")
feeds.app.command()(events.question)
app.add_typer(feeds.app, name="feeds")
app.add_typer(model.app, name="model")
app.add_typer(store.app, name="store")
app.add_typer(data.app, name="data")
app.command()(abi.abi)
app.command()(deploy.deploy)


class UsageFault(ConfigError):
    """A command line that names no command, or an option wrongly."""


@app.command()
def version() -> None:
    """Print the installed version."""
    typer.echo(metadata.version("dodona"))


@app.command()
def demo(
    serve: Annotated[bool, typer.Option("--serve", help="Keep chain and nodes up at the end.")] = False,
) -> None:
    """Run the whole network on recorded data: models, four validators, a chain, a lender and a market."""
    from oracle.demo.main import run_demo

    run_demo(serve=serve)


def run(tree: typer.Typer) -> int:
    """Run the command that the command line names; returns the exit code.

    Raises UsageFault for a wrong command line, and what the command raises.
    """
    try:
        return int(tree(standalone_mode=False) or 0)
    except typer.Abort as abort:
        raise KeyboardInterrupt from abort
    except typer.TyperException as fault:
        context: Any = getattr(fault, "ctx", None)
        if type(fault).__name__ == "NoArgsIsHelpError":  # a group without a command: its help is printed by now
            return fault.exit_code
        place = "dodona" if context is None else context.command_path
        raise UsageFault(f"{fault.format_message().rstrip('.')}; see `{place} --help`") from fault
