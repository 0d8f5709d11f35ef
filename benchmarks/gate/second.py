"""A second set for the gate, made by somebody who had not seen the first: 20 good tasks, 20 bad.

    python benchmarks/gate/measure.py --set second --out benchmarks/gate/second.json

One defect of every kind (over-strict twice), planted in ways that `tasks.py` does not use, over a
clinic (`clinic.py`). Nothing in the gate knows of either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tasks import GOOD, Draft


def _task(said: str, solution: str, verifier: str, failures: tuple[str, ...]) -> Draft:
    return Draft("clinic", said, verifier, solution, failures)


def _draft(label: str, family: str, draft: Draft) -> Draft:
    return replace(draft, label=label, family=family)


BOOK = _task(
    "Book Ada Holt with Dr. Birch for mon 10:00.",
    "patient = find_patient('Ada Holt')[0]\nanswer = book(patient, 'Dr. Birch', 'mon 10:00')",
    """
def evaluate(answer):
    mine = [get_appointment(v) for v in get_patient('P-101')['appointments']]
    new = [v for v in mine if v['doctor'] == 'Dr. Birch' and v['status'] == 'booked']
    return len(mine) == 2 and len(new) == 1 and new[0]['slot'] == 'mon 10:00'
""",
    (
        "book(find_patient('Ada Holt')[0], 'Dr. Birch', 'mon 09:00')",
        "book(find_patient('Ada Holt')[0], 'Dr. Chen', 'mon 10:00')",
        "book(find_patient('Ben')[0], 'Dr. Birch', 'mon 10:00')",
    ),
)
CANCEL = _task(
    "Cleo Marsh (P-103) has moved away. Cancel her appointment with that reason.",
    """
for visit in get_patient('P-103')['appointments']:
    cancel(visit, 'moved')
""",
    """
def evaluate():
    visit = get_appointment('V-503')
    return visit['status'] == 'cancelled' and visit.get('reason') == 'moved'
""",
    ("cancel('V-503', 'ill')", "cancel('V-504', 'moved')", "get_appointment('V-503')"),
)
PHONE = _task(
    "The new phone number of Hugo Brand is 555-7788. Note it.",
    "who = find_patient('Hugo Brand')\nset_phone(who[0], '555-7788')",
    "def evaluate():\n    return get_patient('P-108')['phone'] == '555-7788'",
    (
        "set_phone(find_patient('Hugo')[0], '555-7789')",
        "set_phone('P-101', '555-7788')",
        "find_patient('Hugo Brand')",
    ),
)
CHEAPEST = _task(
    "Which skin doctor has the lowest fee? Answer with the name.",
    """
doctors = list_doctors('skin')
answer = min(doctors, key=lambda name: get_doctor(name)['fee'])
""",
    "def evaluate(answer):\n    return answer == 'Dr. Amal'",
    ("answer = 'Dr. Dietz'", "answer = list_doctors('eyes')[0]", "answer = list_doctors('skin')"),
)
OWED = _task(
    "How much do Dan Ruiz and Gina Sato owe together?",
    """
total = 0
for name in ('Dan Ruiz', 'Gina Sato'):
    total += get_patient(find_patient(name)[0])['balance']
answer = total
""",
    "def evaluate(answer):\n    return isinstance(answer, float) and answer == 50.0",
    ("answer = 30.0", "answer = 20.0", "answer = '50'"),
)
DISPENSE = _task(
    "Hand out 8 aspirin to P-102 and 2 bandages (bandage) to P-104.",
    "dispense('P-102', 'aspirin', 8)\ndispense('P-104', 'bandage', 2)",
    """
def evaluate():
    stock = get_stock()
    return stock['aspirin'] == 32 and stock['bandage'] == 23
""",
    (
        "dispense('P-102', 'aspirin', 8)",
        "dispense('P-104', 'bandage', 2)",
        "dispense('P-102', 'aspirin', 9)\ndispense('P-104', 'bandage', 2)",
    ),
)
URGENT = _task(
    "Put Leo Frost into the queue as urgent.",
    "leo = find_patient('Leo Frost')[0]\nenqueue(leo, urgent=True)",
    """
