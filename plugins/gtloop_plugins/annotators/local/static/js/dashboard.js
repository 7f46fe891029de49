// The owner's dashboard: asks every two seconds, and shows what has changed.

import { Refused, Unreachable, get, post } from "./api.js";
import { byId, fillIcons, h, toast } from "./dom.js";
import { setUpPeople } from "./people.js";
import { showPromise } from "./promise.js";
import { Plot } from "./plots.js";

const EVERY_MS = 2000;
const SHARES = [
  ["human", "by people", "is-human"],
  ["machine", "by machine", "is-machine"],
  ["pool", "to do", "is-pool"],
];
const GOING = ["running", "waiting"];
const RESTS = ["quarantined", "unlabelable", "aliases"];
const RESTING = { quarantined: "unreadable", unlabelable: "can't be labelled", aliases: "copies" };

const pace = new Plot(byId("pace"), [{ label: "answers", colour: "--human", bars: true }]);
const history = new Plot(byId("history"), [
  { label: "people", colour: "--human", fill: true },
  { label: "machine", colour: "--machine", fill: true },
]);
const people = setUpPeople(() => refresh());

function showItems(items) {
  const rest = RESTS.reduce((sum, name) => sum + (items[name] ?? 0), 0);
  const shares = [
    ...SHARES.map(([name, text, look]) => [items[name] ?? 0, text, look]),
    [
      rest,
      RESTS.filter((r) => items[r])
        .map((r) => RESTING[r])
        .join(", "),
      "is-rest",
    ],
  ];
  const shown = shares.filter(([n], i) => n || i < 3);
  const bar = h(
    "div",
    { class: "stack", role: "img", "aria-label": shown.map(([n, text]) => `${n} ${text}`).join(", ") },
    shown.map(([n, , look]) => {
      const part = h("span", { class: look });
      part.style.flexGrow = String(n);
      return part;
    }),
  );
  byId("items").replaceChildren(
    bar,
    h(
      "div",
      { class: "legend" },
      shown.map(([n, text, look]) => h("span", {}, h("i", { class: `dot ${look}` }), h("b", { text: n }), text)),
      h("span", {}, h("b", { text: items.total }), "in all"),
    ),
  );
}

const tile = (value, text) => h("div", { class: "tile" }, h("b", { text: value }), h("span", { text }));
const dollars = (value) => `$${value.toFixed(value < 100 ? 2 : 0)}`;

function showTiles(status, desk) {
  const here = desk.people.filter((person) => person.active).length;
  const { cost_usd: cost, iterations = [] } = status;
  const last = desk.throughput.slice(-10).reduce((sum, minute) => sum + minute.answers, 0);
  const tiles = [
    tile(String(here), here === 1 ? "person at work" : "people at work"),
    tile(String(last * 6), "answers an hour, at the pace of the last 10 minutes"),
    tile(String(desk.answers), desk.answers === 1 ? "answer so far" : "answers so far"),
    tile(String(desk.open), `images asked for now, ${desk.leased} of them in work`),
    tile(desk.hours < 1 ? `${Math.round(desk.hours * 60)} min` : `${desk.hours.toFixed(1)} h`, "of people's time"),
  ];
  if (iterations.length) tiles.unshift(tile(String(iterations.at(-1).n), "iteration"));
  if (cost?.total > 0)
    tiles.push(
      tile(
        dollars(cost.total),
        cost.if_all_human ? `paid; all by people would be ${dollars(cost.if_all_human)}` : "paid",
      ),
    );
  byId("tiles").replaceChildren(...tiles);
}

function showEvents(events) {
  const list = byId("events");
  if (!events.length)
    return list.replaceChildren(h("li", {}, h("span"), h("div", { class: "soft", text: "Nothing has happened yet." })));
  list.replaceChildren(
    ...events.map(({ at, type, text }) => {
      const when = new Date(at);
      const time = Number.isNaN(when.getTime())
        ? at
        : when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
      return h("li", {}, h("time", { datetime: at, title: at, text: time }), h("div", { title: type, text }));
    }),
  );
}

const STATES = { running: "running", waiting: "waiting for people", finished: "finished", cancelled: "cancelled" };

function showState(status) {
  const state = status.state ?? "";
  const box = byId("state");
  box.textContent = STATES[state] ?? state;
  box.classList.toggle("paused", state.startsWith("paused"));
  box.classList.toggle("over", state === "finished" || state === "cancelled");
  byId("run").textContent = (status.run ?? "").split("/").filter(Boolean).at(-1) ?? "";
  byId("run").title = status.run ?? "";
  const sentence = status.summary ?? "";
  byId("summary").textContent =
    sentence && sentence[0].toUpperCase() + sentence.slice(1) + (/[.!?]$/.test(sentence) ? "" : ".");
  byId("pause").hidden = !GOING.includes(state);
}

function show({ status, desk, events, history: past }) {
  showState(status);
  byId("items").parentElement.hidden = !status.items;
  if (status.items) showItems(status.items);
  showTiles(status, desk);
  showPromise(byId("promise"), status);
  showEvents(events);
  people.show(desk.people);
  const minutes = desk.throughput.map((minute) => Date.parse(minute.at) / 1000);
  pace.show(minutes, [desk.throughput.map((minute) => minute.answers)], "No answers yet");
  history.show(
    past.at.map((at) => Date.parse(at) / 1000),
    [past.human, past.machine],
    "No labels yet",
  );
}

let asked = 0;
let ended = false;
let pausing = false;

async function refresh() {
  const number = ++asked;
  const fresh = byId("fresh");
  try {
    const said = await get("/api/dashboard");
    if (number !== asked) return;
    show(said);
    ended = pausing || !GOING.includes(said.status.state);
    fresh.textContent = "";
    fresh.className = "fresh";
  } catch (error) {
    if (error instanceof Refused && error.status < 500) {
      fresh.textContent = error.message;
      if (error.status === 401 || error.status === 403) clearInterval(timer);
    } else if (error instanceof Unreachable) {
      fresh.textContent = ended
        ? "The page has closed with the run; open it again with: gtloop serve"
        : "The server can't be reached; trying again";
    } else {
      throw error;
    }
    fresh.className = "fresh stale";
  }
}

byId("pause").addEventListener("click", async () => {
  const what = "It stops, and this page with it where gtloop run serves it; the same command goes on.";
  if (!confirm(`Pause the run? ${what} What people have drawn is kept.`)) return;
  try {
    await post("/api/run/pause", {});
    pausing = true;
    toast("The run pauses at its next step.");
  } catch (error) {
    toast(`Not paused: ${error.message}`, { kind: "warn" });
  }
  refresh();
});

fillIcons();
const timer = setInterval(() => {
  if (!document.hidden) refresh();
}, EVERY_MS);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh();
});
refresh();
