// The review page beyond plain forms: keys, drafts, and a connection that may fail.
// Pages are made on the server and swapped in by htmx; nothing here builds HTML out of text. Listeners sit on the
// document, so a swapped page needs none of its own; `arrive` does what each new page wants once.
import { box, filterModes, modeKey, openModes, take, takeNumber } from "./modes.js";

const byId = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const typing = (element) => element.closest("textarea, input:not([type=radio], [type=checkbox])") !== null;

// ---- What is kept in this browser ----------------------------------------------------------------------------

// A draft belongs to a reviewer, a cycle and a trace, so that two people at one machine never see each other's.
const store = {
  read: (key, otherwise) => JSON.parse(localStorage.getItem(`evalpipe ${key}`)) ?? otherwise,
  write: (key, value) => localStorage.setItem(`evalpipe ${key}`, JSON.stringify(value)),
  drop: (key) => localStorage.removeItem(`evalpipe ${key}`),
};
const FIELDS = ["verdict", "failure_mode", "evidence", "correction", "comment"];

let saved = null; // the answer saved last: taken back, it comes back as a draft, not as an empty form

function draftOf(reviewer, address) {
  const [, cycle, trace] = new URL(address, location).pathname.match(/^\/review\/([^/]+)\/([0-9a-f]{32})/) ?? [];
  return trace ? `draft ${reviewer}/${cycle}/${trace}` : null;
}

function contentOf(form) {
  const data = new FormData(form);
  return Object.fromEntries(FIELDS.map((name) => [name, data.get(name) ?? ""]));
}

function keepDraft() {
  store.write(`draft ${byId("main").dataset.draft}`, contentOf(byId("answer")));
  byId("draft").textContent = "Draft kept in this browser.";
}

function restoreDraft(form) {
  const draft = store.read(`draft ${byId("main").dataset.draft}`);
  if (!draft || JSON.stringify(draft) === JSON.stringify(contentOf(form))) return;
  for (const name of FIELDS) {
    if (name !== "verdict") form.elements[name].value = draft[name];
    else for (const radio of form.elements.verdict) radio.checked = radio.value === draft.verdict;
  }
  if (draft.evidence || draft.correction || draft.comment) form.querySelector(".words").open = true;
  byId("draft").textContent = "Your draft is back; it is not saved yet.";
}

// ---- Answers that could not be sent --------------------------------------------------------------------------

const COMES_AGAIN = (status) => status === 0 || status === 401 || status === 408 || status === 429 || status >= 500;
const FIRST_PAUSE_MS = 1000;
const LAST_PAUSE_MS = 30000;

let [pauseMs, isSending, nextTry] = [FIRST_PAUSE_MS, false, 0];

const reviewerHere = () => document.querySelector("[data-reviewer]")?.dataset.reviewer ?? "";
const unsent = () => store.read("unsent", []).filter((item) => item.reviewer === reviewerHere());

function keepForLater(to, form) {
  const id = `${Date.now()} ${Math.random()}`;
  const item = { id, to, form: new URLSearchParams(form).toString(), reviewer: form.get("reviewer") };
  // Of two answers to one trace the later one counts.
  store.write("unsent", [...store.read("unsent", []).filter((other) => other.to !== to), item]);
  say("");
  showUnsent();
  sendLater();
}

// The server takes an answer that comes a second time for what it is, so one whose reply was lost is safe to send.
async function sendUnsent() {
  clearTimeout(nextTry);
  if (isSending) return;
  isSending = true;
  for (let item = unsent()[0]; item; item = unsent()[0]) {
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const request = { method: "POST", headers, body: item.form, signal: AbortSignal.timeout(15000) };
    const response = await fetch(item.to, request).catch(() => null);
    if (COMES_AGAIN(response?.status ?? 0)) {
      sendLater();
      break;
    }
    pauseMs = FIRST_PAUSE_MS;
    store.write("unsent", store.read("unsent", []).filter((other) => other.id !== item.id));
    const isHere = location.pathname === item.to.replace(/\/skip$/, "");
    if (response.ok) store.drop(draftOf(item.reviewer, item.to));
    if (isHere && response.ok) location.assign(response.url);
    else if (response.ok) say("Saved what was waiting.");
    // What was refused stays as the draft of its trace, beside what is saved there.
    else if (isHere) location.reload();
    else say("One answer was not taken: it met another of yours. It is kept as a draft at its trace.", item.to);
  }
  isSending = false;
  showUnsent();
}

function sendLater() {
  clearTimeout(nextTry);
  nextTry = setTimeout(sendUnsent, pauseMs);
  pauseMs = Math.min(2 * pauseMs, LAST_PAUSE_MS);
}

function showUnsent() {
  const n = unsent().length;
  byId("unsent").hidden = n === 0;
  const what = n === 1 ? "1 answer is not saved yet" : `${n} answers are not saved yet`;
  const why = navigator.onLine ? "the server does not answer" : "offline";
  byId("unsent").querySelector("span").textContent = `${what} (${why}). Kept in this browser and sent again by itself.`;
}

