"""Build the documentation site: `python docs/build.py FOLDER`.

The pages beside this file are joined by what follows from the code: cards of everything in the
catalogue, the reference of every public name, the help of every command. A warning is an error.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nnw_onnx

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
MODULES = {
    "adapters": ("The adapters", ("nnw_onnx_torch", "nnw_onnx_tensorflow", "nnw_onnx_olive")),
    "authors": (
        "For authors of plug-ins",
        ("nnw_onnx.vocabulary", "nnw_onnx.plugins", "nnw_onnx.testing", "nnw_onnx.errors"),
    ),
}
SECTION = re.compile(r"^(\S.*)\n((?:    .*\n)+)", re.MULTILINE)
NAME = re.compile(r"^    (\w+)  ", re.MULTILINE)
TITLED = re.compile(r'^```(\w+) title="([^"]+)"$', re.MULTILINE)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(((?:\.\./){2,}[^)\s]*)\)")


def main(arguments: Sequence[str]) -> int:
    """Gather the pages in a folder of their own and build them.

    Returns:
        The exit status of Sphinx.
    """
    if len(arguments) != 1:
        sys.stderr.write("usage: python docs/build.py FOLDER\n")
        return 2
    with tempfile.TemporaryDirectory() as made:
        gather(Path(made))
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", str(DOCS)]
        return subprocess.run([*command, made, arguments[0]], check=False).returncode


def gather(folder: Path) -> None:
    """Write every source of the site into a folder."""
    shutil.copytree(DOCS / "pages", folder, dirs_exist_ok=True)
    (folder / "pictures").mkdir(exist_ok=True)
    for picture in (ROOT / ".github").glob("*.png"):
        shutil.copy(picture, folder / "pictures")
    for path, text in made().items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    for page in folder.rglob("*.md"):
        page.write_text(_for_sphinx(page.read_text(encoding="utf-8")), encoding="utf-8")


def made() -> dict[str, str]:
    """The text of every page that follows from the code, by its path."""
    catalogue = json.loads(_told("list", "--format", "json"))
    return {
        "catalogue/index.md": _gallery(catalogue),
        "catalogue/methods.md": _cards("Methods", catalogue["methods"]),
        "catalogue/modifications.md": _cards("Modifications", catalogue["modifications"]),
        "catalogue/others.md": _others(catalogue),
        "reference/index.md": _python(),
        **{f"reference/{name}.md": _modules(*told) for name, told in MODULES.items()},
        "reference/commands.md": _commands(),
        "reference/changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    }


def _for_sphinx(text: str) -> str:
    """A page with captions above files, and the names of files that the site does not have."""
    text = TITLED.sub(r"```{code-block} \1\n:caption: \2\n", text)
    return LINK.sub(_outside, text)


def _outside(link: re.Match[str]) -> str:
    """A picture from where it was copied to, or the name of a file of the repository."""
    picture, told, target = link.groups()
    place = target.replace("../", "").partition("#")[0]
    return f"![{told}](pictures/{Path(place).name})" if picture else f"{told} (`{place}`)"


def _told(*arguments: str) -> str:
    """What `nnw` answers, wide enough that no help is folded."""
    told = subprocess.run(
        [sys.executable, "-m", "nnw_onnx", *arguments],
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "100"},
    )
    return told.stdout


def _safe(text: object) -> str:
    """A text that Markdown leaves as it is."""
    return re.sub(r"([*_`\[\]|#\\$])", r"\\\1", html.escape(str(text), quote=False))


def _gallery(catalogue: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A card for each method, and how many there are of everything else."""
    cards = [
        f":::{{grid-item-card}} {entry['name']}\n:link: methods.html#{entry['name']}\n\n"
        f"{_safe(entry.get('summary') or entry.get('error'))}\n\n"
        f"*{entry.get('kind', '')}, sees {entry.get('access', 'nothing')}*\n:::\n"
        for entry in catalogue["methods"]
    ]
    counted = ", ".join(f"{group} {len(entries)}" for group, entries in catalogue.items())
    return (
        f"# Catalogue\n\nMade from what `nnw list` tells of this version: {counted}.\n\n"
        "::::{grid} 1 2 2 3\n:gutter: 2\n\n" + "\n".join(cards) + "::::\n\n"
        "```{toctree}\n:hidden:\n\nmethods\nmodifications\nothers\n```\n"
    )


