import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfchallenge.models.stopping import cut

PATTERNS = ["", "b", "a.c", r"```\w*\n.*?```", r"\n", "(ab)+"]


@given(st.text(alphabet="abc`\n", max_size=40), st.sampled_from(PATTERNS))
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_the_text_ends_where_the_pattern_is_first_complete(text, pattern):
    found = cut(text, pattern)
    assert text.startswith(found)
    if pattern:
        matches = [bool(re.search(pattern, found[:n], re.DOTALL)) for n in range(1, len(found) + 1)]
        assert not any(matches[:-1])
        assert found == text or matches[-1]


def test_dot_matches_newlines():
    assert cut("```py\nx\n```\nmore", r"```\w*\n.*?```") == "```py\nx\n```"
