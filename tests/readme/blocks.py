"""The commands of a Markdown file: `python blocks.py README.md Start` prints those of a section."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"^```(?P<language>\w*)(?: title=\"(?P<file>[\w./-]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
HEADING = re.compile(r"^##+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the heading it stands under, its text, the file that it is."""

    language: str
    heading: str
    text: str
    file: str = ""

    @property
    def commands(self) -> list[str]:
        """Lines after a "$ " prompt, with the lines that a final backslash joins to them."""
        joined = self.text.replace("\\\n", " ")
        return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]

    @property
    def output(self) -> list[str]:
        """What the page shows that the commands print."""
        joined = self.text.replace("\\\n", " ")
        return [line for line in joined.splitlines() if line and not line.startswith("$ ")]


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    headings = [(m.start(), m.group(1)) for m in HEADING.finditer(text)]

    def heading_at(position: int) -> str:
        before = [title for start, title in headings if start < position]
        return before[-1] if before else ""

    return [
        Block(m["language"], heading_at(m.start()), m["text"], m["file"] or "")
        for m in FENCE.finditer(text)
    ]


if __name__ == "__main__":
    page, section = sys.argv[1:]
    for block in blocks(Path(page).read_text(encoding="utf-8")):
        if block.language == "console" and block.heading == section:
            sys.stdout.write("\n".join(block.commands) + "\n")