// ---- What is said to the reviewer ----------------------------------------------------------------------------

let quiet = 0;

function say(text, address) {
  clearTimeout(quiet);
  const said = byId("said");
  said.textContent = text;
  if (address) {
    const link = document.createElement("a");
    link.href = address;
    link.textContent = "Look at it";
    said.append(" ", link);
  } else quiet = setTimeout(() => (said.textContent = ""), 4000);
}

// ---- What keys and buttons do --------------------------------------------------------------------------------

function choose(verdict) {
  const radio = byId("answer").querySelector(`[value=${verdict}]`);
  radio.checked = true;
  radio.dispatchEvent(new Event("change", { bubbles: true }));
}

function nextMark(signal) {
  const marks = all(signal ? `mark[data-signal="${CSS.escape(signal)}"]` : "mark");
  if (!marks.length) return say("Nothing is marked in this one.");
  const mark = marks[(marks.findIndex((other) => other.classList.contains("at")) + 1) % marks.length];
  for (const other of all("mark.at")) other.classList.remove("at");
  for (let fold = mark.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  mark.closest(".long")?.classList.add("unfolded");
  mark.classList.add("at");
  mark.focus({ preventScroll: true });
  mark.scrollIntoView({ block: "center" });
}

function quote() {
  const selection = getSelection();
  const isInside = [selection.anchorNode, selection.focusNode].every((node) => byId("conversation").contains(node));
  const passage = (isInside && selection.toString().trim()) || document.querySelector("mark.at")?.textContent;
  if (!passage) return say("Select the passage in the conversation first, or go to a mark with N.");
  const field = byId("evidence");
  field.value = field.value.trim() ? `${field.value.trim()}\n${passage}` : passage;
  byId("answer").querySelector(".words").open = true;
  keepDraft();
  say("Quoted as evidence.");
}

const DO = {
  help: () => byId("help").showModal(),
  skip: () => byId("skip").showModal(),
  close: () => byId("skip").close(),
  mark: (button) => nextMark(button?.dataset.signal),
  quote,
  comment: () => {
    byId("answer").querySelector(".words").open = true;
    byId("correction").focus();
  },
  unfold: (button) => {
    const isOpen = button.closest(".long").classList.toggle("unfolded");
    button.setAttribute("aria-expanded", String(isOpen));
    button.textContent = isOpen ? "Show less" : "Show all";
  },
  "send-now": sendUnsent,
};
const KEYS = { "?": "help", s: "skip", n: "mark", e: "quote", c: "comment" };

function verdictKey(verdict) {
  choose(verdict);
  if (verdict === "good") byId("answer").requestSubmit();
  else {
    box().focus();
    openModes(!box().value);
  }
}

function walk(step) {
  const rows = all("[data-row]");
  focusRow(rows[Math.max(0, Math.min(rows.length - 1, rows.indexOf(rowHere()) + step))]);
}

const rowHere = () => document.activeElement.closest("[data-row]");
const focusRow = (row) => (row?.querySelector(":scope > summary") ?? row)?.focus();

// What a key is bound to in the row that has the focus, or on the page; never in another row.
function boundTo(key) {
  const selector = `[data-key="${CSS.escape(key)}"]`;
  return rowHere()?.querySelector(selector) ?? all(selector).find((one) => !one.closest("[data-row]"));
}

function write(field) {
  const fold = field.closest("details");
  if (fold) fold.open = true;
  field.focus();
  field.select();
}

document.addEventListener("keydown", (event) => {
  const target = event.target;
  const answer = byId("answer");
  if (event.isComposing || document.querySelector("dialog[open]")) return;
  // An answer is on its way: a key now would still hit the trace it was for.
  if (document.querySelector("form.htmx-request")) return event.preventDefault();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && answer) answer.requestSubmit();
  else if (event.ctrlKey || event.metaKey || event.altKey) return;
  else if (target === box() && modeKey(event)) void 0;
  else if (event.key === "Escape") typing(target) && rowHere() ? focusRow(rowHere()) : byId("main").focus();
  else if (typing(target)) return;
  else if (event.key === "Enter") {
    if (target.closest("a, button, summary")) return;
    if (answer) answer.requestSubmit();
    else document.querySelector("[data-key=enter]")?.click();
  } else if (!byId("single-keys").checked) return;
  else {
    const key = event.key.toLowerCase();
    const bound = boundTo(key);
    if (bound?.matches("[name=verdict]")) verdictKey(bound.value);
    else if (bound && typing(bound)) write(bound);
    else if (bound) bound.click();
    else if (/^[1-9]$/.test(key) && answer) takeNumber(key);
    else if (KEYS[key] && (answer || key === "?")) DO[KEYS[key]]();
    else if (document.querySelector("[data-row]") && (key === "j" || key === "k")) walk(key === "j" ? 1 : -1);
    else return;
  }
  event.preventDefault();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  const option = event.target.closest("#modes [role=option]");
  if (button) DO[button.dataset.do](button);
  else if (option) take(option);
});

