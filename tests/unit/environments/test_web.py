"""The text browser over sites, to the byte, and the sites that are generated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfchallenge.environments.loading import load_environment
from selfchallenge.environments.web import Web
from selfchallenge.environments.web.state import HOME, generate, links
from selfchallenge.errors import LoadError

BENCHMARK = Path(__file__).parents[4] / "shared/benchmarks/m3tooleval"
PAGES = [
    {"name": "/", "content": "Hello\n- Long [Clickable '/long']"},
    {"name": "/long", "content": "\n".join(f"line {n}" for n in range(1, 11))},
]


@pytest.fixture
def browser(tmp_path):
    (tmp_path / "web_pages.json").write_text(json.dumps(PAGES))
    return load_environment("web", data=tmp_path)()


# -- the browser -----------------------------------------------------------------------------------

HOME_VIEW = """----------
[Web Page Name: /]
[Viewing page 1 of 1]

Hello
- Long [Clickable '/long']
----------"""
LONG_VIEW = """----------
[Web Page Name: /long]
[Viewing page 2 of 3]

line 6
line 7
line 8
line 9
line 10
----------"""


def test_it_begins_at_the_home_page(browser):
    assert browser.view() == HOME_VIEW
    assert browser.go_to_previous_page() == "[No previous page.]"


def test_pages_are_opened_from_anywhere_and_left_again(browser):
    assert browser.click_url("'/long'").startswith("[Opened page: /long]\n----------\n")
    assert browser.click_url("/nowhere") == "[URL not found.]"
    browser.scroll_down()
    assert browser.click_url("/long").endswith("line 5\n----------")
    assert browser.go_to_previous_page().startswith("[Opened page: /long]")
    assert browser.go_to_previous_page() == f"[Opened page: /]\n{HOME_VIEW}"
    assert browser.go_to_previous_page() == "[No previous page.]"


def test_scrolling_stops_at_the_ends(browser):
    browser.click_url("/long")
    assert browser.scroll_up() == "[Reached the top of the page.]\n"
    # The number of parts is one too many where the lines come out even, as in the benchmark.
    assert browser.scroll_down() == LONG_VIEW
    assert browser.scroll_down() == "[Reached the bottom of the page.]\n"
    assert browser.view() == LONG_VIEW
    assert "line 1\n" in browser.scroll_up()


def test_the_calculator_reckons_and_runs_nothing(browser):
    assert browser.show(browser.calculator("1.5 * (2 + 4)")) == "9.0"
    assert browser.calculator("open('x')") == "Failed to evaluate expression: open('x')"


def test_nothing_changes(browser):
    before = browser.snapshot()
    browser.click_url("/long")
    assert browser.snapshot() == before == {}


@pytest.mark.parametrize("text", ["{", "[]", '[{"name": "/x", "content": ""}]', "[1]"])
def test_a_folder_without_a_site_is_refused(tmp_path, text):
    (tmp_path / "web_pages.json").write_text(text)
    with pytest.raises(LoadError, match="the site cannot be read"):
        load_environment("web", data=tmp_path)()


@pytest.mark.skipif(not BENCHMARK.is_dir(), reason="the benchmark is not beside this checkout")
def test_the_site_of_the_benchmark_has_its_defects():
    world = load_environment("web", data=BENCHMARK)
    pages = world.site(None)
    dead = {link for content in pages.values() for link in links(content)} - pages.keys()
    assert len(pages) == 55
    assert dead == {"/team/customer_support", "/blog/wand-maintenance"}
    assert len(reachable(pages)) == 47
    assert world.site("heldout-01") is not pages
    shown = {world.describe_seed(seed) for seed in world.seeds()}
    assert len(shown) > 50


# -- generated sites -------------------------------------------------------------------------------


def reachable(pages):
    found = [HOME]
    for page in found:
        found += [url for url in dict.fromkeys(links(pages[page])) if url in pages.keys() - found]
    return set(found)


@pytest.mark.parametrize(
    "sizes", [(1, 1, 1), (2, 1, 1), (20, 14, 10), (1, 40, 1), (150, 60, 90), (3, 2, 40)]
)
@pytest.mark.parametrize("world", ["one", "two"])
def test_a_generated_site_is_sound_at_any_size(world, sizes):
    items, people, posts = sizes
    pages = generate(world, items=items, people=people, posts=posts)
    assert reachable(pages) == set(pages)
    assert {link for content in pages.values() for link in links(content)} <= pages.keys()
    for place, count in (("shop", items), ("people", people), ("journal", posts)):
        assert sum(url.count("/") == 3 and url.startswith(f"/{place}/") for url in pages) == count
    assert all(content.strip() and "\n\n" not in content for content in pages.values())


def test_sections_link_to_each_other_both_ways():
    pages = generate("one")
    for url, content in pages.items():
        for link in links(content):
            if {url.split("/")[1], link.split("/")[1]} == {"journal", "people"}:
                assert url in links(pages[link]) or url.count("/") < 3
    posts = [url for url in pages if url.startswith("/journal/") and url.count("/") == 3]
    for url in posts:
        sections = {link.split("/")[1] for link in links(pages[url])}
        assert sections == {"people", "shop", "journal"}


def test_sites_are_repeatable_and_different():
    first = generate("one")
    generate.cache_clear()
    assert generate("one") == first != generate("two")
    assert len({Web.site(seed)["/about"] for seed in Web.seeds()[:40]}) > 35


def test_a_seed_is_described_by_addresses_that_exist():
    for seed in Web.seeds()[:60]:
        line, pages = Web.describe_seed(seed), Web.site(seed)
        quoted = line.split("'")[1::2]
        assert quoted
        assert set(quoted) <= pages.keys()
