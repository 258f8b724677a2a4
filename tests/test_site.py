"""The site: it is built without a warning, no link is broken, and no page asks another machine for anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
import typer
from playwright.sync_api import sync_playwright

from saccade.cli import app
from saccade.models.catalogue import CATALOGUE
from saccade.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
# What a browser fetches by itself; a link that a reader may follow is none of it.
FETCHED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "object": "data",
    "link": "href",
}


class _Page(HTMLParser):
    """What a page has: names of places, links, and what is fetched when it opens."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: set[str] = set()
        self.fetched: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.places |= {named[key] for key in ("id", "name") if key in named}
        if tag == "a" and "href" in named:
            self.links.add(named["href"])
        if tag in FETCHED and FETCHED[tag] in named:
            self.fetched.add(named[FETCHED[tag]])


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    own = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return folder


@pytest.fixture(scope="session")
def pages(site: Path) -> dict[Path, _Page]:
    """Every page by its file."""
    return {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def _is_elsewhere(address: str) -> bool:
    return bool(re.match(r"[a-z]+:|//", address)) and not address.startswith("data:")


def test_site_has_every_page_of_the_docs(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT / "docs")).with_suffix(".html").exists(), page


def test_site_links_lead_to_pages_and_places_that_exist(site: Path, pages: dict[Path, _Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links:
            address, place = urldefrag(unquote(link))
            if _is_elsewhere(link) or path.name == "404.html":
                continue
            target = (path.parent / address).resolve() if address else path
            target = target / "index.html" if target.is_dir() else target
            known = not place or target not in pages or place in pages[target].places
            if not target.exists() or not known:
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken


def test_site_pages_fetch_nothing_from_another_host(site: Path, pages: dict[Path, _Page]) -> None:
    for path, page in pages.items():
        assert not {address for address in page.fetched if _is_elsewhere(address)}, path
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        addresses = re.findall(r"url\(['\"]?([^)'\"]+)|@import ['\"]([^'\"]+)", text)
        assert not [each for pair in addresses for each in pair if each and _is_elsewhere(each)], style


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """The site on a server of this machine: from a disk, browsers load no search index."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("width", [1280, 390])
def test_site_in_a_browser_asks_nobody_else_fits_and_finds(address: str, width: int) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs the command chromium (Debian: apt-get install chromium)")
    asked: set[str] = set()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: asked.add(request.url))
        for name in ("index", "models", "reference/commands", "reference/python", "exercises/3-three-kinds"):
            page.goto(f"{address}/{name}.html")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.goto(f"{address}/index.html")
        if width < 1000:
            page.locator("label.md-header__button[for=__search]").click()
        page.locator("input.md-search__input").click()  # only then the index is loaded
        page.locator("input.md-search__input").press_sequentially("temperature")
        page.locator(".md-search-result__item").first.wait_for(timeout=60_000)
        browser.close()
    assert {url for url in asked if not url.startswith((f"{address}/", "data:"))} == set()


def test_site_lists_every_command_flag_and_field(site: Path) -> None:
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    for name, command in typer.main.get_command(app).commands.items():
        assert f"saccade {name}" in commands
        for flag in (flag for each in command.params for flag in each.opts if flag.startswith("--")):
            assert f"<code>{flag}</code>" in commands, f"{name} {flag}"
    recipe = (site / "reference" / "recipe.html").read_text(encoding="utf-8")
    for field in Recipe.model_fields:
        assert f"<code>{field}</code>" in recipe, field


def test_models_page_has_the_facts_of_the_code_and_every_network() -> None:
    fill = [sys.executable, str(ROOT / "docs" / "fill_models.py"), "--check"]
    done = subprocess.run(fill, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    for name in CATALOGUE:
        assert page.count(f"| `{name}` |") == 1, name


def test_models_page_explains_every_family_in_five_sentences() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    for family in page.split("\n## ")[1:]:
        heading, _, rest = family.partition("\n")
        prose = re.sub(r"\]\([^)]*\)", "]", rest.partition("<!-- catalogue")[0])
        sentences = re.findall(r"[.?](?=\s|$)", prose.strip().removesuffix(":"))
        assert len(sentences) == 5, f"{heading}: {len(sentences)}"
