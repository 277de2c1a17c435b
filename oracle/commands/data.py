"""`dodona data`: pack rows into a data set, verify and prove it, and say what is wrong with the rows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oracle.cli import one_line
from oracle.commands import poison
from oracle.config import KeySettings
from oracle.errors import ConfigError

if TYPE_CHECKING:
    from feeds.dataset.manifest import Manifest, Parent

app = typer.Typer(help="Data sets: pack, verify, prove, and report on their quality.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="A packed data set: the folder with its manifest.json.")]
Inputs = Annotated[list[Path], typer.Argument(help="CSV, gzip CSV or Parquet files in order, or a store of quotes.")]
Keystore = Annotated[Path | None, typer.Option(help="Sign with this keystore (version 3).")]
PasswordFile = Annotated[Path | None, typer.Option(help="File with the keystore's password.")]
PasswordEnv = Annotated[str | None, typer.Option(help="Environment variable with the keystore's password.")]


class Unsound(ConfigError):
    """A data set, a proof or rows with faults; the report has been printed."""


@app.command()
def pack(
    inputs: Inputs,
    out: Annotated[Path, typer.Option(help="New folder for the data set.")],
    name: Annotated[str, typer.Option(help="Name of the data set.")],
    licence: Annotated[str, typer.Option(help="SPDX id, or the licence in words.")],
    version: Annotated[str, typer.Option(help="Version of the data set.")] = "1",
    provider: Annotated[str | None, typer.Option(help="0x address; by default the keystore's, or nobody.")] = None,
    known: Annotated[
        str | None, typer.Option(help="Column that says since when a row was known; ts+60 is 60 s after ts.")
    ] = None,
    parent: Annotated[list[Path] | None, typer.Option(help="Data set that this one was made from; repeat.")] = None,
    transformation: Annotated[str, typer.Option(help="What made it from its parents.")] = "",
    chunk_rows: Annotated[int, typer.Option(min=1, max=1 << 16, help="Rows in one provable chunk.")] = 4096,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Write no copy of the rows, only what proves them.")
    ] = False,
    keystore: Keystore = None,
    password_file: PasswordFile = None,
    password_env: PasswordEnv = None,
) -> None:
    """Make a data set of files: manifest, chunks, rows. The same rows give the same root whatever their files."""
    from feeds.dataset import pack as packing
    from feeds.dataset.manifest import MANIFEST
    from oracle.data_signature import sign
    from oracle.keys import load_key

    settings = key_settings(keystore, password_file, password_env)
    key = None if settings is None else load_key(settings)
    who = (provider or packing.NOBODY).lower() if key is None or provider else "0x" + key.address.hex()
    column, delay = known_column(known)
    about = packing.About(
        name, version, licence, who, tuple(_parent(folder) for folder in parent or ()), transformation,
        known=column, delay=delay, chunk_rows=chunk_rows,
    )  # fmt: skip
    manifest = packing.pack(inputs, out, about, copy=not in_place)
    if key is not None:
        manifest = sign(manifest, key)
        _replace(out / MANIFEST, manifest)
    _show(manifest)
    if manifest.known is None:
        typer.echo("no point-in-time column: nothing can be asked of it as of a moment; name one with --known")


@app.command()
def sign(
    folder: Folder,
    keystore: Annotated[Path, typer.Option(help="The provider's keystore (version 3).")],
    password_file: PasswordFile = None,
    password_env: PasswordEnv = None,
) -> None:
    """Sign the manifest of a data set as its provider (EIP-712)."""
    from feeds.dataset.manifest import MANIFEST
    from feeds.dataset.read import DataSet
    from oracle.data_signature import sign as sign_manifest
    from oracle.keys import load_key

    dataset = DataSet(folder)
    settings = key_settings(keystore, password_file, password_env)
    assert settings is not None
    manifest = sign_manifest(dataset.manifest, load_key(settings))
    _replace(folder / MANIFEST, manifest)
    _show(manifest)


@app.command()
def verify(
    folder: Annotated[Path | None, typer.Argument(help="A packed data set.")] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="Check these files of rows instead of its parts; repeat.")
    ] = None,
    proof: Annotated[Path | None, typer.Option(help="Check a proof instead of a data set.")] = None,
    root: Annotated[str | None, typer.Option(help="The root that it must have.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip parts found sound before and unchanged since.")
    ] = False,
) -> None:
    """Check every chunk of a data set, or a proof, and the provider's signature. Exit code 2 if anything is wrong."""
    if (folder is None) == (proof is None):
        raise ConfigError("say what to verify: either a data set's folder or --proof FILE")
    root = None if root is None else whole_root(root)
    if proof is not None and (data or resume):
        raise ConfigError("--data and --resume go with a data set's folder, not with --proof")
    if proof is not None:
        return _verify_proof(proof, root)
    from feeds.dataset.verify import ranges
    from feeds.dataset.verify import verify as check

    assert folder is not None
    found = check(folder, data, folder / ".verified.json" if resume else None)
    forged = _show(found.manifest)
    if root is not None and found.manifest.root != root:
        raise Unsound(f"{folder}: its root is {found.manifest.root}, wanted {root}")
    typer.echo(f"{len(found.good)} of {found.manifest.chunks} chunks sound")
    if found.remembered:
        typer.echo(
            f"  {found.remembered} of them by an earlier check; whole-manifest checks need a run without --resume"
        )
    for what, numbers in (("bad", found.bad), ("missing", found.missing)):
        if numbers:
            typer.echo(f"  {what}: chunks {ranges(numbers)}")
    for number, reason in list(found.reasons.items())[:3]:
        typer.echo(f"  chunk {number}: {reason}")
    for fault in found.faults:
        typer.echo(f"  {fault}")
    if found.strangers:
        typer.echo(f"  files that belong to nothing, never read: {', '.join(map(repr, found.strangers[:5]))}")
    if not found.sound or forged:
        again = f"; fetch again: {', '.join(found.fetch[:20])}" if found.fetch and data is None else ""
        raise Unsound(f"{folder}: not the data set that its manifest describes{again}")


