"""The world of the gate's second set: a clinic with slots, a queue, stock and letters."""

from __future__ import annotations

from typing import Any, Literal

from selfchallenge.environments.base import Environment, tool
from selfchallenge.errors import ToolError

NAMES = (
    *("Ada Holt", "Ben Okoro", "Cleo Marsh", "Dan Ruiz", "Eva Lind", "Finn Moss", "Gina Sato"),
    *("Hugo Brand", "Iris Vale", "Jon Pike", "Kira Moss", "Leo Frost"),
)
SPECIALITIES = ("skin", "eyes", "heart")
DOCTORS = ("Dr. Amal", "Dr. Birch", "Dr. Chen", "Dr. Dietz")


class Clinic(Environment):
    """You run the front desk of a clinic.

    Patients have ids such as P-101, appointments such as V-501. Slots are written like `mon 09:00`.
    An appointment frees its slot when it is cancelled. Do what you are asked for and nothing else.
    """

    label = "clinic"

    def __init__(self, seed: str | None = None) -> None:
        super().__init__(seed)
        self.patients = {
            f"P-{101 + i}": {"name": name, "phone": f"555-01{i:02}", "balance": 10.0 * (i % 4)}
            for i, name in enumerate(NAMES)
        }
        self.doctors = {
            name: {
                "speciality": SPECIALITIES[i % len(SPECIALITIES)],
                "fee": 40 + 15 * i,
                "free": [f"{day} {hour:02}:00" for day in ("mon", "tue") for hour in (9, 10, 14)],
            }
            for i, name in enumerate(DOCTORS)
        }
        self.visits: dict[str, dict[str, Any]] = {}
        for i, patient in enumerate(list(self.patients)[:8]):
            self._enter(patient, DOCTORS[i % len(DOCTORS)], f"wed {9 + i // len(DOCTORS):02}:00")
        self.queue: list[dict[str, Any]] = [
            {"patient": "P-109", "urgent": False},
            {"patient": "P-110", "urgent": False},
        ]
        self.stock = {"aspirin": 40, "insulin": 6, "zinc drops": 12, "bandage": 25}
        self.letters: list[dict[str, str]] = []

    def _enter(self, patient: str, doctor: str, slot: str) -> str:
        name = f"V-{501 + len(self.visits)}"
        self.visits[name] = {"patient": patient, "doctor": doctor, "slot": slot, "status": "booked"}
        return name

    def _patient(self, patient_id: str) -> dict[str, Any]:
        if patient_id not in self.patients:
            raise ToolError(f"no patient {patient_id}")
        return self.patients[patient_id]

    def _visit(self, visit_id: str) -> dict[str, Any]:
        if visit_id not in self.visits:
            raise ToolError(f"no appointment {visit_id}")
        return self.visits[visit_id]

    @tool
    def find_patient(self, name: str) -> list[str]:
        """Ids of the patients whose name contains this text."""
        return [i for i, p in self.patients.items() if name.lower() in p["name"].lower()]

    @tool
    def get_patient(self, patient_id: str) -> dict[str, Any]:
        """Name, phone and balance of a patient, and the ids of the appointments."""
        visits = [i for i, v in self.visits.items() if v["patient"] == patient_id]
        return {**self._patient(patient_id), "appointments": visits}

    @tool
    def get_appointment(self, visit_id: str) -> dict[str, Any]:
        """Patient, doctor, slot and status of an appointment."""
        return self._visit(visit_id)

    @tool
    def list_doctors(self, speciality: str | None = None) -> list[str]:
        """Names of the doctors, of one speciality or of all."""
        return [n for n, d in self.doctors.items() if speciality in (None, d["speciality"])]

    @tool
    def get_doctor(self, doctor: str) -> dict[str, Any]:
        """Speciality, fee and free slots of a doctor."""
        if doctor not in self.doctors:
            raise ToolError(f"no doctor {doctor}")
        return self.doctors[doctor]

    @tool
    def get_queue(self) -> list[dict[str, Any]]:
        """Who waits, the next one first."""
        return self.queue

    @tool
    def get_stock(self) -> dict[str, int]:
        """How much there is of each medicine."""
        return self.stock

    @tool
    def get_letters(self, patient_id: str) -> list[str]:
        """Letters that were sent to a patient."""
        return [letter["text"] for letter in self.letters if letter["patient"] == patient_id]

    @tool(mutates=True)
    def book(self, patient_id: str, doctor: str, slot: str) -> str:
        """Book a free slot; returns the id of the appointment."""
        self._patient(patient_id)
        free = self.get_doctor(doctor)["free"]
        if slot not in free:
            raise ToolError(f"{slot} is not free")
        free.remove(slot)
        return self._enter(patient_id, doctor, slot)

    @tool(mutates=True)
    def cancel(self, visit_id: str, reason: Literal["ill", "moved", "other"]) -> dict[str, Any]:
        """Cancel an appointment."""
        visit = self._visit(visit_id)
        if visit["status"] != "booked":
            raise ToolError(f"{visit_id} is {visit['status']}")
        visit |= {"status": "cancelled", "reason": reason}
        self.doctors[visit["doctor"]]["free"].append(visit["slot"])
        return visit

    @tool(mutates=True)
    def move(self, visit_id: str, slot: str) -> dict[str, Any]:
        """Move an appointment to another free slot of the same doctor."""
        visit = self._visit(visit_id)
        free = self.doctors[visit["doctor"]]["free"]
        if slot not in free:
            raise ToolError(f"{slot} is not free")
        free.remove(slot)
        free.append(visit["slot"])
        visit["slot"] = slot
        return visit

    @tool(mutates=True)
    def enqueue(self, patient_id: str, urgent: bool = False) -> int:
        """Put a patient into the queue, in front when it is urgent; returns the place."""
        self._patient(patient_id)
        entry = {"patient": patient_id, "urgent": urgent}
        self.queue.insert(0 if urgent else len(self.queue), entry)
        return self.queue.index(entry)

    @tool(mutates=True)
    def call_next(self) -> str:
        """Take the next patient out of the queue; returns the id."""
        if not self.queue:
            raise ToolError("nobody waits")
        return str(self.queue.pop(0)["patient"])

    @tool(mutates=True)
    def dispense(self, patient_id: str, medicine: str, quantity: int) -> int:
        """Hand out medicine; returns what is left."""
        self._patient(patient_id)
        if not 0 < quantity <= self.stock.get(medicine, 0):
            raise ToolError(f"there are {self.stock.get(medicine, 0)} of {medicine}")
        self.stock[medicine] -= quantity
        return self.stock[medicine]

    @tool(mutates=True)
    def charge(self, patient_id: str, amount: float) -> float:
        """Add an amount to the balance of a patient; returns the new balance."""
        patient = self._patient(patient_id)
        patient["balance"] = round(patient["balance"] + amount, 2)
        return float(patient["balance"])

    @tool(mutates=True)
    def set_phone(self, patient_id: str, phone: str) -> dict[str, Any]:
        """Note another phone number."""
        patient = self._patient(patient_id)
        patient["phone"] = phone
        return patient

    @tool(mutates=True)
    def send_letter(self, patient_id: str, text: str) -> int:
        """Send a letter; returns how many letters were sent so far."""
        self._patient(patient_id)
        self.letters.append({"patient": patient_id, "text": text})
        return len(self.letters)
