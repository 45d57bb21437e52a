// Applications that lock a document, read and write it under their lock, forget the lock, or think longer than it lives and
// write all the same; others write without one.
import { setTimeout as sleep } from 'node:timers/promises';
import { checkLocks, generation } from './check.mjs';

const LOCKERS = 4;
const DOCUMENTS = 2;
const WAIT_MS = 3000;
const PAUSE_MS = 400;
const WRITES = 3; // under one lock, at most
const ERA_MS = 180000; // then the documents are others; the records of the era before the last are checked and dropped

export class Locks {
  counts = { 'lock granted': 0, 'write under a lock': 0 };
  rare = { 'write refused because its lock had ended': 0 };
  #eras = new Map(); // era -> { grants, writes }
  #era = 0;
  #eraEnd = 0;
  #greatest = []; // the grant of the greatest token of dropped eras

  constructor(clients) {
    this.clients = clients;
  }

  start() {
    return Array.from({ length: LOCKERS }, async () => {
      while (this.clients.going) {
        const { records, doc } = this.#choose();
        await (this.clients.random() < 0.8 ? this.#hold(records, doc) : this.#write(records, doc));
        await sleep(PAUSE_MS * 2 * this.clients.random());
      }
    });
  }

  #choose() {
    if (performance.now() > this.#eraEnd) {
      this.#eraEnd = performance.now() + ERA_MS;
      this.#eras.set(++this.#era, { grants: [], writes: [] });
      this.#endEra(this.#era - 2);
    }
    return { records: this.#eras.get(this.#era), doc: `l${this.#era}-${Math.floor(this.clients.random() * DOCUMENTS)}` };
  }

  #endEra(era) {
    const records = this.#eras.get(era);
    if (!records) return;
    this.#eras.delete(era);
    const grants = [...this.#greatest, ...records.grants];
    this.clients.violations.push(...checkLocks({ grants, writes: records.writes }).map((text) => `locks: ${text}`));
    this.#greatest = grants.sort((a, b) => b.token - a.token).slice(0, 1);
  }

  async #hold(records, doc) {
    const { clients } = this;
    const grant = { asked: performance.now(), ttlMs: 1000 + Math.floor(clients.random() * 2000) };
    const { status, json } = await clients.ask('POST', '/_/locks', { body: { keys: [`chaos.lock/${doc}`], ttlMs: grant.ttlMs, waitMs: WAIT_MS } });
    if (status !== 200) return;
    Object.assign(grant, { granted: performance.now(), token: json.token });
    records.grants.push(grant);
    this.counts['lock granted']++;
    for (let i = Math.floor(clients.random() * WRITES); i >= 0 && await this.#edit(records, doc, grant, json.id); i--);
    if (clients.random() < 0.8) await clients.ask('DELETE', `/_/locks/${json.id}`);
  }

  /** False: it does not know any more what it holds. */
  async #edit(records, doc, grant, lock) {
    const { clients } = this;
    const read = await clients.ask('GET', `/chaos.lock/${doc}`);
    if (read.status !== 200 && read.status !== 404) return false;
    await sleep(clients.random() < 0.2 ? grant.ttlMs * (0.5 + 1.5 * clients.random()) : 50 * clients.random());
    const status = await this.#write(records, doc, { grant, read: read.status === 200 ? generation(read.etag) : 0 }, { 'x-lock-id': lock });
    if (status === 200 || status === 201) this.counts['write under a lock']++;
    if (status === 412) this.rare['write refused because its lock had ended']++;
    return status === 200 || status === 201;
  }

  async #write(records, doc, held = {}, headers = { 'x-lock-strategy': this.clients.random() < 0.5 ? 'fail' : 'wait' }) {
    const { status, etag } = this.clients.told(await this.clients.ask('PUT', `/chaos.lock/${doc}`, { body: { n: ++this.clients.number }, headers }));
    records.writes.push({ doc, ...held, status, revision: etag, end: performance.now() });
    return status;
  }

  verify() {
    for (const era of [...this.#eras.keys()]) this.#endEra(era);
  }
}