def evaluate():
    line = get_queue()
    leo = [i for i, e in enumerate(line) if e['patient'] == 'P-112']
    return leo == [0] and line[0]['urgent'] and len(line) == 3
""",
    (
        "enqueue(find_patient('Leo Frost')[0])",
        "enqueue(find_patient('Iris Vale')[0], urgent=True)",
        "get_queue()",
    ),
)
NEXT = _task(
    "Call the next patient out of the queue and charge that patient 12.5.",
    "patient = call_next()\ncharge(patient, 12.5)",
    """
def evaluate():
    gone = all(entry['patient'] != 'P-109' for entry in get_queue())
    return gone and len(get_queue()) == 1 and get_patient('P-109')['balance'] == 12.5
""",
    ("call_next()", "charge('P-109', 12.5)", "call_next()\ncharge('P-110', 12.5)"),
)
LETTER = _task(
    "Write to Finn Moss that his appointment is confirmed; the letter must contain its slot.",
    """
finn = find_patient('Finn Moss')[0]
visit = get_appointment(get_patient(finn)['appointments'][0])
send_letter(finn, f"Your appointment is confirmed: {visit['slot']}")
""",
    """
def evaluate():
    letters = get_letters('P-106')
    return len(letters) == 1 and 'confirmed' in letters[0] and 'wed 10:00' in letters[0]
""",
    (
        "send_letter('P-106', 'Your appointment is confirmed.')",
        "send_letter('P-111', 'Your appointment is confirmed: wed 10:00')",
        "send_letter('P-106', 'wed 10:00')",
    ),
)
MOVE = _task(
    "Move appointment V-505 to tue 14:00.",
    "move('V-505', 'tue 14:00')",
    """
def evaluate():
    visit = get_appointment('V-505')
    return visit['slot'] == 'tue 14:00' and visit['status'] == 'booked'
""",
    ("move('V-505', 'tue 10:00')", "move('V-501', 'tue 14:00')", "cancel('V-505', 'other')"),
)
ANY = _task(
    "Book Kira Moss with any heart doctor, whichever slot is free. Answer with the appointment id.",
    """
kira = [i for i in find_patient('Moss') if get_patient(i)['name'].startswith('Kira')][0]
doctor = list_doctors('heart')[0]
answer = book(kira, doctor, get_doctor(doctor)['free'][0])
""",
    """
def evaluate(answer):
    mine = get_patient('P-111')['appointments']
    if len(mine) != 1 or answer != mine[0]:
        return False
    visit = get_appointment(mine[0])
    return get_doctor(visit['doctor'])['speciality'] == 'heart' and visit['status'] == 'booked'
""",
    (
        "answer = book('P-111', 'Dr. Amal', 'mon 09:00')",
        "book('P-111', 'Dr. Chen', 'mon 09:00')",
        "answer = book('P-106', 'Dr. Chen', 'mon 09:00')",
    ),
)
LOW = _task(
    "Which medicines are below 10 pieces? Answer with a list of their names.",
    "answer = [name for name, count in get_stock().items() if count < 10]",
    "def evaluate(answer):\n    return isinstance(answer, list) and sorted(answer) == ['insulin']",
    ("answer = []", "answer = ['insulin', 'zinc drops']", "answer = list(get_stock())"),
)
BALANCES = _task(
    "Give me a dict from name to balance for P-101, P-102 and P-103.",
    """
answer = {}
for number in (101, 102, 103):
    patient = get_patient(f'P-{number}')
    answer[patient['name']] = patient['balance']
""",
    """
def evaluate(answer):
    return answer == {'Ada Holt': 0.0, 'Ben Okoro': 10.0, 'Cleo Marsh': 20.0}
""",
    (
        "answer = {'Ada Holt': 0.0, 'Ben Okoro': 10.0}",
        "answer = [0.0, 10.0, 20.0]",
        "answer = {'P-101': 0.0, 'P-102': 10.0, 'P-103': 20.0}",
    ),
)
SWAP = _task(
    "Eva Lind (P-105) is ill: cancel V-505 as ill, then charge her a fee of 15.",
    "cancel('V-505', 'ill')\ncharge('P-105', 15)",
    """