def _verify_proof(path: Path, root: str | None) -> None:
    from feeds.dataset.open_file import open_regular
    from feeds.dataset.proof import MAX_PROOF, check_proof, parse_proof

    with open_regular(path) as file:
        proven = check_proof(parse_proof(file.read(MAX_PROOF + 2)), root)
    forged = _show(proven.manifest)
    last = proven.first_row + proven.rows.num_rows - 1
    typer.echo(f"proven: rows {proven.first_row} to {last} of {proven.manifest.rows}")
    if root is None:
        typer.echo("  under the root that the proof itself states: give --root to hold it to the one you know")
    for row in proven.rows.slice(0, 5).to_pylist():
        typer.echo(one_line(", ".join(f"{name}={value}"[:80] for name, value in list(row.items())[:12])))
    if forged:
        raise Unsound(f"{path}: its manifest's signature is not the provider's")


@app.command()
def prove(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="File for the proof; an existing one is not overwritten.")],
    rows: Annotated[str | None, typer.Option(help="Rows to prove, as FIRST:END (END is not one of them).")] = None,
    chunk: Annotated[int | None, typer.Option(min=0, help="One chunk to prove.")] = None,
) -> None:
    """Write a proof that some rows are in a data set; it can be checked without the rest of it."""
    from feeds.dataset.proof import prove as make
    from feeds.dataset.read import DataSet

    match = re.fullmatch(r"([0-9]{1,18}):([0-9]{1,18})", rows or "")
    if (rows is None) == (chunk is None) or (rows is not None and match is None):
        raise ConfigError("say what to prove: either --chunk NUMBER or --rows FIRST:END")
    dataset = DataSet(folder)
    numbers = (
        range(chunk or 0, (chunk or 0) + 1) if match is None else dataset.chunks_of_rows(int(match[1]), int(match[2]))
    )
    proof = make(dataset, numbers).to_bytes()
    try:
        with out.open("xb") as file:
            file.write(proof)
    except FileExistsError as error:
        raise ConfigError(f"{out} exists already; choose another file") from error
    first, end = (min(n * dataset.manifest.chunk_rows, dataset.manifest.rows) for n in (numbers.start, numbers.stop))
    typer.echo(f"{out}: chunks {numbers[0]} to {numbers[-1]} under {dataset.root}, {len(proof)} bytes")
    typer.echo(f"  chunks are proven whole: rows {first} to {end - 1}")


