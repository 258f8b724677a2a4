"""The page in a browser: Debian's Chromium, driven by Playwright (FAULTS F6, F20 and what people need of a page)."""

from __future__ import annotations

import asyncio
import base64
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from saccade.finished import Run
from saccade.runs import RunFolder
from saccade.use.serve import make_server
from saccade.use.serve_messages import Options, Source
from saccade.use.serve_service import Service
from saccade.use.serve_worker import Worker

pytestmark = pytest.mark.usefixtures("quick_python")

_PATIENCE = 30.0
_TAGS = ("<img src=x onerror=alert(1)>", "<script>alert(2)</script>", '한글 & "quotes"')


@contextmanager
def _server(start: Callable[[], Worker], options: Options) -> Iterator[str]:
    found: list[str] = []
    servers: list[object] = []
    ready = threading.Event()

    def announce(port: int) -> None:
        found.append(f"http://127.0.0.1:{port}/")
        ready.set()

    async def main() -> None:
        service = Service(start, options)
        server = make_server(service, announce)
        servers.append(server)
        await service.open()
        try:
            await server.serve()
        finally:
            await service.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        assert ready.wait(_PATIENCE)
        yield found[0]
    finally:
        for server in servers:
            server.should_exit = True  # type: ignore[attr-defined]
        thread.join(_PATIENCE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs the command chromium (Debian: apt-get install chromium)")
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *camera])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def named(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The finished run, with a report, and with names of classes that would run as HTML; "not sure" below 0.99."""
    run = RunFolder(Path(shutil.copytree(finished.path, tmp_path_factory.mktemp("named") / "colours")))
    trained = run.load()
    run.save_weights("best", trained._replace(class_names=_TAGS))
    run.write_report("<!doctype html><title>report</title><p>the report</p><script>document.title = 'ran'</script>")
    return run


@pytest.fixture(scope="module")
def address(named: RunFolder) -> Iterator[str]:
    with _server(partial(Worker, Source(str(named.path), "cpu")), Options(port=0)) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with _opened(browser, address) as page:
        yield page


@contextmanager
def _opened(browser: Browser, address: str, width: int = 1280, scheme: str = "light") -> Iterator[Page]:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
    page.on(
        "request",
        lambda sent: None if sent.url.startswith((address.partition("#")[0], "blob:")) else troubles.append(sent.url),
    )
    page.goto(address)
    yield page
    assert not troubles
    page.close()


def _drop(page: Page, path: Path) -> None:
    """As a hand does: the file arrives with the drop, not with a field of the page."""
    data = page.evaluate_handle(
        """([bytes, name]) => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(bytes), (sign) => sign.charCodeAt(0))], name));
            return data;
        }""",
        [base64.b64encode(path.read_bytes()).decode(), path.name],
    )
    page.dispatch_event("#drop", "dragover", {"dataTransfer": data})
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})


def test_picture_that_is_dropped_gets_its_class_and_its_heat_map(page: Page, colours: Path) -> None:
    _drop(page, colours / "green" / "02.png")
    expect(page.locator("#name")).to_have_text(_TAGS[1])
    expect(page.locator("#bars li")).to_have_count(3)
    expect(page.locator("#bars .number").first).to_contain_text("%")
    expect(page.locator("#status")).to_contain_text(f"02.png: {_TAGS[1]}")  # what a screen reader says
    before = page.locator("#picture").get_attribute("src")
    page.click("#heat")
    expect(page.locator("#heat")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#picture")).not_to_have_attribute("src", before or "")
    expect(page.locator("#picture")).to_have_js_property("naturalWidth", 448)
    expect(page.locator("#picture")).to_have_attribute("alt", f"02.png, with heat where the network found {_TAGS[1]}")


def test_exported_file_shows_the_heat_of_occlusion(browser: Browser, finished: RunFolder, colours: Path) -> None:
    pytest.importorskip("onnxruntime")
    file = Run(finished).export(finished.path.parent / "page.onnx", quiet=True).path
    with (
        _server(partial(Worker, Source(str(file), "cpu")), Options(port=0)) as address,
        _opened(browser, address) as page,
    ):
        _drop(page, colours / "green" / "02.png")
        expect(page.locator("#name")).to_have_text("green")
        page.click("#heat")
        expect(page.locator("#picture")).to_have_js_property("naturalWidth", 448)
        expect(page.locator("#caption")).to_contain_text("occlusion, a grey square of 5×5 pixels at 121 places")
        assert not _faults(page)


def test_f20_names_of_classes_and_files_are_text(page: Page, colours: Path, tmp_path: Path) -> None:
    path = shutil.copy(colours / "blue" / "02.png", tmp_path / "<img src=x onerror=alert(3)>.png")
    page.set_input_files("#files", path)
    expect(page.locator("#name")).to_have_text(_TAGS[0])
    expect(page.locator("#caption")).to_have_text("<img src=x onerror=alert(3)>.png")
    page.click("summary")
    expect(page.locator("#classes li")).to_have_text(list(_TAGS))
    assert page.locator("main script, #classes img").count() == 0


def test_file_that_is_no_picture_says_why(page: Page, tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    page.set_input_files("#files", tmp_path / "page.jpg")
    expect(page.locator("#name")).to_have_text("This picture cannot be used")
    expect(page.locator("#share")).to_contain_text("not_an_image")
    expect(page.locator("#no-preview")).to_be_visible()
    expect(page.locator("#views")).to_be_hidden()


def test_pictures_so_far_can_be_seen_again_and_forgotten_by_keyboard(page: Page, colours: Path) -> None:
    page.set_input_files("#files", [colours / name / "05.png" for name in ("blue", "green", "red")])
    expect(page.locator("#shown b")).to_have_text(list(reversed(_TAGS)))
    page.locator("#shown button").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#name")).to_have_text(_TAGS[2])
    expect(page.locator("#shown button").first).to_be_focused()
    page.locator("#forget").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#history")).to_be_hidden()
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0


def test_every_control_is_reached_by_the_tabulator(page: Page, colours: Path) -> None:
    page.set_input_files("#files", colours / "red" / "05.png")
    expect(page.locator("#name")).to_have_text(_TAGS[2])
    reached = set()
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"choose", "camera", "plain", "heat", "forget", "report", "SUMMARY"} <= reached


def test_picture_is_taken_with_the_camera(page: Page) -> None:
    page.click("#camera")
    expect(page.locator("#camera-dialog")).to_be_visible()
    page.wait_for_function("document.getElementById('video').videoWidth > 0")
    page.click("#take")
    expect(page.locator("#caption")).to_have_text("camera.jpg")
    expect(page.locator("#bars li")).to_have_count(3)


def test_picture_that_is_pasted_gets_its_class(page: Page, colours: Path) -> None:
    data = base64.b64encode((colours / "red" / "07.png").read_bytes()).decode()
    page.evaluate(
        """(bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(bytes), (sign) => sign.charCodeAt(0))], "pasted.png"));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
        }""",
        data,
    )
    expect(page.locator("#name")).to_have_text(_TAGS[2])


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark"), (390, "light"), (1280, "dark")])
def test_axe_finds_nothing_and_nothing_sticks_out(
    browser: Browser, address: str, colours: Path, width: int, scheme: str
) -> None:
    with _opened(browser, address, width, scheme) as page:
        assert not _faults(page)
        _drop(page, colours / "green" / "02.png")
        expect(page.locator("#name")).to_have_text(_TAGS[1])
        page.click("summary")
        assert not _faults(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.goto(f"{address}docs")
        assert not _faults(page)


def _faults(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{each['id']} ({each['impact']}): {each['nodes'][0]['html']}" for each in found]


def test_report_is_shown_and_its_scripts_do_not_run(page: Page) -> None:
    page.click("#report")
    expect(page.locator("p")).to_have_text("the report")
    assert page.title() == "report"


def test_answer_that_is_not_sure_is_shown_as_such(browser: Browser, finished: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(finished.path, tmp_path / "unsure")))
    trained = run.load()
    # No confidence is vouched for: every answer is "not sure".
    run.save_weights("best", trained._replace(certainty=trained.certainty.demanding(0.9999)))
    Image.new("RGB", (24, 20), (120, 120, 110)).save(tmp_path / "grey.png")
    with (
        _server(partial(Worker, Source(str(run.path), "cpu")), Options(port=0)) as address,
        _opened(browser, address) as page,
    ):
        page.set_input_files("#files", tmp_path / "grey.png")
        expect(page.locator("#unsure")).to_be_visible()
        expect(page.locator("#status")).to_contain_text("not sure, perhaps")
        expect(page.locator("#shown")).to_contain_text("not sure")
        assert not _faults(page)


def test_page_asks_for_the_token_and_takes_it_out_of_the_address(
    browser: Browser, named: RunFolder, colours: Path
) -> None:
    options = Options(port=0, token="correct-horse")
    with _server(partial(Worker, Source(str(named.path), "cpu")), options) as address:
        with _opened(browser, address) as page:
            expect(page.locator("#token-dialog")).to_be_visible()
            page.fill("#token", "wrong")
            page.click("#enter")
            expect(page.locator("#token-wrong")).to_be_visible()
            page.fill("#token", "correct-horse")
            page.keyboard.press("Enter")
            expect(page.locator("#title")).to_have_text("colours")
            page.context.clear_cookies()
        with _opened(browser, f"{address}#token=correct-horse") as page:
            expect(page.locator("#title")).to_have_text("colours")
            assert page.url == address
            page.set_input_files("#files", colours / "red" / "07.png")
            expect(page.locator("#name")).to_have_text(_TAGS[2])