def evaluate():
    visit = get_appointment('V-505')
    ill = visit['status'] == 'cancelled' and visit['reason'] == 'ill'
    return ill and get_patient('P-105')['balance'] == 15
""",
    (
        "cancel('V-505', 'ill')",
        "charge('P-105', 15)",
        "cancel('V-505', 'other')\ncharge('P-105', 15)",
    ),
)
IS_FREE = _task(
    "Is Dr. Chen free on tue 10:00? Answer True or False.",
    "answer = 'tue 10:00' in get_doctor('Dr. Chen')['free']",
    "def evaluate(answer):\n    return answer is True",
    ("answer = False", "answer = 'yes'", "answer = 1"),
)
COUNT = _task(
    "How many appointments does Dr. Dietz have? Look at V-501 to V-508 and answer with the number.",
    """
count = 0
for number in range(501, 509):
    if get_appointment('V-' + str(number))['doctor'] == 'Dr. Dietz':
        count += 1
answer = count
""",
    "def evaluate(answer):\n    return type(answer) is int and answer == 2",
    ("answer = 3", "answer = 1", "answer = '2'"),
)
TWO_LETTERS = _task(
    "Send everybody in the queue a letter that says: Please come to room 4.",
    """
for entry in get_queue():
    send_letter(entry['patient'], 'Please come to room 4.')
""",
    """
def evaluate():
    for entry in get_queue():
        texts = get_letters(entry['patient'])
        if len(texts) != 1 or 'Please come to room 4' not in texts[0]:
            return False
    return len(get_queue()) == 2
""",
    (
        "send_letter('P-109', 'Please come to room 4.')",
        "send_letter('P-110', 'Please come to room 4.')",
        "for e in get_queue(): send_letter(e['patient'], 'Please come to room 5.')",
    ),
)
REFUSED = _task(
    "Try to hand out 9 insulin to P-107; if there is not enough, hand out what there is.",
    """
try:
    dispense('P-107', 'insulin', 9)
except ToolError:
    dispense('P-107', 'insulin', get_stock()['insulin'])
""",
    "def evaluate():\n    return get_stock()['insulin'] == 0",
    ("dispense('P-107', 'insulin', 5)", "get_stock()", "dispense('P-107', 'aspirin', 9)"),
)
CROSS = _task(
    "Charge Jon Pike the fee of Dr. Dietz.",
    "fee = get_doctor('Dr. Dietz')['fee']\njon, = find_patient('Jon Pike')\ncharge(jon, fee)",
    "def evaluate():\n    return get_patient('P-110')['balance'] == 10.0 + 85",
    ("charge('P-110', 70)", "charge('P-109', 85)", "charge('P-110', 85)\ncharge('P-110', 85)"),
)
NEITHER = _task(
    "Which of Kira Moss and Finn Moss has an appointment? Answer with the id of that patient.",
    """
for who in find_patient('Moss'):
    if get_patient(who)['appointments']:
        answer = who
