// What this browser keeps across reloads: drafts and answers that are not sent yet. IndexedDB, as masks can be large.

const NAME = "gtloop";
const TABLE = "kept";

function promised(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Keys and values of one person; where the browser keeps nothing (`lasting` false), of this page only. */
export class Store {
  constructor(owner) {
    this.prefix = `${owner}\n`;
    this.lasting = true;
    this.memory = new Map();
    this.database = this.open();
  }

  async open() {
    try {
      const request = indexedDB.open(NAME, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(TABLE);
      return await promised(request);
    } catch {
      this.lasting = false;
      return null;
    }
  }

  async run(mode, work) {
    const database = await this.database;
    const transaction = database.transaction(TABLE, mode);
    const result = await promised(work(transaction.objectStore(TABLE)));
    if (mode === "readwrite") {
      await new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = transaction.onerror = () => reject(transaction.error);
      });
    }
    return result;
  }

  /** Keep a value; on disk when this resolves, unless the browser refuses (full, private), then in memory. */
  async put(key, value) {
    this.memory.set(key, value);
    if (!(await this.database)) return;
    try {
      await this.run("readwrite", (table) => table.put(value, this.prefix + key));
    } catch {
      this.lasting = false;
    }
  }

  async get(key) {
    if (this.memory.has(key) || !(await this.database)) return this.memory.get(key);
    return this.run("readonly", (table) => table.get(this.prefix + key)).catch(() => undefined);
  }

  async remove(key) {
    this.memory.delete(key);
    if (await this.database) await this.run("readwrite", (table) => table.delete(this.prefix + key)).catch(() => {});
  }

  /** Remove values of anybody whose key starts with `start`, where `old(value)` holds. */
  async prune(start, old) {
    if (!(await this.database)) return;
    try {
      const keys = await this.run("readonly", (table) => table.getAllKeys());
      for (const key of keys.filter((k) => String(k).includes(`\n${start}`))) {
        if (!old(await this.run("readonly", (table) => table.get(key)))) continue;
        await this.run("readwrite", (table) => table.delete(key));
      }
    } catch {
      /* the next visit may do it */
    }
  }

  /** All values whose key starts with `start`. */
  async all(start) {
    if (!(await this.database)) return [...this.memory].filter(([k]) => k.startsWith(start)).map(([, value]) => value);
    const range = IDBKeyRange.bound(this.prefix + start, `${this.prefix}${start}\uffff`);
    return this.run("readonly", (table) => table.getAll(range)).catch(() => []);
  }
}
