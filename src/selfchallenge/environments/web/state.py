"""Sites as pages of text with links between them, generated or read from a data folder.

A generated site is a company's: a shop in categories, staff in departments, a journal in topics,
and links across all three. Every link leads to a page and every page can be reached from `/`. Each
name gives a site of its own, the same one on every machine.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from selfchallenge.environments.desk.people import draw_names
from selfchallenge.environments.web import words
from selfchallenge.errors import LoadError, boundary

Pages = dict[str, str]
"""Text by address; the first address is `/`."""

FILE = "web_pages.json"
HOME = "/"
ITEMS, PEOPLE, POSTS = 20, 14, 10
ON_SALE = 0.25

_LINK = re.compile(r"\[Clickable '([^']*)'\]")


def links(content: str) -> list[str]:
    """Addresses that a page links to, in order."""
    return _LINK.findall(content)


@lru_cache(maxsize=4)
def load(folder: Path) -> Pages:
    """The site in `web_pages.json` of a data folder.

    Raises:
        LoadError: there is no such file, or it is no list of pages that begins at `/`.
    """
    file = folder / FILE
    fix = f"give a folder that holds {FILE}, or leave the folder out to use generated sites"
    with boundary(LoadError, "the site cannot be read", where=str(file), fix=fix):
        pages = {str(p["name"]): str(p["content"]) for p in json.loads(file.read_text("utf-8"))}
        return {HOME: pages[HOME], **pages}


@lru_cache(maxsize=64)
def generate(world: str, *, items: int = ITEMS, people: int = PEOPLE, posts: int = POSTS) -> Pages:
    """The site called `world`, with so many things for sale, members of staff and articles.

    Every number may be any from 1 up.
    """
    return _Company(random.Random(f"web/{world}"), items, people, posts).pages()


@dataclass(frozen=True)
class _Thing:
    """Something that has a page: its name, its address, and the group that lists it."""

    name: str
    url: str
    group: str


class _Company:
    """What a site is about, drawn before its pages are written so that they can link anywhere."""

    def __init__(self, rng: random.Random, items: int, people: int, posts: int) -> None:
        self.rng = rng
        self.name = f"{rng.choice(words.FIRST)} {rng.choice(words.SECOND)} {rng.choice(words.FORM)}"
        self._taken: Counter[str] = Counter()
        categories = rng.sample(words.CATEGORIES, _groups(items, len(words.CATEGORIES)))
        departments = rng.sample(words.DEPARTMENTS, _groups(people, len(words.DEPARTMENTS)))
        topics = rng.sample(words.TOPICS, _groups(posts, len(words.TOPICS)))
        self.items = [self._item(categories[i % len(categories)]) for i in range(items)]
        self.people = [
            self._thing(f"{first} {last}", "/people", departments[i % len(departments)])
            for i, (first, last) in enumerate(draw_names(people, rng))
        ]
        # Each article is about one thing and one author, who link back to it.
        self.posts = [self._post(topics[i % len(topics)]) for i in range(posts)]
        self.about = {post: rng.choice(self.items) for post in self.posts}
        self.by = {post: rng.choice(self.people) for post in self.posts}
        self.maker = {item: rng.choice(self.people) for item in self.items}
        self.read_on, self.wrote = _inverse(self.about), _inverse(self.by)
        self.makes = _inverse(self.maker)

    def pages(self) -> Pages:
        """All pages, the home page first."""
        written = {
            HOME: self._home(),
            "/about": self._about(),
            "/help": self._help(),
            **self._lists("/shop", "Our shop", "for sale", self.items),
            **self._lists("/people", "Who works here", "members of staff", self.people),
            **self._lists("/journal", "Our journal", "articles", self.posts),
        }
        written |= {item.url: self._item_page(item) for item in self.items}
        written |= {person.url: self._person_page(person) for person in self.people}
        return written | {post.url: self._post_page(post) for post in self.posts}

    # -- what there is -------------------------------------------------------------------------

    def _thing(self, name: str, place: str, group: str) -> _Thing:
        """A thing whose name and address nothing else has."""
        self._taken[name] += 1
        found = name if self._taken[name] == 1 else f"{name} {self._taken[name]}"
        return _Thing(found, f"{place}/{_slug(group)}/{_slug(found)}", group)

    def _item(self, category: str) -> _Thing:
        singular = words.SINGULAR[category]
        return self._thing(f"{self.rng.choice(words.ADJECTIVES)} {singular}", "/shop", category)

    def _post(self, topic: str) -> _Thing:
        title = f"{self.rng.choice(words.OPENINGS)} {self.rng.choice(words.MATTERS)}"
        return self._thing(title, "/journal", topic)

    # -- pages ---------------------------------------------------------------------------------

    def _home(self) -> str:
        shown, news = self.rng.choice(self.items), self.rng.choice(self.posts)
        return _lines(
            f"Welcome to {self.name}!",
            self.rng.choice(words.MOTTOES),
            f"- Shop {_to('/shop')}",
            f"- People {_to('/people')}",
            f"- Journal {_to('/journal')}",
            f"- About us {_to('/about')}",
            f"- Help {_to('/help')}",
            f"This week in the window: {shown.name} {_to(shown.url)}",
            f"Just out: {news.name} {_to(news.url)}",
        )

    def _about(self) -> str:
        boss = self.rng.choice(self.people)
        return _lines(
            f"About {self.name}",
            f"Founded in {self.rng.randint(1870, 2012)} in {self.rng.choice(words.TOWNS)}.",
            f"Head of the house: {boss.name} {_to(boss.url)}",
            f"All who work here {_to('/people')}",
        )

    def _help(self) -> str:
        rng = self.rng
        days = rng.randint(2, 5)
        return _lines(
            "Help",
            f"Delivery takes {days} to {days + rng.randint(1, 4)} working days.",
            f"Delivery costs ${rng.randint(3, 9)}.{rng.choice(('00', '50', '90'))} an order.",
            f"Orders above ${rng.randrange(60, 200, 10)} are delivered free of charge.",
            f"What you do not like can be sent back within {rng.randrange(14, 61)} days.",
            f"Questions: {self._mail('help')}",
            f"Back to the shop {_to('/shop')}",
        )

    def _lists(self, place: str, title: str, kind: str, things: list[_Thing]) -> Pages:
        """The page of a section, and one for each of its groups."""
        groups: dict[str, list[_Thing]] = defaultdict(list)
        for thing in things:
            groups[thing.group].append(thing)
        entries = [f"- {group} {_to(f'{place}/{_slug(group)}')}" for group in groups]
        found = {place: _lines(f"{title}: {len(things)} {kind}", *entries)}
        for group, members in groups.items():
            entries = [f"- {thing.name} {_to(thing.url)}" for thing in members]
            back = f"Everything {_to(place)}"
            found[f"{place}/{_slug(group)}"] = _lines(f"{group}:", *entries, back)
        return found

    def _item_page(self, item: _Thing) -> str:
        rng = self.rng
        other, maker = rng.choice(self.items), self.maker[item]
        if other == item:  # with its neighbour rather than with itself
            other = self.items[self.items.index(item) - 1]
        return _lines(
            f"Item: {item.name}",
            rng.choice(words.PRAISES),
            _price(rng),
            f"In stock: {rng.randint(0, 90)}",
            f"Weight: {rng.randint(4, 80) * 50} g",
            f"Made by {maker.name} {_to(maker.url)}",
            f"Goes well with {other.name} {_to(other.url)}",
            *(f"Read: {post.name} {_to(post.url)}" for post in self.read_on[item]),
        )

    def _person_page(self, person: _Thing) -> str:
        rng = self.rng
        names = person.name.lower().split()
        return _lines(
            f"{person.name}, {person.group}",
            f"Email: {self._mail('.'.join(names))}",
            f"Phone: {_phone(rng)}",
            f"Room: {rng.choice('ABCDE')}{rng.randint(1, 9)}{rng.randint(0, 9)}{rng.randint(0, 9)}",
            f"Here since {rng.randint(1994, 2024)}",
            f"Colleagues {_to(f'/people/{_slug(person.group)}')}",
            *(f"Makes {item.name} {_to(item.url)}" for item in self.makes[person]),
            *(f"Wrote {post.name} {_to(post.url)}" for post in self.wrote[person]),
        )

    def _post_page(self, post: _Thing) -> str:
        rng, author, item = self.rng, self.by[post], self.about[post]
        day = dt.date(2023, 1, 1) + dt.timedelta(days=rng.randrange(900))
        return _lines(
            post.name,
            f"By {author.name} {_to(author.url)}",
            f"Published {day.isoformat()} in {post.group}",
            rng.choice(words.SENTENCES),
            f"It is about {item.name} {_to(item.url)}",
            f"Reading time: {rng.randint(2, 25)} minutes",
            f"Comments: {rng.randint(0, 140)}",
            f"More in the journal {_to('/journal')}",
        )

    def _mail(self, name: str) -> str:
        return f"{name}@{_slug(self.name).replace('_', '-')}.example"


def _inverse(whose: dict[_Thing, _Thing]) -> dict[_Thing, list[_Thing]]:
    found: dict[_Thing, list[_Thing]] = defaultdict(list)
    for thing, owner in whose.items():
        found[owner].append(thing)
    return found


def _groups(count: int, most: int) -> int:
    """How many groups list so many things: about five in each."""
    return max(1, min(most, round(count / 4)))


def _lines(*lines: str) -> str:
    return "\n".join(lines)


def _to(url: str) -> str:
    return f"[Clickable '{url}']"


def _slug(text: str) -> str:
    return re.sub(r"\W+", "_", text.lower()).strip("_")


def _price(rng: random.Random) -> str:
    price = rng.randint(400, 24000)
    if rng.random() >= ON_SALE:
        return f"Price: ${price / 100:.2f}"
    return f"Price: ${price / 100:.2f} (reduced from ${price * rng.choice((5, 6, 8)) / 400:.2f})"


def _phone(rng: random.Random) -> str:
    number = f"{rng.randint(200, 989)}-555-{rng.randint(0, 9999):04}"
    return number if rng.random() < 0.7 else f"{number} ext. {rng.randint(10, 99)}"
