// Talking to the server: JSON both ways, one kind of error for "no" and one for "not now".

const TIMEOUT_MS = 20_000;

/** The server said no: `code` for programs, the message for people. */
export class Refused extends Error {
  constructor(status, code, text) {
    super(text);
    this.status = status;
    this.code = code;
  }
}

/** Nothing was said, or "later": the network is away, the server restarts or is too busy. Trying again is right. */
export class Unreachable extends Error {}

/** Fires `change` when the network comes or goes; `online` is what the last request has shown. */
export const connection = Object.assign(new EventTarget(), { online: true });

function found(online) {
  if (connection.online === online) return;
  connection.online = online;
  connection.dispatchEvent(new Event("change"));
}

const csrf = () => document.querySelector("meta[name=csrf]")?.content ?? "";

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", signal: AbortSignal.timeout(TIMEOUT_MS), ...options });
  } catch (error) {
    found(false);
    throw new Unreachable(error.message);
  }
  if (response.status === 429 || response.status >= 500) {
    found(response.status === 429);
    throw new Unreachable(`the server answered ${response.status}`);
  }
  found(true);
  return response;
}

async function json(path, options) {
  const response = await request(path, options);
  let body;
  try {
    body = await response.json();
  } catch {
    throw new Unreachable("the answer broke off");
  }
  if (!response.ok) {
    throw new Refused(response.status, body.code ?? "", body.error ?? `the server answered ${response.status}`);
  }
  return body;
}

export const get = (path) => json(path, { headers: { Accept: "application/json" } });

export const post = (path, body, { keepalive = false } = {}) =>
  json(path, {
    method: "POST",
    keepalive,
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf() },
    body: JSON.stringify(body),
  });

/** The bytes of a picture; `Refused` where there is none. */
export async function picture(path) {
  const response = await request(path, {});
  if (!response.ok) throw new Refused(response.status, "no_picture", "this image can't be shown");
  try {
    return await response.blob();
  } catch {
    throw new Unreachable("the picture broke off");
  }
}

export const pause = (ms) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
