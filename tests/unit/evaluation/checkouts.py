"""Small checkouts of the shape of the benchmarks' repositories, with content of our own."""

from __future__ import annotations

import json
from pathlib import Path

from selfchallenge.evaluation.getting import M3TOOLEVAL

DECODER = """
from ..base import Task, register_task_iterator, ToolType

def reverse_string(string):
    raise SystemExit("a task file must not be executed")

CUR_TASK_NAME = 'message_decoder'
CUR_TOOLS = {'reverse_string': ToolType(name='reverse_string', function=reverse_string)}

TASKS = [
    Task(
        name=f"{CUR_TASK_NAME}/backwards",
        tools=CUR_TOOLS,
        instruction=(
            "Read 'olleh' "
            "backwards."
        ),
        expected_output=reverse_string('olleh'),
        is_single_tool_task=False
    ),
    Task(
        name=f"{CUR_TASK_NAME}/shortest",
        tools=CUR_TOOLS,
        instruction="How long is the shorter of 'ab' and 'abc'?",
        expected_output=minimum_value(*[string_length(text) for text in ['ab', 'abc']]),
    ),
]
register_task_iterator(TASKS, len(TASKS))
print(f"{len(TASKS)} tasks")
"""
SEQUENCER = """
CUR_TASK_NAME = 'cryptobotanists_plant_dna_sequencer'
TASKS = []

def first_task(dna):
    if is_valid_dna_sequence(dna):
        name, _ = find_max_nucleotide(*list(sum(map(list, count_nucleotides(dna).items()), [])))
        return name
    return "none"

TASKS.append(
    Task(
        name=f"{CUR_TASK_NAME}/most",
        tools=CUR_TOOLS,
        instruction="Which letter is most frequent in 'GATTT'?",
        expected_output=first_task('GATTT'),
    )
)
"""
TRADE = """
CUR_TASK_NAME = "trade_calculator"
TASKS = [
    Task(
        name=f"{CUR_TASK_NAME}/both",
        tools=CUR_TOOLS,
        instruction="Twice 1.5 and with 10 % on it, as a list.",
        expected_output=(
            lambda base=2, rate=1.5: [
                convert_currency(base, rate),
                estimate_final_value(base * rate, calculate_tariff(base * rate, 10)),
            ]
        )(),
    )
]
"""
TRAVEL = """
LOC = ['"A"', '"B"']
flights = [
    {"from_location": LOC[0], "to_location": LOC[1], "date": "2020-01-01", "price": 70},
    {"from_location": LOC[0], "to_location": LOC[1], "date": "2020-01-01", "price": 50},
]
hotels = [{"location": LOC[1], "preferences": ["wifi"], "price_per_night": 10, "rating": 3}]
CUR_TASK_NAME = "travel_itinerary_planning"
TASKS = [
    Task(
        name=f"{CUR_TASK_NAME}/there",
        tools=CUR_TOOLS,
        instruction=f"From {LOC[0]} to {LOC[1]} on 2020-01-01 for 3 nights; what is the least?",
        expected_output=budget_calculator(
            min(find_flights(LOC[0], LOC[1], "2020-01-01"), key=lambda f: f["price"])["price"],
            min([h["price_per_night"] for h in book_hotel(LOC[1], "wifi")], default=0),
            3,
        ),
    )
]
"""
WEB = """
class WebBrowser:
    def view(self):
        raise SystemExit("a task file must not be executed")

with open("metadata.json") as f:
    METADATA = json.load(f)
CUR_TASK_NAME = "web_browsing"
TASKS = []
browsers = []
_prices = {name: price for name, price in [(i["name"], i["price"]) for i in METADATA["item_info"]]}
for item, price in [(i["name"], i["price"]) for i in METADATA["item_info"]]:
    if not "Old" in item:
        continue

    TASKS.append(
        Task(
            name=f"{CUR_TASK_NAME}/price_of_{item.lower().replace(' ', '_')}",
            tools=create_tools,
            instruction=f"What does the {item} cost?\\n",
            expected_output=price,
        )
    )
_sets = [["Old Bell", "New Drum"]]
for i, names in enumerate(_sets):
    browsers.append(WebBrowser(pages=PAGES))
    TASKS.append(
        Task(
            name=f"{CUR_TASK_NAME}/total_{i}",
            tools=create_tools,
            instruction=f"What do [{', '.join(names)}] cost, 10% off?",
            expected_output=sum(_prices[name] for name in names) * 0.5,
        )
    )
for dept in ["Sales"]:
    TASKS.append(
        Task(
            name=f"{CUR_TASK_NAME}/people_in_{dept.lower()}",
            tools=create_tools,
            instruction=f"How many work in {dept}?",
            expected_output=sum(1 for p in METADATA["person_info"][-2:] if p["department"] == dept),
        )
    )
"""
PAGES = [{"name": "/", "content": "Bells [Clickable '/bells']"}, {"name": "/bells", "content": "1"}]
METADATA = {
    "item_info": [{"name": "Old Bell", "price": 1.5}, {"name": "New Drum", "price": 2.5}],
    "person_info": [{"department": "Sales"}] * 3,
}
LICENCE = "Everybody may use this.\n"


