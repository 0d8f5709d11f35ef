"""The judge of the baseline PAE: a language model's opinion of an attempt, as a reward of training.

It is shown the instruction and what happened in the episode, and never a verifier, a solution or a
final state, which such tasks do not have. Scores never come from here: what is measured on test
tasks is decided by their verifiers. What the judge says is only read for its verdict; a reply
without one earns nothing and is written down as the failure that it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from selfchallenge.episode import FIRST_REPLY, Episode
from selfchallenge.errors import ModelError
from selfchallenge.executor.agent import render
from selfchallenge.models.base import Completion, Message, Model, Prompt, Sampling
from selfchallenge.models.scripted import ScriptedModel
from selfchallenge.ranges import POSITIVE, TEMPERATURE, require

JUDGED = "judge"
"""Key of `Episode.meta`: the judge's name, whole reply and sampled tokens."""
FAULT = "judge_fault"
"""Key of `Episode.meta`: why a reply of the judge is no verdict."""

_VERDICT = re.compile(
    r"^[^\w\n]*verdict[^\w\n]+(success|failure)[^\w\n]*$", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True)
class JudgeSettings:
    """How attempts are judged.

    Attributes:
        max_tokens: of a verdict with its reason.
        temperature: of sampling.
        most: characters of an attempt that are shown; of a longer one the end.
    """

    max_tokens: int = 200
    temperature: float = 0.0
    most: int = 6000

    def __post_init__(self) -> None:
        require(self, max_tokens=POSITIVE, temperature=TEMPERATURE, most=POSITIVE)


def judged(
    episodes: Iterable[Episode],
    instructions: Mapping[str, str],
    model: Model,
    settings: JudgeSettings,
    *,
    batch: int = 40,
) -> Iterator[Episode]:
    """The episodes with the reward that the judge gives them, `batch` at a time.

    Where the source of the episodes fails, those that it gave before are judged first.

    Args:
        episodes: attempts at tasks of the proposer.
        instructions: what was asked for, by the id of the task.
        model: who judges.
        settings: how.
        batch: episodes judged together.

    Raises:
        ModelError: the judge cannot be reached, or who makes the episodes cannot.
    """
    queue = iter(episodes)
    sampling = Sampling(settings.temperature, settings.max_tokens)
    failure: ModelError | None = None
    while failure is None:
        wave: list[Episode] = []
        try:
            wave.extend(islice(queue, batch))
        except ModelError as error:
            failure = error
        if not wave:
            break
        prompts = [_prompt(instructions[one.task], one, settings.most) for one in wave]
        replies = model.generate(prompts, sampling)
        for episode, reply in zip(wave, replies, strict=True):
            yield _rewarded(episode, reply, model.name)
    if failure is not None:
        raise failure


def verdict_of(reply: str) -> bool | None:
    """The last verdict in a reply; None when there is none."""
    found = _VERDICT.findall(reply)
    return found[-1].lower() == "success" if found else None


def transcript(episode: Episode, most: int) -> str:
    """What the agent did and saw after the task was put, its last `most` characters."""
    names = {"assistant": "Agent", "user": "Shown", "system": "Told"}
    turns = episode.turns[episode.meta.get(FIRST_REPLY, 0) :]
    text = "\n\n".join(f"{names[turn.role]}: {turn.content.strip()}" for turn in turns)
    return text if len(text) <= most else f"(the beginning is left out)\n{text[-most:]}"


def scripted_judge() -> ScriptedModel:
    """The model `scripted:judge`: content with every attempt whose agent said anything at the end.

    For tests and the smoke loop; it shows the weakness of judges, too.
    """

    def reply(prompt: Prompt) -> str:
        shown = prompt.messages[-1].content.partition("\n\nCompare the task")[0].rstrip()
        return f"Verdict: {'failure' if shown.endswith('Agent:') else 'success'}"

    return ScriptedModel("judge", reply)


def _prompt(instruction: str, episode: Episode, most: int) -> Prompt:
    text = render("judge.md.j2", instruction=instruction, transcript=transcript(episode, most))
    return Prompt((Message("user", text),), seed=episode.seed)


def _rewarded(episode: Episode, reply: Completion, name: str) -> Episode:
    verdict = verdict_of(reply.text)
    meta = {
        **episode.meta,
        JUDGED: {"model": name, "reply": reply.text, "tokens": reply.completion_tokens},
    }
    evidence = f"{name} says {'success' if verdict else 'failure'}"
    if verdict is None:
        why = "the attempt does not fit its context" if reply.finish == "context" else "no verdict"
        meta[FAULT] = why
        evidence = f"{name} gave no verdict ({why}): {_brief(reply.text)}"
    return episode.model_copy(
        update={"reward": float(verdict is True), "evidence": evidence, "meta": meta}
    )


def _brief(text: str) -> str:
    return " ".join(text.split())[:200] or "an empty reply"
