// The box of failure modes: a combobox as the ARIA practices have it. Focus stays in the box, aria-activedescendant
// walks the list. What has been taken is told by a "taken" event at the box; what follows from it is review.js's.

const byId = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];

export const box = () => byId("failure_mode");
const options = () => all("#modes [role=option]:not([hidden])");
const activeMode = () => document.querySelector("#modes [aria-selected=true]");

// Half of the letters typed stand in words that a mode has too: near enough to look at before a new one is made.
const NEAR = 0.5;

const wordsOf = (text) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

// Words that differ in their ending only, as "asks" and "asked" do: they begin alike for most of the shorter one.
function isKin(one, other) {
  const n = Math.ceil(0.7 * Math.min(one.length, other.length));
  return one.slice(0, n) === other.slice(0, n);
}

// 1 when a mode holds everything typed, be it in the middle of a word; else the share of letters in words it shares.
function likeness(option, typed) {
  const words = wordsOf(typed);
  if (words.every((word) => option.dataset.text.includes(word))) return 1;
  const theirs = wordsOf(option.dataset.text);
  const length = (some) => some.reduce((n, word) => n + word.length, 0);
  return (0.99 * length(words.filter((word) => theirs.some((their) => isKin(word, their))))) / length(words);
}

// What holds all that is typed comes first, then the offer to make it a new mode, then modes that are near to it.
export function filterModes() {
  const typed = box().value.trim();
  const isKnown = all("#modes [data-name]").some((one) => one.dataset.name.toLowerCase() === typed.toLowerCase());
  const offer = byId("mode-new");
  const ranked = all("#modes [data-name]")
    .map((option) => ({ option, like: typed ? likeness(option, typed) : 1, place: Number(option.id.slice(5)) }))
    .sort((one, other) => other.like - one.like || one.place - other.place);
  for (const [at, { option, like }] of ranked.entries()) {
    option.hidden = like < NEAR;
    option.querySelector(".digit").textContent = typed || at >= 9 ? "" : at + 1;
    byId("modes").append(option);
  }
  offer.hidden = !typed || isKnown;
  offer.querySelector("bdi").textContent = typed;
  const firstNear = ranked.find(({ like }) => like < 1)?.option ?? null;
  byId("modes").insertBefore(offer, firstNear);
  byId("modes").insertBefore(byId("mode-near"), firstNear);
  byId("mode-near").hidden = !typed || !firstNear || firstNear.hidden;
  activate(typed ? options()[0] : null);
}

export function openModes(isOpen) {
  byId("modes").hidden = !isOpen || options().length === 0;
  box().setAttribute("aria-expanded", String(!byId("modes").hidden));
  if (!isOpen) activate(null);
}

// The mode with this number of the whole list, whatever was typed.
export function takeNumber(number) {
  box().value = "";
  filterModes();
  take(options()[number - 1]);
}

export function take(option) {
  if (!option) return; // a digit beyond the end of the list
  if (option.dataset.name) box().value = option.dataset.name;
  openModes(false);
  box().focus();
  box().dispatchEvent(new CustomEvent("taken", { bubbles: true }));
}

// Whether the box did something with this key.
export function modeKey(event) {
  const isOpen = !byId("modes").hidden;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    if (!isOpen) openModes(true);
    const list = options();
    const at = list.indexOf(activeMode());
    activate(list[at < 0 ? (step > 0 ? 0 : list.length - 1) : (at + step + list.length) % list.length]);
  } else if (event.key === "Enter" && isOpen && activeMode()) take(activeMode());
  else if (event.key === "Escape" && isOpen && box().value) openModes(false);
  else if (/^[1-9]$/.test(event.key) && isOpen && !box().value) take(options()[event.key - 1]);
  else return false;
  return true;
}

function activate(option) {
  activeMode()?.setAttribute("aria-selected", "false");
  option?.setAttribute("aria-selected", "true");
  option?.scrollIntoView({ block: "nearest" });
  if (option) box().setAttribute("aria-activedescendant", option.id);
  else box().removeAttribute("aria-activedescendant");
}