def key_settings(keystore: Path | None, password_file: Path | None, password_env: str | None) -> KeySettings | None:
    """Where key and password are, None without a keystore. Raises ConfigError unless one password is referred to."""
    if keystore is None:
        if password_file is not None or password_env is not None:
            raise ConfigError("a password without a keystore: name it with --keystore")
        return None
    if (password_file is None) == (password_env is None):
        raise ConfigError("say where the keystore's password is: either --password-file or --password-env")
    return KeySettings(keystore, password_file, password_env)


def whole_root(text: str) -> str:
    """A root as it stands in manifests. Raises ConfigError."""
    if re.fullmatch(r"0[xX][0-9a-fA-F]{64}", text) is None:
        raise ConfigError(f"--root {text[:80]!r}: write a whole root, 0x and 64 hex digits", given=text)
    return text.lower()


def known_column(text: str | None) -> tuple[str | None, int]:
    """Column and delay in microseconds of `COLUMN` or `COLUMN+SECONDS`. Raises ConfigError."""
    if text is None:
        return None, 0
    match = re.fullmatch(r"([^+]+?)(?:\+(\d{1,9}))?", text)
    if match is None:
        raise ConfigError(f"--known {text!r}: write a column, or a column and seconds, like ts+60", given=text)
    return match[1], int(match[2] or 0) * 1_000_000


def _parent(folder: Path) -> Parent:
    from feeds.dataset.manifest import MANIFEST, Parent, read_manifest

    manifest = read_manifest(folder / MANIFEST)
    return Parent(manifest.root, manifest.name)


def _replace(path: Path, manifest: Manifest) -> None:
    """The manifest in its place, whole or not at all."""
    from feeds.partitions import write_whole

    write_whole(path, manifest.to_bytes())


def _show(manifest: Manifest) -> bool:
    """Print what a data set is and who vouches for it; whether its signature is wrong."""
    from oracle.data_signature import standing

    verdict, line = standing(manifest)
    typer.echo(f"{manifest.name} {manifest.version}: {manifest.rows} rows, {manifest.chunks} chunks")
    typer.echo(f"  root {manifest.root}")
    typer.echo(f"  licence {one_line(manifest.licence)[:200]}")
    for parent in manifest.parents:
        typer.echo(f"  made from {parent.root} ({one_line(parent.name)}) by {one_line(manifest.transformation)[:200]}")
    typer.echo(f"  {line}")
    return verdict == "forged"


@app.command()
def quality(
    inputs: Annotated[list[Path], typer.Argument(help="Files in order, a store, or a packed data set.")],
    known: Annotated[
        str | None, typer.Option(help="Column that says since when a row was known; ts+60 is 60 s after ts.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Of a plain table: the column to be predicted.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the report for machines there.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report with pictures there.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 2 if any finding is an error.")] = False,
) -> None:
    """Say what is wrong with rows: gaps, duplicates, dead feeds, outliers, drift, disagreement, leaks."""
    from feeds.quality.report import report
    from feeds.quality.table import load

    column, delay = known_column(known)
    table = load(inputs, column, delay)
    found = report(table, label)
    if json_path is not None:
        json_path.write_text(found.to_json(), encoding="utf-8")
    if html is not None:
        from feeds.quality.page import render

        html.write_text(render(found, table), encoding="utf-8")
    for line in found.text().splitlines():
        typer.echo(" " * (len(line) - len(line.lstrip())) + one_line(line))
    if strict and not found.sound:
        raise Unsound(f"{found.name}: {found.counts}")


app.command()(poison.poison)
app.command()(poison.usage)