// A press on the list or on "Quote" must not take the focus, and with it the selection, away.
document.addEventListener("mousedown", (event) => {
  if (event.target.closest("#modes, [data-do=quote]")) event.preventDefault();
});

document.addEventListener("focusin", (event) => {
  if (event.target === box()) openModes(!box().value);
});

document.addEventListener("taken", () => {
  if (!byId("answer").querySelector("[name=verdict]:checked:not([value=good])")) choose("bad");
  byId("mode-hint").hidden = true;
  keepDraft();
});

document.addEventListener("input", (event) => {
  if (!event.target.closest("#answer")) return;
  keepDraft();
  if (event.target !== box()) return;
  filterModes();
  openModes(true);
  byId("mode-hint").hidden = true;
});

document.addEventListener("change", ({ target }) => {
  if (target.id === "single-keys") store.write("single keys", target.checked);
  else if (target.name === "verdict") keepDraft();
});

// Before htmx hears of it: an answer without a verdict, or a failure without a word on it, is not sent.
document.addEventListener(
  "submit",
  (event) => {
    const form = event.target;
    if (form.dataset.clears) store.drop(`draft ${form.dataset.clears}`);
    if (form !== byId("answer") || event.submitter?.form?.id === "undo") return;
    const { verdict, failure_mode: mode } = contentOf(form);
    if (verdict && (verdict === "good" || mode.trim())) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (verdict) {
      byId("mode-hint").hidden = false;
      box().focus();
    } else {
      say("Choose first: G good, P partial, B bad.");
      form.elements.verdict[0].focus();
    }
  },
  true,
);

// ---- Pages that come in --------------------------------------------------------------------------------------

function arrive() {
  const form = byId("answer");
  byId("single-keys").checked = store.read("single keys", true);
  showUnsent();
  if (unsent().length) sendUnsent();
  if (!form) return;
  restoreDraft(form);
  filterModes();
  openModes(!box().value);
}

let rowBefore = null; // the row that a form was sent from: where it is still there, one goes on at it

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const { verb, path, formData } = detail.requestConfig;
  rowBefore = verb === "post" ? rowHere()?.id : null;
  if (verb !== "post" || detail.xhr.status >= 300) return;
  const draft = draftOf(formData.get("reviewer"), path);
  if (draft) {
    saved = { draft, content: store.read(draft) };
    store.drop(draft);
    say(path.endsWith("/skip") ? "Skipped." : path.endsWith("/withdraw") ? "Taken back." : "Saved.");
  } else if (path.endsWith("/undo") && detail.xhr.status === 204) say("There is nothing to take back.");
  else if (path.endsWith("/undo")) {
    const back = draftOf(formData.get("reviewer"), detail.xhr.responseURL);
    if (saved?.content && saved.draft === back) store.write(back, saved.content);
    say("Taken back.");
  }
});

document.addEventListener("htmx:afterSettle", () => {
  const page = byId("page");
  if (page.dataset.arrived) return;
  page.dataset.arrived = "yes";
  arrive();
  const row = rowBefore && byId(rowBefore);
  if (row) {
    if (row.matches("details")) row.open = true;
    focusRow(row);
    requestAnimationFrame(() => row.scrollIntoView({ block: "center" })); // htmx scrolls to the top after this
  } else (page.querySelector("[autofocus]") ?? byId("main")).focus({ preventScroll: true });
  const news = rowBefore !== null && page.querySelector("[data-news]");
  if (news) say(news.textContent.replace(/\s+/g, " ").trim());
});

for (const name of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) {
  document.addEventListener(name, ({ detail }) => {
    const form = detail.requestConfig.elt;
    if (!COMES_AGAIN(detail.xhr.status)) return;
    if (form.matches("[data-keep]")) keepForLater(detail.requestConfig.path, detail.requestConfig.formData);
    else if (detail.xhr.status === 401) location.reload();
    else if (detail.xhr.status) say("Something broke on the server; its log says what. Try again in a moment.");
    else say("No connection to the server. Try again in a moment.");
  });
}

addEventListener("online", sendUnsent);
addEventListener("offline", showUnsent);
addEventListener("storage", showUnsent); // another tab sent or kept something
addEventListener("beforeunload", (event) => {
  if (unsent().length && !isSending) event.preventDefault();
});

// An invitation is an address whose part after # is the key: it never reaches a log, nor stays in the history.
function openInvitation() {
  const form = byId("sign-in");
  if (!form || location.hash.length < 2) return;
  form.elements.token.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
  form.requestSubmit();
}

arrive();
openInvitation();
