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
    assert page.requests() == [report.as_uri()]
    assert page.complaints() == []


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
    assert any("Content Security Policy" in text for text in page.complaints())


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
    page.type("xss OWNED")
    found = page.run("[...document.querySelectorAll('[data-item]:not([hidden])')].map(e => e.id)")
    assert 0 < len(found) < everything
    page.type(" no such word")
    assert page.run(VISIBLE) == 0


def test_the_slash_key_goes_to_the_filter(page, report):
    page.open(report)
    page.call("Input.dispatchKeyEvent", type="keyDown", key="/", text="/")
    assert page.run("document.activeElement.type") == "search"
    assert page.run("document.activeElement.value") == ""


def test_dark_and_light_both_have_contrast(page, report):
    for dark in (False, True):
        page.open(report, dark=dark)
        colours = page.run(
            "['backgroundColor', 'color'].map(name => getComputedStyle(document.body)[name])"
        )
        back, ink = (_luminance(colour) for colour in colours)
        assert (back < ink) == dark
        assert (max(back, ink) + 0.05) / (min(back, ink) + 0.05) > 7


def test_it_can_be_printed(page, report):
    page.open(report)
    assert page.pdf().startswith(b"%PDF")
    page.open(report, dark=True, media="print")
    back = page.run("getComputedStyle(document.body).backgroundColor")
    assert _luminance(back) > 0.8 or back == "rgba(0, 0, 0, 0)"
    assert page.run("getComputedStyle(document.querySelector('input[type=search]')).display") in (
        "none",
        "inline-block",
    )
    assert page.run("document.querySelector('input[type=search]').offsetParent") is None


def _luminance(colour):
    """Relative luminance (WCAG 2) of `rgb(r, g, b)`."""
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