def _cards(title: str, entries: Sequence[Mapping[str, Any]]) -> str:
    return f"# {title}\n\n" + "\n".join(line for e in entries for line in _card(e)) + "\n"


def _card(entry: Mapping[str, Any], level: str = "##") -> Iterator[str]:
    """Everything that the catalogue says of one plug-in."""
    yield f"{level} {entry['name']}\n"
    yield f"{_safe(entry.get('summary') or entry.get('error') or '')}\n"
    facts = list(_facts(entry))
    if facts:
        yield "| what | told |\n|---|---|"
        yield from (f"| {name} | {value} |" for name, value in facts)
        yield ""
    yield from _options(entry.get("options") or ())


def _facts(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("kind", "access", "family", "number"):
        if entry.get(name) is not None:
            yield name, _safe(entry[name])
    for name, value in (entry.get("card") or {}).items():
        if isinstance(value, bool):
            yield name, "yes" if value else "no"
        elif value:
            told = [value] if isinstance(value, str) else value
            yield name.replace("_", " "), "<br>".join(map(_safe, told))
    attacks = [
        ", then ".join(step["name"] for step in steps) for steps in entry.get("adaptive", [])
    ]
    if attacks:
        yield "attacks by who knows it", "<br>".join(attacks)


def _options(options: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not options:
        return
    yield "| option | values | default | what |\n|---|---|---|---|"
    for option in options:
        default = "required" if option["required"] else option["default"]
        yield (
            f"| `{option['name']}` | {_safe(option['type'])} | "
            f"{'' if default is None else _safe(default)} | {_safe(option['help'])} |"
        )
    yield ""


def _others(catalogue: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    lines = ["# Codes, tasks, data sets and presets\n"]
    for group, entries in catalogue.items():
        if group in ("methods", "modifications"):
            continue
        lines.append(f"## {group.capitalize()}\n")
        for entry in entries:
            lines += _card(entry, "###")
    return "\n".join(lines) + "\n"


def _python() -> str:
    """Every public name of the package, under the headings of its docstring."""
    lines = [
        "# Reference\n",
        "```{toctree}\n:hidden:\n\nadapters\nauthors\ncommands\nchangelog\n```\n",
        "`import nnw_onnx as nnw`\n",
    ]
    told: list[str] = []
    for title, body in SECTION.findall(nnw_onnx.__doc__ or ""):
        names = [name for name in NAME.findall(body) if name in nnw_onnx.__all__]
        told += names
        lines.append(f"## {title}\n")
        lines += [_directive("autofunction", f"nnw_onnx.{name}") for name in names]
    lines.append("## Classes\n")
    rest = [name for name in nnw_onnx.__all__ if name not in told and name != "__version__"]
    # Most of these have their place among what authors of plug-ins need.
    lines += [_directive("autoclass", f"nnw_onnx.{name}", "members", "no-index") for name in rest]
    return "\n".join(lines)


def _modules(title: str, names: Sequence[str]) -> str:
    parts = [f"## {name}\n\n{_directive('automodule', name, 'members')}" for name in names]
    return f"# {title}\n\n" + "\n".join(parts)


def _directive(kind: str, name: str, *options: str) -> str:
    lines = [f".. {kind}:: {name}", *(f"   :{option}:" for option in options)]
    return "\n".join(["```{eval-rst}", *lines, "```\n"])


def _commands() -> str:
    """The help of every command."""
    lines = ["# Commands\n", f"```text\n{_told('--help')}```\n"]
    for command in _named(_told("--help")):
        told = _told(command, "--help")
        lines += [f"## nnw {command}\n", f"```text\n{told}```\n"]
        for part in _named(told):
            inner = _told(command, part, "--help")
            lines += [f"### nnw {command} {part}\n", f"```text\n{inner}```\n"]
    return "\n".join(lines)


def _named(told: str) -> list[str]:
    """The commands that a help lists."""
    return re.findall(r"^  ([a-z][a-z-]*)  +\S", told.partition("Commands:")[2], re.MULTILINE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
