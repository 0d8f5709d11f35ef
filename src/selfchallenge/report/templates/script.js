"use strict";
// Everything is readable without this script: it adds the search box and the buttons.
const box = document.getElementById("find");
const textOf = (element) => {
  const copy = element.cloneNode(true);
  copy.querySelectorAll("[data-unsearched]").forEach((part) => part.remove());
  return `${element.dataset.words ?? ""} ${copy.textContent}`.toLowerCase();
};
const items = [...document.querySelectorAll("[data-item]")].map((element) => ({ element, text: "" }));

function find() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const item of items) {
    if (words.length) item.text ||= textOf(item.element);
    item.element.hidden = !words.every((word) => item.text.includes(word));
  }
  for (const group of document.querySelectorAll(".group")) {
    group.hidden = !group.querySelector("[data-item]:not([hidden])");
  }
  for (const count of document.querySelectorAll("[data-count]")) {
    count.dataset.plain ||= count.textContent;
    const left = count.closest("section").querySelectorAll("[data-item]:not([hidden])").length;
    count.textContent = words.length ? `${left} of ${count.dataset.count} match` : count.dataset.plain;
  }
}

// #find=words is a search that can be linked to; any other mark opens the card it names.
function follow() {
  let mark = location.hash.slice(1);
  try { mark = decodeURIComponent(mark); } catch { /* not an address: taken as it stands */ }
  if (mark.startsWith("find=")) {
    box.value = mark.slice(5);
    find();
  } else {
    const card = document.getElementById(mark);
    if (card instanceof HTMLDetailsElement) card.open = true;
  }
}

for (const link of document.querySelectorAll("[data-to]")) {
  link.addEventListener("click", () => document.getElementById(link.dataset.to).scrollIntoView());
}
for (const button of document.querySelectorAll("[data-toggle]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const open = button.textContent === "Open all";
    for (const card of button.closest("section").querySelectorAll("[data-item]")) card.open = open;
    button.textContent = open ? "Close all" : "Open all";
  });
}
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !(event.target instanceof HTMLInputElement)) {
    event.preventDefault();
    box.focus();
  } else if (event.key === "Escape" && event.target === box) {
    box.value = "";
    find();
  }
});
box.hidden = false;
box.addEventListener("input", find);
addEventListener("hashchange", follow);
follow();