""",
    "def evaluate(answer):\n    return answer == 'P-106'",
    ("answer = 'P-111'", "answer = 'Finn Moss'", "answer = find_patient('Moss')"),
)

ALL_GOOD = {
    "book": BOOK,
    "cancel": CANCEL,
    "phone": PHONE,
    "cheapest": CHEAPEST,
    "owed": OWED,
    "dispense": DISPENSE,
    "urgent": URGENT,
    "next": NEXT,
    "letter": LETTER,
    "move": MOVE,
    "any": ANY,
    "low": LOW,
    "balances": BALANCES,
    "ill": SWAP,
    "free": IS_FREE,
    "count": COUNT,
    "everybody": TWO_LETTERS,
    "refused": REFUSED,
    "cross": CROSS,
    "neither": NEITHER,
}


def drafts() -> Iterator[Draft]:
    """The good ones, then the bad."""
    for family, draft in ALL_GOOD.items():
        yield _draft(GOOD, family, draft)
    yield from planted()


def planted() -> Iterator[Draft]:
    """The bad half, each with the way in which it is bad."""
    yield _draft(
        "vacuous",
        "the old value is allowed as well as the new one",
        replace(
            PHONE,
            verifier="def evaluate():\n"
            "    return get_patient('P-108')['phone'] in ('555-7788', '555-0107')",
            failures=(
                "set_phone('P-108', '555-7789')",
                "set_phone('P-108', '')",
                "set_phone('P-108', '7788')",
            ),
        ),
    )
    yield _draft(
        "keyword only",
        "one word of a letter counts, its slot does not",
        replace(
            LETTER,
            verifier="def evaluate():\n    return 'confirmed' in ' '.join(get_letters('P-106'))",
            failures=(
                "send_letter('P-106', 'wed 10:00')",
                "send_letter('P-111', 'Your appointment is confirmed: wed 10:00')",
                "get_letters('P-106')",
            ),
        ),
    )
    yield _draft(
        "over strict",
        "the exact words of a letter that may be worded freely",
        replace(
            LETTER,
            verifier="def evaluate():\n"
            "    return get_letters('P-106') == ['Your appointment is confirmed: wed 10:00']",
        ),
    )
    yield _draft(
        "over strict",
        "one slot of one doctor where any will do",
        replace(
            ANY,
            verifier="def evaluate(answer):\n"
            "    return answer == 'V-509' and get_appointment('V-509') == "
            "{'patient': 'P-111', 'doctor': 'Dr. Chen', 'slot': 'mon 09:00', 'status': 'booked'}",
        ),
    )
    yield _draft(
        "wrong constant",
        "solution and verifier agree on another quantity than the instruction",
        replace(
            DISPENSE,
            solution="dispense('P-102', 'aspirin', 6)\ndispense('P-104', 'bandage', 2)",
            verifier=DISPENSE.verifier.replace("32", "34"),
        ),
    )
    yield _draft(
        "nondeterministic",
        "the solution takes a slot by chance",
        replace(
            ANY,
            solution="import random\ndoctor = list_doctors('heart')[0]\n"
            "slot = random.choice(get_doctor(doctor)['free'])\n"
            "answer = book(find_patient('Kira')[0], doctor, slot)",
        ),
    )
    yield _draft(
        "order dependent",
        "the order in which a loop cancelled is read off the freed slots",
        _task(
            "Dr. Amal's patients of V-501 and V-505 are both ill: cancel these two.",
            "for visit in ('V-501', 'V-505'):\n    cancel(visit, 'ill')",
            "def evaluate():\n"
            "    ill = [get_appointment(v).get('reason') == 'ill' for v in ('V-501', 'V-505')]\n"
            "    freed = get_doctor('Dr. Amal')['free'][-2:]\n"
            "    return all(ill) and freed == ['wed 09:00', 'wed 10:00']",
            (
                "cancel('V-501', 'ill')",
                "cancel('V-505', 'ill')",
                "for visit in ('V-501', 'V-505'):\n    cancel(visit, 'other')",
            ),
        ),
    )
    yield _draft(
        "first of several",
        "a loop writes to two, one is looked at",
        replace(
            TWO_LETTERS,
            verifier="def evaluate():\n    first = get_queue()[0]['patient']\n"
            "    return get_letters(first) == ['Please come to room 4.']",
            failures=(
                "send_letter('P-110', 'Please come to room 4.')",
                "get_queue()",
                "for e in get_queue(): send_letter(e['patient'], 'Please come to room 5.')",
            ),
        ),
    )
    yield _draft(
        "other choice",
        "any skin doctor where the cheapest is asked for",
        replace(
            CHEAPEST,
            verifier="def evaluate(answer):\n    return answer in list_doctors('skin')",
            failures=("answer = 'Dr. Birch'", "answer = 'Dr. Chen'", "answer = list_doctors()"),
        ),
    )
    yield _draft(
        "first call only",
        "a mark left in a module, and no look at what was noted",
        replace(
            PHONE,
            verifier="import string\n\ndef evaluate():\n    first = not hasattr(string, 'been')\n"
            "    string.been = True\n"
            "    return first and get_patient('P-108')['phone'] != '555-0107'",
            failures=(
                "set_phone('P-101', '555-7788')",
                "find_patient('Hugo')",
                "set_phone('P-108', '555-0107')",
            ),
        ),
    )
    yield _draft(
        "missing identifier",
        "nobody is named whose number it is",
        replace(PHONE, said="There is a new phone number, 555-7788. Note it for the patient."),
    )
    yield _draft(
        "ambiguous reference",
        "two are called Moss, and the second is taken by index",
        _task(
            "Send Moss a letter that says: Please call us back.",
            "send_letter(find_patient('Moss')[1], 'Please call us back.')",
            "def evaluate():\n    return get_letters('P-111') == ['Please call us back.']",
            (
                "send_letter(find_patient('Moss')[0], 'Please call us back.')",
                "send_letter('P-111', 'Please call.')",
                "get_letters('P-111')",
            ),
        ),
    )
    yield _draft(
        "contradicting",
        "the end of the queue is asked for, the front is taken",
        replace(URGENT, said="Leo Frost can wait: put him at the end of the queue."),
    )
    yield _draft(
        "unreachable literal",
        "an amount that is worked out of numbers that nobody named",
        _task(
            "Charge Finn Moss for the parking.",
            "hours = 7\ncharge(find_patient('Finn Moss')[0], hours * 2.5)",
            "def evaluate():\n    return get_patient('P-106')['balance'] == 27.5",
            ("charge('P-106', 17)", "charge('P-111', 17.5)", "find_patient('Finn Moss')"),
        ),
    )
    yield _draft(
        "failure is solution",
        "the same calls in another order",
        replace(
            DISPENSE,
            failures=(
                *DISPENSE.failures[:2],
                "dispense('P-104', 'bandage', 2)\ndispense('P-102', 'aspirin', 8)",
            ),
        ),
    )
    yield _draft(
        "failure never runs",
        "functions that nobody calls",
        replace(
            MOVE,
            failures=(
                "def late():\n    move('V-505', 'tue 10:00')",
                "def other():\n    move('V-501', 'tue 14:00')",
                "def gone():\n    cancel('V-505', 'other')",
            ),
        ),
    )
    again = replace(
        PHONE,
        said="Hugo Brand can be reached at 555-7788 from now on; please change his record.",
        solution="set_phone(patient_id=find_patient(name='Hugo Brand')[0], phone='555-7788')",
    )
    yield replace(
        _draft("duplicate", "by keyword, without the variable, in other words", again),
        first=_draft(GOOD, "phone", PHONE),
    )
    moved = replace(
        CANCEL,
        said="Since Cleo Marsh (P-103) has moved away from town, cancel her appointment now.",
    )
    yield replace(
        _draft("contaminated", "the two halves of a test task's sentence exchanged", moved),
        tested="Cancel her appointment now, since Cleo Marsh (P-103) has moved away from town.",
    )
    yield _draft(
        "reads clock",
        "the solution writes today's date into a letter",
        _task(
            "Write to Gina Sato that her file was opened today, with the date.",
            "import datetime\ngina = find_patient('Gina Sato')[0]\n"
            "send_letter(gina, f'Your file was opened today, {datetime.date.today()}.')",
            "def evaluate():\n    return any('today, 20' in t for t in get_letters('P-107'))",
            (
                "send_letter('P-107', 'Your file was opened.')",
                "send_letter('P-108', 'Your file was opened today, 2024-01-01.')",
                "get_letters('P-107')",
            ),
        ),
    )
    yield _draft(
        "hash order",
        "a slot chosen by the hash of a name",
        replace(
            ANY,
            solution="doctor = list_doctors('heart')[0]\nfree = get_doctor(doctor)['free']\n"
            "answer = book(find_patient('Kira')[0], doctor, free[hash(doctor) % len(free)])",
        ),
    )
