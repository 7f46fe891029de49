// People on the dashboard: who works how fast, invitations, fresh links, revocation.

import { button, byId, h, toast } from "./dom.js";
import { post } from "./api.js";

const COLUMNS = [
  ["Name"],
  ["Role"],
  ["Answers", "n"],
  ["Today", "n"],
  ["An hour", "n"],
  ["Median", "n"],
  ["Last seen"],
  [""],
];

function ago(at) {
  if (!at) return "never";
  const seconds = Math.max(0, (Date.now() - Date.parse(at)) / 1000);
  if (Number.isNaN(seconds)) return String(at);
  if (seconds < 90) return "just now";
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 129_600 ? `${Math.round(seconds / 3600)} h ago` : new Date(at).toLocaleDateString();
}

async function copy(field) {
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    // Without HTTPS there is no clipboard for pages; the old way still works there.
    if (!document.execCommand("copy")) return toast("Copy it with Ctrl + C.", { kind: "warn" });
  }
  toast("Link copied.");
}

function showLink({ name, link }) {
  const box = byId("link");
  const field = h("input", { readonly: true, value: link, "aria-label": `Link of ${name}` });
  box.hidden = false;
  box.replaceChildren(
    h(
      "p",
      {},
      "Give this link to ",
      h("b", { text: name }),
      ". Whoever has it works under that name; it is shown only now.",
    ),
    field,
    button("Copy", { iconName: "copy", kind: "primary", run: () => copy(field) }),
    button("Done", {
      kind: "quiet",
      run: () => {
        box.hidden = true;
      },
    }),
  );
  field.focus();
  field.select();
}

/** Wires the form and the table; `show(people)` fills it, `changed` is called after every change. */
export function setUpPeople(changed) {
  const act = async (work, failed) => {
    try {
      return await work();
    } catch (error) {
      toast(`${failed}: ${error.message}`, { kind: "warn" });
      return null;
    } finally {
      changed();
    }
  };
  const form = byId("invite");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { name, role } = Object.fromEntries(new FormData(form));
    const made = await act(() => post("/api/people", { name, role }), "Nobody invited");
    if (!made) return;
    form.reset();
    showLink(made);
  });
  const relink = async ({ id, name }) => {
    if (!confirm(`Make a fresh link for ${name}? The old one and its sessions end at once.`)) return;
    const made = await act(() => post(`/api/people/${encodeURIComponent(id)}/link`, {}), "No fresh link");
    if (made) showLink(made);
  };
  const revoke = async ({ id, name }) => {
    if (!confirm(`Keep ${name} out? The link and all sessions end at once; answers stay.`)) return;
    await act(() => post(`/api/people/${encodeURIComponent(id)}/revoke`, {}), "Not revoked");
  };

  const row = (person) => {
    const { id, name, role, answers, today, per_hour: pace, median_s: median, last_seen: seen, active, blocked } = person;
    const dot = h("i", { class: active ? "here" : "", title: active ? "at work" : "away" });
    const revoked = blocked === "revoked";
    const state = revoked ? blocked : blocked ? `blocked: ${blocked}` : ago(seen);
    return h(
      "tr",
      { class: blocked ? "out" : "" },
      h("td", { class: "who" }, h("div", {}, dot, h("span", { class: "cut", text: name, title: `${name}: ${id}` }))),
      h("td", { text: role }),
      h("td", { class: "n", text: answers }),
      h("td", { class: "n", text: today }),
      h("td", { class: "n", text: pace ? Math.round(pace) : "–" }),
      h("td", { class: "n", text: median ? `${median.toFixed(1)} s` : "–" }),
      h("td", { text: state }),
      h(
        "td",
        { class: "acts" },
        button("Fresh link", { run: () => relink(person), label: `Fresh link for ${name}` }),
        " ",
        role === "owner" || revoked
          ? null
          : button("Revoke", { kind: "no", run: () => revoke(person), label: `Revoke ${name}` }),
      ),
    );
  };

  let known = "";
  return {
    show(people) {
      // Buttons stay the same as long as nothing has changed, so that none is lost under a finger.
      const now = JSON.stringify([people, Math.floor(Date.now() / 60_000)]);
      if (now === known) return;
      known = now;
      const table = byId("people");
      const focused = table.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
      table.replaceChildren(
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            COLUMNS.map(([text, look]) => h("th", { scope: "col", class: look, text })),
          ),
        ),
        h("tbody", {}, people.map(row)),
      );
      if (focused) [...table.querySelectorAll("button")].find((b) => b.getAttribute("aria-label") === focused)?.focus();
    },
  };
}
