"""The command that shows many runs in a browser."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnw_onnx.cli import output
from nnw_onnx.cli.commands_run import show_address
from nnw_onnx.errors import ConfigurationError

if TYPE_CHECKING:
    from nnw_onnx.reports.view import Gallery

PORT = 8465


def view(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder with run folders, or one of them.")
    ] = Path("nnw-runs"),
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of this machine; 0 for any that is free.")
    ] = PORT,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="DIR", help="Write the page into this folder, serve nothing."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write a page of an earlier --out anew.")
    ] = False,
    open_page: Annotated[
        bool | None,
        typer.Option("--open/--no-browser", help="Show it in the browser, as is done if served."),
    ] = None,
) -> None:
    """Show the runs of a folder in the browser.

    List, filter, compare, and open a cell down to its records. The page is served to this machine
    alone, until it is interrupted, and shows runs that are new when it is loaded again. With --out
    it is written as a folder of files, for a web host or to be opened as they are. No key, seed,
    network or configuration is in it.

    Example: nnw view nnw-runs
    """
    from nnw_onnx.reports.documents import old_pages
    from nnw_onnx.reports.view import Gallery

    if force and out is None:
        raise ConfigurationError("--force: expected --out with it, got none; leave it out")
    if out is not None:
        old_pages(out, force=force)  # before the runs are read, which may take minutes
    gallery = Gallery(folder, live=out is None)
    with _progress() as told:
        shown = gallery.refresh(told)
    if out is None:
        _serve(gallery, port, shown, open_page=open_page is not False)
    else:
        _write(gallery, out, shown, force=force, open_page=bool(open_page))


def _write(gallery: Gallery, out: Path, shown: int, *, force: bool, open_page: bool) -> None:
    from nnw_onnx.reports.documents import write_pages

    page, *rest = write_pages(gallery.files(), out, force=force)
    output.text(f"page: {page}, {_runs(shown)} in {len(rest) + 1} files")
    if open_page:
        show_address(page.resolve().as_uri(), str(page))


def _serve(gallery: Gallery, port: int, shown: int, *, open_page: bool) -> None:
    from nnw_onnx.reports.view import serving

    with serving(gallery, port) as server:
        address = f"http://{server.server_address[0]!s}:{server.server_address[1]}/"
        output.text(f"page: {address}, {_runs(shown)}; Ctrl-C ends it")
        if open_page:
            show_address(address, address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            output.note("no longer served")


def _runs(shown: int) -> str:
    return f"{shown:,} run{'s' if shown != 1 else ''}"


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, where reading takes a while."""
    from tqdm import tqdm

    quiet = not output.LOGGER.isEnabledFor(logging.INFO)
    with tqdm(desc="runs", unit="run", delay=1, disable=True if quiet else None) as bar:

        def told(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        yield told
