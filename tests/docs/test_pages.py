"""The documentation tells the truth: what its pages show runs, in order, and prints that."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..readme import sessions  # noqa: TID252 - the README is carried out in the same way

FOLDER = sessions.ROOT / "docs" / "pages"
PAGES = sorted(p.relative_to(FOLDER).as_posix() for p in FOLDER.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_every_example_runs_and_prints_what_is_shown(page: str, tmp_path: Path) -> None:
    text = (FOLDER / page).read_text(encoding="utf-8")
    shown = [b for b in sessions.BLOCKS.blocks(text) if b.language in ("console", "python")]
    sessions.furnish(tmp_path)
    ran = sessions.carry_out(text, tmp_path)
    assert ran or not [b for b in shown if not b.file]


@pytest.mark.parametrize("page", PAGES)
def test_every_table_of_an_evaluation_is_one(page: str) -> None:
    sessions.read_tables((FOLDER / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    sessions.check_links(FOLDER / page, made=("catalogue/", "reference/"))
