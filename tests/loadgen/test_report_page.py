from __future__ import annotations

import html.parser
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.report.amplification import shape_of
from loadgen.report.documents import read_documents
from loadgen.report.page import page
from loadgen.report.report import ReportSettings, Written, write_report
from loadgen.report.section import Picture, Section, Table, amount
from tests.loadgen.browser import Page, browsing, find_browser

_DATA = Path(__file__).parent / "data" / "bench"
_PNG = b"\x89PNG\r\n\x1a\n"
_SECTIONS = (
    "aims",
    "throughput",
    "latency",
    "convergence",
    "amplification",
    "growth",
    "resources",
    "predictions",
    "numbers",
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Return the report of the sample documents."""
    target = tmp_path_factory.mktemp("report")
    return write_report(
        ReportSettings(source=_DATA, target=target, hosts=1_000), lambda _line: None
    )


class _Reader(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def _tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    reader = _Reader()
    reader.feed(text)
    return reader.tags


def test_every_picture_is_a_file_and_in_the_page(written: Written) -> None:
    """Pictures stand beside the page too, each with words for who does not see it."""
    tags = _tags(written.page.read_text())
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert len(images) == len(written.pictures) > 8
    assert all(file.read_bytes().startswith(_PNG) for file in written.pictures)
    assert all(len(image["alt"] or "") > 20 for image in images)
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in images)


def test_nothing_in_the_page_comes_from_elsewhere(written: Written) -> None:
    """No script, no address of another machine, and a policy that forbids both."""
    text = written.page.read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert "default-src &#x27;none&#x27;" in text
    for tag, attributes in _tags(text):
        assert tag != "script"
        for name in ("src", "href"):
            assert re.match(r"data:|#|$", attributes.get(name) or ""), attributes


def test_each_number_stands_with_its_command_machine_and_date(written: Written) -> None:
    """Beneath the pictures; of old documents the name of the benchmark at least."""
    text = written.page.read_text()
    assert "southbound bench latency (options not recorded) · AMD EPYC" in text
    assert "2026-11-21T12:55:06+00:00" in text
    (accepted, *_) = read_documents(_DATA).documents["publish"].rows
    assert f'<td class="number">{amount(accepted.value)}</td>' in text
    assert written.missing == ()


def test_what_has_no_data_says_so(tmp_path: Path) -> None:
    """An empty folder gives a page whose sections name the command that would fill them."""
    settings = ReportSettings(source=tmp_path, target=tmp_path / "report", hosts=200)
    written = write_report(settings, lambda _line: None)
    assert [file.name for file in written.pictures] == ["amplification.png"]
    text = written.page.read_text()
    for command in (
        "bench publish",
        "bench latency",
        "bench million",
        "bench storm",
        "bench capacity",
    ):
        assert f"<code>southbound {command}</code>" in text


def test_a_report_is_written_again_from_the_same_documents(tmp_path: Path) -> None:
    """The same bytes: nothing in it hangs on when it was written."""
    (tmp_path / "agent.json").write_bytes(next(_DATA.glob("agent-*.json")).read_bytes())
    settings = ReportSettings(source=tmp_path, target=tmp_path / "report", hosts=200)
    found = []
    for _ in range(2):
        write_report(settings, lambda _line: None)
        found.append({file.name: file.read_bytes() for file in settings.target.iterdir()})
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_amplification_is_that_of_the_real_allocation() -> None:
    """10 hosts a slot are read 10.09 times, as many as a million hosts in 100,000 slots."""
    shape = shape_of(10_000, 10)
    assert shape.slots == 1_000
    assert shape.mean == pytest.approx(10.09, abs=0.03)
    assert shape.emptiest <= 10 < shape.fullest <= 14
    assert shape_of(1_000, 100).mean == pytest.approx(100, rel=0.01)


def test_words_of_documents_are_never_markup() -> None:
    """What stands in a document is shown as it is."""
    section = Section(
        "a",
        "<b>",
        "`<i>`",
        (
            Picture("p", "<q>", _PNG, '"><script>'),
            Table("<u>", ("<s>",), (("<img src=x>",),), "<em>"),
        ),
        ("<a>",),
    )
    text = page("<title>", "<lead>", [section], [])
    assert not {"b", "i", "script", "u", "s", "q", "em", "a"} & {
        tag for tag, attributes in _tags(text) if tag != "a" or "href" not in attributes
    }


# In a real browser.


@pytest.fixture(scope="module")
def shown(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Return the page, loaded in a browser; skips, and says so aloud, where there is none."""
    program = find_browser()
    if program is None:
        pytest.skip(
            "NO BROWSER on this machine: the page was not looked at (apt-get install chromium)"
        )
    with browsing(program, tmp_path_factory.mktemp("browser") / "profile") as shown:
        shown.go(written.page.as_uri())
        yield shown


def test_a_browser_shows_it_without_the_network(shown: Page, written: Written) -> None:
    """All pictures are drawn, headings and tables are there, nothing is fetched, nothing complains."""
    widths = shown.value(
        "Promise.all([...document.images].map(image => image.decode().then(() => image.naturalWidth)))"
    )
    assert len(widths) == len(written.pictures)
    assert all(width > 500 for width in widths)
    headings = shown.value("[...document.querySelectorAll('main section')].map(one => one.id)")
    assert tuple(headings) == _SECTIONS
    assert shown.value("document.querySelectorAll('h1').length") == 1
    tables = "[...document.querySelectorAll('main table')]"
    assert shown.value(f"{tables}.length") > 12
    assert shown.value(f"{tables}.every(one => one.caption.textContent && one.rows.length > 1)")
    asked = [one["request"]["url"] for one in shown.told("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [written.page.as_uri()]
    for complaint in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
        assert shown.told(complaint) == []


def test_it_reads_in_light_and_in_dark_and_on_a_narrow_screen(shown: Page) -> None:
    """Text stands out from its ground by 7 to 1, and the page is no wider than a telephone."""
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        shown.ask("Emulation.setEmulatedMedia", features=features)
        style = "getComputedStyle(document.body)"
        ink, ground = shown.value(f"[{style}.color, {style}.backgroundColor]")
        lighter, darker = sorted((_luminance(ink), _luminance(ground)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) > 7
        assert (_luminance(ground) < 0.5) == (scheme == "dark")
    shown.ask(
        "Emulation.setDeviceMetricsOverride",
        width=390,
        height=800,
        deviceScaleFactor=1,
        mobile=True,
    )
    assert shown.value("document.documentElement.scrollWidth") <= 390


def _luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2, from `rgb(r, g, b)`."""
    parts = [int(one) / 255 for one in re.findall(r"\d+", colour)[:3]]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
