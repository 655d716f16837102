"""Programs on a page are those of the example package, letter by letter."""

from __future__ import annotations

import pytest

from ..readme import sessions  # noqa: TID252 - pages are read in the same way

PACKAGE = sessions.ROOT / "tests/third_party/nnw-onnx-example/nnw_onnx_example"
PAGES = ("write-a-method", "write-a-modification", "write-a-task")


@pytest.mark.parametrize("page", PAGES)
def test_the_page_shows_the_file_of_the_example_package(page: str) -> None:
    text = (sessions.ROOT / f"docs/pages/{page}.md").read_text(encoding="utf-8")
    shown = [b for b in sessions.BLOCKS.blocks(text) if b.file.endswith(".py")]
    assert shown
    for block in shown:
        assert block.text == (PACKAGE / block.file).read_text(encoding="utf-8")
