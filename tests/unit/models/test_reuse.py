import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfchallenge.models import reuse
from selfchallenge.models.attention import Prefix
from selfchallenge.models.reuse import Memory, shared_beginnings

IDLE = 8


def ids(*parts):
    """`(start, count)` pairs as one sequence."""
    return tuple(i for start, count in parts for i in range(start, start + count))


def test_domains_share_the_policy_and_each_its_own_tools():
    policy = (0, 300)
    tools = {name: (1000 * name, 400) for name in (1, 2)}
    prompts = [ids(policy, tools[1 + i % 2], (5000 + 100 * i, 9)) for i in range(8)]
    assert shared_beginnings(prompts) == [ids(policy), ids(policy, tools[1]), ids(policy, tools[2])]


def test_what_saves_little_is_not_kept_apart():
    assert shared_beginnings([ids((0, 40), (100 * i, 50)) for i in range(1, 30)]) == []
    assert shared_beginnings([ids((0, 200), (1000, 9)), ids((0, 200), (2000, 9))]) == []
    assert shared_beginnings([ids((0, 2000))]) == []
    assert shared_beginnings([]) == []


bits = st.lists(st.integers(0, 1), min_size=1, max_size=7).map(tuple)


@given(st.sets(bits, max_size=8))
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_each_is_a_proper_beginning_of_two_prompts_or_more(prompts):
    before = reuse.SHORTEST, reuse.WORTH, reuse._ALIKE
    reuse.SHORTEST, reuse.WORTH, reuse._ALIKE = 1, 2, 1
    try:
        found = shared_beginnings(prompts)
    finally:
        reuse.SHORTEST, reuse.WORTH, reuse._ALIKE = before
    assert len(set(found)) == len(found)
    for beginning in found:
        having = [p for p in prompts if p[: len(beginning)] == beginning]
        assert len(having) > 1
        assert all(len(p) > len(beginning) for p in having)


class Computer:
    def __init__(self):
        self.made = []

    def __call__(self, ids, shorter):
        self.made.append((ids, shorter.ids if shorter else None))
        return Prefix(ids, torch.zeros(1, 2, 1, len(ids), 1))


def test_a_longer_prefix_starts_from_the_shorter_one():
    computer = Computer()
    memory = Memory(10**9, IDLE, computer)
    prompts = [ids((0, 600), (1000 * (1 + i % 2), 300), (9000 + 50 * i, 5)) for i in range(8)]
    starts = memory.starts([(p, ()) for p in prompts])
    assert [start.length for start in starts] == [900] * 8
    policy = ids((0, 600))
    assert [shorter for _, shorter in computer.made] == [None, policy, policy]


def test_nothing_is_made_for_what_was_only_seen_before():
    computer = Computer()
    memory = Memory(10**9, IDLE, computer)
    memory.starts([(ids((0, 600), (1000, 5)), ())])
    memory.starts([(ids((0, 600), (2000, 5)), ())])
    assert len(computer.made) == 1
    memory.forget()
    memory.starts([(ids((5000, 600)), ())])
    assert len(computer.made) == 1


def known(memory, n):
    return memory.starts([((n, 1, 5, 6), (n, 1, 5))])[0].own is not None


def test_what_was_gone_on_with_leaves_first_and_then_the_oldest():
    memory = Memory(3000, IDLE, Computer())
    own = torch.zeros(1, 2, 1, 100, 1)  # 800 bytes
    for n in range(3):
        memory.keep((n, 1), None, own)
    assert memory.starts([((1, 1, 5, 6), (1, 1, 5))])[0].own is own
    memory.keep((3, 1), None, own)
    assert not known(memory, 1)
    memory.keep((4, 1), None, own)
    assert not known(memory, 0)
    assert all(known(memory, n) for n in (2, 3, 4))


def test_conversations_that_take_turns_are_never_read_again():
    """Those of a batch go on one after the other, which ruins a plain order of use."""
    memory = Memory(3 * 800 + 100, IDLE, Computer())
    for turn in range(5):
        prompts = [((n, *range(turn), 8, 9), (n, *range(turn), 8)) for n in range(3)]
        starts = memory.starts(prompts)
        assert all((start.own is not None) == (turn > 0) for start in starts)
        for n in range(3):
            memory.keep((n, *range(turn + 1)), None, torch.zeros(1, 2, 1, 100, 1))


def test_a_conversation_that_nobody_goes_on_with_leaves():
    memory = Memory(10**9, IDLE, Computer())
    memory.keep((0, 1), None, torch.zeros(1, 2, 1, 100, 1))
    for _ in range(IDLE + 1):
        assert known(memory, 0)
    assert not known(memory, 0)
    assert memory._bytes == 0


def test_however_many_are_asked_at_once_their_conversations_go_on():
    memory = Memory(10**9, IDLE, Computer())
    many = range(5 * IDLE)
    for n in many:
        memory.keep((n, 1), None, torch.zeros(1, 2, 1, 1, 1))
    starts = memory.starts([((n, 1, 5, 6), (n, 1, 5)) for n in many])
    assert all(start.own is not None for start in starts)


def test_a_conversation_is_found_by_its_context_only():
    memory = Memory(10**6, IDLE, Computer())
    memory.keep((1, 2, 3), None, torch.zeros(1, 2, 1, 3, 1))
    assert memory.starts([((1, 2, 3, 4, 9), (1, 2, 3, 4))])[0].length == 3
    assert memory.starts([((1, 2, 9, 4, 9), (1, 2, 3, 4))])[0].length == 0
    assert memory.starts([((1, 2, 3, 4, 9), ())])[0].length == 0
