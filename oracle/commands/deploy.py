"""`dodona deploy`: the whole core on a chain that ape knows, from one plan; stopped and taken up again at will."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oracle.errors import ConfigError

if TYPE_CHECKING:
    from web3 import Web3

    from oracle.chain.deployment.record import Record
    from oracle.chain.deployment.rehearsal import Rehearsal
    from oracle.chain.deployment.steps import Deployment

GWEI = 10**9


def deploy(
    network: Annotated[str, typer.Option(help="As ape names it, e.g. ethereum:sepolia:node or ethereum:local:URL.")],
    account: Annotated[str | None, typer.Option(help="Alias of an ape account, or TEST::0 on a local network.")] = None,
    plan: Annotated[Path | None, typer.Option(help="The plan, a TOML file (docs/deploy.md).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show every step and its cost; send nothing.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Only check what was deployed before.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the deployment files.")] = Path("deployments"),
    confirmations: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Blocks on a step; ape's by default.")
    ] = None,
    max_fee_gwei: Annotated[int, typer.Option(min=1, max=100_000, help="Most that a unit of gas may cost.")] = 200,
    wait_s: Annotated[int, typer.Option(min=1, max=86_400, help="Seconds to wait for each step.")] = 300,
) -> None:
    """Deploy the core of a network, or go on where an earlier run of the same plan stopped."""
    if verify:
        if plan is not None or account is not None or dry_run:
            raise ConfigError("--verify takes the plan from the deployment file: give only --network and --out")
        return _verify_again(network, out)
    if plan is None:
        raise ConfigError("--plan: name the TOML file that says what to deploy (docs/deploy.md shows one)")
    if account is None:
        raise ConfigError("--account: name the ape account that deploys; `ape accounts list` shows them")
    _deploy(network, account, plan, out, dry_run, (confirmations, max_fee_gwei, wait_s))


def _deploy(
    network: str, account: str, plan: Path, out: Path, dry_run: bool, pace: tuple[int | None, int, int]
) -> None:
    from oracle.chain.deployment.ape_network import ApeSigner, connected
    from oracle.chain.deployment.runner import Pace, Runner
    from oracle.chain.deployment.session import hold_record, open_session
    from oracle.chain.deployment.verify import refuse_mismatch, verify

    with connected(network) as (w3, provider):
        signer = ApeSigner(account, provider)
        if dry_run:
            session = open_session(w3, signer.address, plan, out)
            _show(session.deployment, session.rehearsal, session.record, w3)
            return
        with hold_record(w3, out):
            session = open_session(w3, signer.address, plan, out)
            if session.record.complete:
                typer.echo(f"{session.record.path}: complete before; nothing to send")
            else:
                signer.unlock()
                wanted, gwei, seconds = pace
                blocks = provider.network.required_confirmations if wanted is None else wanted
                steps = Pace(blocks, float(seconds), max_fee=gwei * GWEI)
                Runner(w3, signer, session.deployment, session.rehearsal, session.record, typer.echo, steps).run()
            checks = verify(w3, session.deployment, session.rehearsal)
            refuse_mismatch(checks)
            session.record.finish()
        _summary(session.record, len(checks))


def _verify_again(network: str, out: Path) -> None:
    from oracle.chain.deployment.ape_network import connected
    from oracle.chain.deployment.session import reopen_session
    from oracle.chain.deployment.verify import refuse_mismatch, verify

    with connected(network) as (w3, _provider):
        session = reopen_session(w3, out)
        checks = verify(w3, session.deployment, session.rehearsal)
        for check in checks:
            typer.echo(f"{'ok  ' if check.holds else 'FAIL'} {check.what}")
        refuse_mismatch(checks)
        typer.echo(f"{session.record.path}: {len(checks)} checks, all hold")


def _summary(record: Record, checks: int) -> None:
    for name, address in record.addresses.items():
        typer.echo(f"{address}  {name}")
    gas = sum(step["gas_used"] for step in record.done)
    typer.echo(f"{record.path}: {len(record.done)} steps, {gas:,} gas, {checks} checks, all hold")


def _show(deployment: Deployment, rehearsal: Rehearsal, record: Record, w3: Web3) -> None:
    from oracle.chain.deployment.runner import suggested_fees
    from oracle.chain.deployment.session import has_code

    max_fee, tip = suggested_fees(w3)
    price = (max_fee + tip) // 2
    done = len(record.done)
    for step, gas in zip(deployment.steps, rehearsal.gas, strict=True):
        state = "done" if step.index < done else f"{gas:>10,} gas  {_ether(gas * price)}"
        typer.echo(f"{step.index + 1:>3}  nonce {deployment.nonce(step)}  {step.name}  {state}")
        typer.echo(f"       {step.contract}.{step.function}({', '.join(map(_argument, step.arguments))})")
        if step.creates is not None:
            size = f"{len(step.data):,} bytes of data, {len(rehearsal.code[step.creates]):,} bytes of code"
            typer.echo(f"       -> {step.creates}  {size}")
    left = sum(rehearsal.gas[done:])
    typer.echo(f"{len(deployment.steps) - done} steps to send from {deployment.start.deployer}, {left:,} gas, "
               f"{_ether(left * price)} at {price / GWEI:.4g} gwei; nothing was sent")  # fmt: skip
    if not has_code(w3, deployment.plan.owner):
        typer.echo(f"note: the owner {deployment.plan.owner} is no contract; use a timelock where money depends on it")


def _ether(wei: int) -> str:
    return f"{wei / 10**18:.6f} ETH"


def _argument(value: Any) -> str:
    if isinstance(value, bytes):
        text = value.rstrip(b"\0")
        return repr(text.decode("ascii")) if text and text.isascii() else "0x" + value.hex()
    if isinstance(value, tuple | list):
        return "(" + ", ".join(map(_argument, value)) + ")"
    return str(int(value)) if isinstance(value, int) else str(value)
