"""The site is built from the repository, whole and without a warning."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nnw_onnx
from nnw_onnx import plugins

for package in ("sphinx", "myst_parser", "furo", "sphinx_design", "sphinx_copybutton"):
    pytest.importorskip(package, reason=f"needs {package}: pip install '.[docs]'")

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.xdist_group("the site")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, ROOT / "docs/build.py", folder],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return folder


def _page(site: Path, name: str) -> str:
    return (site / name).read_text(encoding="utf-8")


def test_every_public_name_is_explained(site: Path) -> None:
    reference = _page(site, "reference/index.html")
    classes = re.findall(r"\bclass (\w+)", re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", reference)))
    for name in set(nnw_onnx.__all__) - {"__version__"}:
        assert f'id="nnw_onnx.{name}"' in reference or name in classes, name


@pytest.mark.parametrize(
    ("group", "page"),
    [("methods", "methods"), ("modifications", "modifications"), ("tasks", "others")],
)
def test_every_plugin_has_its_card(site: Path, group: str, page: str) -> None:
    text = _page(site, f"catalogue/{page}.html")
    for name in plugins.names(group):
        assert f'id="{name}"' in text, name


def test_the_gallery_leads_to_every_method(site: Path) -> None:
    gallery, cards = _page(site, "catalogue/index.html"), _page(site, "catalogue/methods.html")
    led = re.findall(r'href="methods\.html#([\w-]+)"', gallery)
    assert sorted(set(led)) == sorted(plugins.names("methods"))
    assert all(f'id="{name}"' in cards for name in led)


def test_every_command_is_there(site: Path) -> None:
    text = _page(site, "reference/commands.html")
    for command in ("evaluate", "integrity seal", "key show", "recipients trace"):
        assert f"nnw {command}" in text


LOADED = re.compile(r'<(?:script|img|link)[^>]+(?:src|href)="([^"]+)"')


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|link)[^>]+(?:src|href)="([^"]+)"', _page(site, str(page))
        )
        assert loaded
        assert not [target for target in loaded if "//" in target], page


def test_pictures_and_pages_are_where_links_lead(site: Path) -> None:
    for page in site.rglob("*.html"):
        for target in re.findall(r'(?:src|href)="([^"#?:]+)[#?"]', _page(site, str(page))):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_pages_can_be_searched(site: Path) -> None:
    index = _page(site, "searchindex.js")
    titles = json.loads(index[index.index("(") + 1 : index.rindex(")")])["titles"]
    assert any("Owners" in title for title in titles)
