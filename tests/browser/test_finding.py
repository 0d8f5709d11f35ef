"""What the page's own script adds: marks that lead somewhere, and buttons."""

VISIBLE = "[...document.querySelectorAll('[data-item]')].filter(e => !e.hidden).length"


def test_a_bar_of_rejections_leads_to_the_candidates_it_counts(page, report):
    page.open(report)
    number = page.run("+document.querySelector('.reasons .number').textContent")
    page.run("document.querySelector('.reasons a').click()")
    page.open(report, page.run("location.hash"))
    reasons = page.run(
        "[...document.querySelectorAll('[data-item]:not([hidden]) .reason')].map(e => e.innerText)"
    )
    assert reasons == ["unique"] * number
    assert page.run(VISIBLE) == number
    assert "match" in page.run("document.querySelector('#rejected + .count').textContent")


def test_escape_ends_the_search(page, report):
    page.open(report, "#find=reason:unique")
    found = page.run(VISIBLE)
    page.run("document.querySelector('input[type=search]').focus()")
    page.press("Escape")
    assert page.run(VISIBLE) > found


def test_a_task_can_be_linked_to(page, report):
    page.open(report)
    mark = page.run("document.querySelector('details[id^=task-]').id")
    page.open(report, f"#{mark}")
    assert page.run(f"document.getElementById('{mark}').open") is True


def test_a_mark_that_is_no_address_does_no_harm(page, report):
    page.open(report, "#%")
    assert not [e for e in page.events if e.get("method") == "Runtime.exceptionThrown"]


def test_all_cards_of_a_section_open_and_close(page, report):
    page.open(report)
    button = "document.querySelector('[data-toggle=accepted]')"
    opened = "document.querySelectorAll('details[id^=task-][open]').length"
    page.run(f"{button}.click()")
    assert page.run(opened) == page.run("document.querySelectorAll('details[id^=task-]').length")
    page.run(f"{button}.click()")
    assert page.run(opened) == 0
