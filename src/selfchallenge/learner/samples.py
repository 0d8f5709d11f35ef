"""From episodes to training samples: the one place where masks are made (paper, equation 2).

What is trained is what was sampled: the ids come from the episode and are never made from text
again, and a token counts towards the loss only when the model itself sampled it. Instructions, tool
documentation, observations and forced beginnings are read and never learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from selfchallenge.episode import HINTED, USER_FAULT, Episode, StopReason, Turn


@dataclass(frozen=True)
class Sample:
    """One token sequence to learn from.

    Attributes:
        ids: token ids of the whole conversation, length n.
        mask: True where the model sampled the token, length n.
        logprobs: log-probability of each sampled token when it was drawn, length sum(mask).
        weight: factor of every sampled token in the loss.
        task: id of the task.
    """

    ids: tuple[int, ...]
    mask: tuple[bool, ...]
    logprobs: tuple[float, ...]
    weight: float = 1.0
    task: str = ""

    @property
    def trained(self) -> int:
        """How many tokens count towards the loss."""
        return sum(self.mask)

    @property
    def length(self) -> int:
        """Ids up to the last trained one; nothing after it matters."""
        return max((i + 1 for i, sampled in enumerate(self.mask) if sampled), default=0)


@dataclass(frozen=True)
class SampleSet:
    """What can be trained, and how many episodes were left out for which reason."""

    samples: tuple[Sample, ...]
    dropped: Mapping[str, int]


def samples_from(
    episodes: Iterable[Episode], max_length: int, per_task_limit: int | None = None
) -> SampleSet:
    """One sample per episode, in order; what cannot be trained is counted with its reason.

    The limit keeps tasks that are solved every time from drowning the ones solved once.

    Args:
        episodes: episodes of any outcome; choose first with `select_successes`.
        max_length: longest sequence in tokens, counted up to the last sampled one.
        per_task_limit: at most this many of one task, the first that can be trained; None: all.
    """
    samples: list[Sample] = []
    dropped: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    for episode in episodes:
        sample = sample_of(episode, max_length)
        if isinstance(sample, str):
            dropped[sample] += 1
        elif per_task_limit is None or taken[episode.task] < per_task_limit:
            taken[episode.task] += 1
            samples.append(sample)
    return SampleSet(tuple(samples), dict(dropped))


def sample_of(episode: Episode, max_length: int) -> Sample | str:
    """The sample of an episode, or why it cannot be trained."""
    turns = episode.turns
    sample = Sample(
        ids=tuple(i for turn in turns for i in turn.token_ids),
        mask=tuple(m for turn in turns for m in turn.mask),
        logprobs=tuple(p for turn in turns for p in turn.logprobs),
        task=episode.task,
    )
    if episode.stop is StopReason.CONTEXT and not any(sample.mask):
        return PROMPT_TOO_LONG
    return _defect(sample, max_length) or sample


PROMPT_TOO_LONG = "whose prompt did not fit the model's context"
LONGER_CONTEXT = (
    "take a --model with a longer context, or make the conversations shorter "
    "(--set agent.max_tokens=N, agent.max_observation=N, agent.max_steps=N)"
)
SPOILT_BY_SANDBOX = "ended by the sandbox"
SPOILT_BY_USER = "spoilt by the simulated user"


def fault_of_others(episode: Episode) -> str:
    """Who but the agent spoilt an attempt; empty when nobody did."""
    if USER_FAULT in episode.meta:
        return SPOILT_BY_USER
    return SPOILT_BY_SANDBOX if episode.stop is StopReason.SANDBOX else ""


def trainable(episode: Episode, max_length: int) -> Sample | str:
    """The sample of an attempt, or why nothing can be learnt from it."""
    return fault_of_others(episode) or sample_of(episode, max_length)


def in_words(reasons: Mapping[str, int]) -> str:
    """Reasons with how often each was met."""
    return "; ".join(f"{count} {why}" for why, count in reasons.items())


def what_to_change(reasons: Mapping[str, int]) -> str:
    """Advice, when nothing can be learnt from for these reasons, with how often each was met."""
    most = max(reasons, key=lambda reason: reasons[reason], default="")
    if most == SPOILT_BY_SANDBOX:
        return "selfchallenge doctor shows what is wrong with the sandbox"
    if most == SPOILT_BY_USER:
        return "look at what the user says (selfchallenge report), or take another --user-model"
    if most == PROMPT_TOO_LONG:
        return LONGER_CONTEXT
    return "use a local model, which shows its tokens, or raise max_length (rft.max_length, ...)"


def is_own_doing(reasons: Mapping[str, int]) -> bool:
    """Whether nothing but the model that made the attempts is to blame for these reasons."""
    return not {SPOILT_BY_SANDBOX, SPOILT_BY_USER} & reasons.keys()


def _defect(sample: Sample, max_length: int) -> str:
    """Why a sample cannot be trained, empty when it can."""
    if not sample.ids:
        return "no tokens recorded (the model does not show them)"
    if len(sample.mask) != len(sample.ids):
        return "more log-probabilities than tokens"
    if not sample.trained:
        return "no sampled token"
    if sample.mask[0]:
        return "nothing stands before the first sampled token"
    if sample.length > max_length:
        return f"longer than {max_length} tokens"
    return ""


def select_successes(episodes: Iterable[Episode]) -> list[Episode]:
    """Training episodes of reward 1, each sequence once.

    Attempts that the sandbox ended or the user spoilt are left out, whatever a judge says of them.
    The result is in the order of task and attempt, whatever the order of the input.

    Args:
        episodes: episodes of any phase; only those of phase `train` are considered.
    """
    chosen: list[Episode] = []
    seen: set[object] = set()
    for episode in sorted(episodes, key=lambda e: (e.task, e.attempt)):
        if episode.phase != "train" or episode.reward != 1.0 or fault_of_others(episode):
            continue
        told = _identity(episode)
        if told not in seen:
            seen.add(told)
            chosen.append(episode)
    return chosen


def without_user_faults(episodes: Iterable[Episode]) -> list[Episode]:
    """The episodes but for those that the simulated user spoilt: no agent can learn from them."""
    return [episode for episode in episodes if USER_FAULT not in episode.meta]


def select_trajectories(episodes: Iterable[Episode]) -> list[Episode]:
    """Training episodes of any outcome, each sequence once a task (paper, equation 3).

    Attempts that the sandbox ended or the user spoilt are left out: they say nothing about the
    task. The result is in the order of task and attempt.
    """
    chosen: dict[object, Episode] = {}
    for episode in sorted(without_user_faults(episodes), key=lambda e: (e.task, e.attempt)):
        if episode.phase == "train" and episode.stop is not StopReason.SANDBOX:
            chosen.setdefault((episode.task, _identity(episode)), episode)
    return list(chosen.values())


@dataclass(frozen=True)
class Pair:
    """A success and a failure of one task.

    Attributes:
        chosen: the success.
        rejected: the failure.
    """

    chosen: Sample
    rejected: Sample

    @property
    def samples(self) -> tuple[Sample, Sample]:
        """Both, the success first."""
        return self.chosen, self.rejected


@dataclass(frozen=True)
class PairSet:
    """Pairs to learn from, and why other episodes are in none.

    Attributes:
        pairs: in the order of task and attempt.
        dropped: episodes that cannot be trained, by reason.
        one_sided: tasks of which all attempts came out alike.
    """

    pairs: tuple[Pair, ...]
    dropped: Mapping[str, int]
    one_sided: int


def pairs_from(episodes: Iterable[Episode], max_length: int, per_task_limit: int) -> PairSet:
    """Pair the successes of each task with its failures, the first with the first.

    Args:
        episodes: episodes of any phase; only those of phase `train` are considered.
        max_length: longest sequence in tokens, counted up to the last sampled one.
        per_task_limit: at most this many pairs of one task.
    """
    tasks: dict[str, tuple[list[Episode], list[Episode]]] = {}
    for episode in select_trajectories(episodes):
        tasks.setdefault(episode.task, ([], []))[episode.reward != 1.0].append(episode)
    pairs: list[Pair] = []
    dropped: Counter[str] = Counter()
    for good, bad in tasks.values():
        sides = [samples_from(side, max_length) for side in (good, bad)]
        for side in sides:
            dropped.update(side.dropped)
        both = zip(*(side.samples for side in sides), strict=False)
        pairs += [Pair(*pair) for pair in both][:per_task_limit]
    one_sided = sum(not (good and bad) for good, bad in tasks.values())
    return PairSet(tuple(pairs), dict(dropped), one_sided)


def without_hint(episodes: Iterable[Episode]) -> list[Episode]:
    """The episodes with every hinted one put as if the task had been asked without the hint.

    What was sampled stays, token for token; what stands before the first sampled token is taken
    from an attempt at the same task that had no hint, so nothing is tokenised again (learning from
    one's own verified explanation of a known answer: Zelikman et al. 2022, STaR, section 3.1). A
    hinted episode whose task was never attempted without the hint, or only by attempts that others
    spoilt, is left out.
    """
    episodes = list(episodes)
    plain = {
        e.task: e
        for e in reversed(episodes)
        if e.phase == "train" and not (e.meta.get(HINTED) or fault_of_others(e))
        if _first(e) is not None
    }
    return [
        e if not e.meta.get(HINTED) else _retold(e, plain[e.task])
        for e in episodes
        if not e.meta.get(HINTED) or (e.task in plain and _first(e) is not None)
    ]


def _first(episode: Episode) -> int | None:
    """Place of the first turn that has tokens."""
    return next((i for i, turn in enumerate(episode.turns) if turn.token_ids), None)


def _retold(hinted: Episode, plain: Episode) -> Episode:
    here, there = _first(hinted), _first(plain)
    if here is None or there is None:
        raise ValueError("only episodes with tokens can be retold")
    asked, reply = plain.turns[there], hinted.turns[here]
    given, sampled = asked.given_ids, reply.sampled_ids
    first = Turn(
        role="assistant",
        content=reply.content,
        token_ids=given + sampled,
        logprobs=reply.logprobs,
    )
    turns = (*plain.turns[:there], first, *hinted.turns[here + 1 :])
    return hinted.model_copy(update={"turns": turns})


def _identity(episode: Episode) -> object:
    """The token sequence, or the texts of an episode whose model shows no tokens."""
    ids = tuple(i for turn in episode.turns for i in turn.token_ids)
    return ids or tuple((turn.role, turn.content) for turn in episode.turns)
