"""The page of a run in a real browser: readable everywhere, asks for nothing, runs nothing."""

import pytest

OPEN_ALL = "document.querySelectorAll('details').forEach(part => { part.open = true })"
TOO_WIDE = """[...document.querySelectorAll('main *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1
        && !e.closest('pre, .scroll, table, svg, code, nav'))
    .map(e => e.tagName + '.' + e.className).slice(0, 5)"""
VISIBLE = "document.querySelectorAll('[data-item]:not([hidden])').length"


def test_it_loads_nothing_and_complains_of_nothing(page, report):
    page.open(report)
    page.run(OPEN_ALL)
    assert _requests(page) == [report.as_uri()]
    assert _complaints(page) == []


def test_what_a_model_wrote_stays_text(page, report):
    page.open(report)
    page.run(OPEN_ALL)
    assert page.run("document.title") == "calculation · selfchallenge"
    assert page.run("document.querySelectorAll('script').length") == 1
    assert page.run("document.querySelectorAll('img, iframe, object, link').length") == 0
    assert page.run("document.querySelectorAll('[onerror], [onload], [onmouseover]').length") == 0
    assert page.run("document.querySelectorAll('a[href^=\"javascript\"]').length") == 0
    text = page.run("document.body.textContent")
    assert "<script>document.title='owned'</script>" in text
    assert "{{ 7 * 7 }}" in text


def test_the_policy_stops_a_script_that_got_in(page, report, tmp_path):
    broken = tmp_path / "broken.html"
    html = report.read_text("utf-8")
    broken.write_text(html.replace("<main>", "<main><script>document.title='owned'</script>", 1))
    page.open(broken)
    assert page.run("document.title") == "calculation · selfchallenge"
    assert any("Content Security Policy" in text for text in _complaints(page))


@pytest.mark.parametrize("width", [320, 400, 760, 1280])
def test_nothing_sticks_out_at_any_width(page, report, width):
    page.open(report, width=width)
    page.run(OPEN_ALL)
    assert page.run(TOO_WIDE) == []
    assert page.run("document.documentElement.scrollWidth") <= width


def test_the_filter_leaves_what_holds_all_its_words(page, report):
    page.open(report)
    everything = page.run(VISIBLE)
    page.run("document.querySelector('input[type=search]').focus()")
    page.send("Input.insertText", text="xss OWNED")
    assert 0 < page.run(VISIBLE) < everything
    page.send("Input.insertText", text=" no such word")
    assert page.run(VISIBLE) == 0


def test_the_slash_key_goes_to_the_filter(page, report):
    page.open(report)
    page.press("/")
    assert page.run("document.activeElement.type") == "search"
    assert page.run("document.activeElement.value") == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_both_have_contrast(page, report, scheme):
    page.media(scheme=scheme)
    page.open(report)
    back, ink = (_luminance(page, name) for name in ("backgroundColor", "color"))
    assert (back < ink) == (scheme == "dark")
    assert (max(back, ink) + 0.05) / (min(back, ink) + 0.05) > 7


def test_it_is_printed_dark_on_white_and_without_the_filter(page, report):
    page.media(scheme="dark", type="print")
    page.open(report)
    assert _luminance(page, "backgroundColor") > 0.8
    assert _luminance(page, "color") < 0.1
    assert page.run("document.querySelector('input[type=search]').offsetParent") is None


@pytest.fixture(autouse=True)
def _on_a_light_screen(page):
    page.media()


def _requests(page):
    """Addresses that were asked for since the page was opened, the blank one before it apart."""
    sent = (e["params"] for e in page.events if e.get("method") == "Network.requestWillBeSent")
    return [event["request"]["url"] for event in sent]


def _complaints(page):
    """What the page and the browser logged: errors, violations of the content policy."""
    logged = [e["params"]["entry"] for e in page.events if e.get("method") == "Log.entryAdded"]
    thrown = [e["params"] for e in page.events if e.get("method") == "Runtime.exceptionThrown"]
    return [entry["text"] for entry in logged] + [str(error) for error in thrown]


def _luminance(page, name):
    """Relative luminance (WCAG 2) of a colour of the body, which is `rgb(r, g, b)`."""
    colour = page.run(f"getComputedStyle(document.body).{name}")
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
