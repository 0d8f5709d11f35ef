"""The writer's prompts: templates in files, and the one way to fill them.

No test task and no paraphrase of one stands in any of them; a test compares them with the held-out
tasks.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import jinja2


def render(name: str, **values: Any) -> str:
    """A template of this folder filled with values; a missing value is an error."""
    return _template(name).render(**values).strip()


@cache
def _template(name: str) -> jinja2.Template:
    # A prompt is text for a model, not markup for a browser.
    environment = jinja2.Environment(
        autoescape=False,  # noqa: S701
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.from_string(files(__name__).joinpath(name).read_text("utf-8"))
