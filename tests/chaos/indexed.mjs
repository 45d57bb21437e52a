// Applications whose documents stand in an index: each asks for its own, by the index and without it, while faults go on.
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../e2e/lib.mjs';
import { checkIndex } from './check.mjs';

const OWNERS = 2;
const SLOTS = 30;
const GROUPS = 4;
const PAUSE_MS = 300;
const COMPARED_EACH = 10; // writes
const READY_MS = 180000;
const INDEX = 'by-owner';

export const INDEXED = { indexes: [{ name: INDEX, fields: ['owner', 'group'] }] };

export class Indexed {
  counts = { 'comparison with an index': 0 };
  #versions = Array.from({ length: OWNERS }, () => Array(SLOTS).fill(0));

  constructor(clients) {
    this.clients = clients;
  }

  start() {
    return Array.from({ length: OWNERS }, async (_, owner) => {
      for (let n = 1; this.clients.going; n++) {
        await this.#write(owner);
        if (n % COMPARED_EACH === 0) await this.#compare(owner, (path) => this.clients.ask('GET', path));
        await sleep(PAUSE_MS * 2 * this.clients.random());
      }
    });
  }

  /** An id of which a write may still come is not used again: so none changes twice while it is looked at. */
  async #write(owner) {
    const { clients } = this;
    const slot = Math.floor(clients.random() * SLOTS);
    const path = `/chaos.index/x${owner}-${slot}-${this.#versions[owner][slot]}`;
    const body = { owner, group: Math.floor(clients.random() * GROUPS), n: ++clients.number };
    const { status } = clients.told(await (clients.random() < 0.2 ? clients.ask('DELETE', path) : clients.ask('PUT', path, { body })));
    if (![200, 201, 404].includes(status)) this.#versions[owner][slot]++;
  }

  /** id -> number; undefined: not answered. */
  async #list(query, index, get) {
    const rows = new Map();
    for (let cursor = ''; cursor !== undefined;) {
      const page = await get(`/chaos.index?query=${encodeURIComponent(JSON.stringify(query))}&index=${index}&cursor=${encodeURIComponent(cursor)}`);
      if (page.status !== 200 || !page.json) return undefined;
      for (const { id, n } of page.json) rows.set(id, n);
      cursor = page.headers['x-parley-cursor'];
    }
    return rows;
  }

  async #compare(owner, get) {
    const { random } = this.clients;
    const query = random() < 0.5 ? { owner } : { owner, group: Math.floor(random() * GROUPS) };
    const before = await this.#list(query, 'none', get);
    const found = before && await this.#list(query, INDEX, get);
    const after = found && await this.#list(query, 'none', get);
    if (!after) return;
    this.counts['comparison with an index']++;
    this.clients.violations.push(...checkIndex(before, found, after));
  }

  async verify() {
    const { cluster } = this.clients;
    const get = (path) => cluster.insist('GET', path, {}, [200], READY_MS);
    for (let owner = 0; owner < OWNERS; owner++) {
      const plan = `/chaos.index?query=${encodeURIComponent(JSON.stringify({ owner }))}&index=${INDEX}&explain=true`;
      await until('every lead has the index', READY_MS, async () => {
        const { json } = await cluster.get(plan);
        return json.index === INDEX && json.shards.every((shard) => shard.index === INDEX);
      }, PAUSE_MS);
      for (let i = 0; i < GROUPS; i++) await this.#compare(owner, get);
    }
  }
}