def code_act(folder: Path) -> Path:
    """A checkout like that of M3ToolEval's repository."""
    home = folder / M3TOOLEVAL
    (home / "web_browsing").mkdir(parents=True)
    (folder / "LICENSE").write_text(LICENCE)
    (home / "message_decoder.py").write_text(DECODER)
    (home / "dna_sequencer.py").write_text(SEQUENCER)
    (home / "trade_calculator.py").write_text(TRADE)
    (home / "travel_itinerary_planning.py").write_text(TRAVEL)
    (home / "web_browsing/__init__.py").write_text(WEB)
    (home / "web_browsing/metadata.json").write_text(json.dumps(METADATA))
    lines = "".join(f"{json.dumps(page)}\n" for page in PAGES)
    (home / "web_browsing/web_pages.jsonl").write_text(lines)
    return folder


TAU_TASKS = """
from somewhere import Action, Task

TASKS_TEST = [
    Task(
        annotator="0",
        user_id="ada_1",
        instruction="You are ada_1 and want to know what you owe.",
        actions=[Action(name="get_user_details", kwargs={"user_id": "ada_1"})],
        outputs=["12"],
    ),
]
"""


def tau_bench(folder: Path) -> Path:
    """A checkout like that of tau-bench's repository; it has no dev and train tasks."""
    tables = {"retail": ("orders", "products"), "airline": ("flights", "reservations")}
    (folder / "LICENSE").parent.mkdir(parents=True, exist_ok=True)
    (folder / "LICENSE").write_text(LICENCE)
    for domain, names in tables.items():
        home = folder / "tau_bench/envs" / domain
        (home / "data").mkdir(parents=True)
        (home / "wiki.md").write_text(f"# Rules of {domain}\n")
        (home / "tasks_test.py").write_text(TAU_TASKS.replace("TASKS_TEST", "TASKS"))
        for name in names:
            (home / f"data/{name}.json").write_text("{\n}\n")
        users = {"ada_1": {"name": {"first_name": "Ada", "last_name": "B"}}}
        (home / "data/users.json").write_text(json.dumps(users, indent=4))
    return folder


def tau2(folder: Path) -> Path:
    """What the wheel of tau2 holds, unpacked."""
    told = {"known_info": "You are Ada.", "reason_for_call": "You want out.", "unknown_info": None}
    action = {"name": "think", "arguments": {"thought": "x"}}
    kinds = [
        {"actions": [action], "communicate_info": [12]},
        {"actions": [], "nl_assertions": ["Agent refuses."]},
        {"actions": [{**action, "name": "fly"}]},
        {"actions": [{**action, "requestor": "user"}]},
        {"actions": [action], "reward_basis": ["DB", "NL_ASSERTION"]},
    ]
    tasks = [
        {
            "id": str(n),
            "user_scenario": {"instructions": told},
            "initial_state": None,
            "evaluation_criteria": kind,
        }
        for n, kind in enumerate(kinds)
    ]
    tables = {"retail": ("orders", "products"), "airline": ("flights", "reservations")}
    for domain, names in tables.items():
        home = folder / "tau2/data/tau2/domains" / domain
        home.mkdir(parents=True)
        (home / "db.json").write_text(json.dumps({key: {} for key in (*names, "users")}))
        (home / "tasks.json").write_text(json.dumps(tasks))
        (home / "policy.md").write_text("# Rules\n")
    return folder
