"""No prompt, drafting phrase or worked example holds a held-out task."""

import ast
import re
from importlib.resources import files

import pytest

from selfchallenge.environments.calculation.demonstrations import DEMONSTRATIONS
from selfchallenge.environments.loading import load_environment
from selfchallenge.evaluation.suite import held_out_tasks
from selfchallenge.quality.duplicates import minhash, normalise, similarity

PLACES = (
    ("selfchallenge.challenger.prompts", ".j2"),
    ("selfchallenge.executor.prompts", ".j2"),
    ("selfchallenge.environments.calculation", ".md"),
)


def shown_texts() -> list[str]:
    """Everything that a model is shown besides tools, seeds and what it did itself."""
    texts = [
        file.read_text("utf-8")
        for package, ending in PLACES
        for file in files(package.rpartition(".")[0]).joinpath(package.rpartition(".")[2]).iterdir()
        if file.name.endswith(ending)
    ]
    texts += [
        node.value
        for source in files("selfchallenge.challenger").iterdir()
        if source.name.endswith(".py")
        for node in ast.walk(ast.parse(source.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    texts += [f"{d.instruction} {d.thought} {d.code}" for d in DEMONSTRATIONS.values()]
    return texts


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


@pytest.mark.parametrize("name", ["calculation", "library"])
def test_no_prompt_holds_a_held_out_task(name: str) -> None:
    tasks = held_out_tasks(load_environment(name))
    assert len(tasks) >= (100 if name == "calculation" else 8)
    joined = " ".join(" ".join(words(text)) for text in shown_texts())
    for task in tasks:
        sequence = words(task.instruction)
        runs = {" ".join(sequence[i : i + 6]) for i in range(max(1, len(sequence) - 5))}
        assert not [run for run in runs if run in joined], task.instruction


def test_no_worked_example_repeats_a_held_out_task() -> None:
    tasks = held_out_tasks(load_environment("calculation"))
    solutions = {normalise(task.solution) for task in tasks}
    for example in DEMONSTRATIONS.values():
        assert normalise(example.code) not in solutions
        sketch = minhash(example.instruction)
        assert max(similarity(sketch, minhash(task.instruction)) for task in tasks) < 0.3
