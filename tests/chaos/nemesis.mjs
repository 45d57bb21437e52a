// What goes wrong, one thing at a time or two. Each fault begins, lasts, and is undone; `exclusive` ones take a node's data
// away, so nothing else may be wrong then, and everybody has to be in sync before and after.
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../e2e/lib.mjs';
import { FULL_NODE } from './hosts.mjs';

const IN_SYNC_MS = 180000;
const BRANCH_SLACK_MS = 1000; // a metric is of the daemon's last turn
const SHORT_S = 3; // a fault of a short run lasts no longer
// One of each kind, the dearest first; what a short run is made of.
const SHORT = [
  'kill of a lead', 'a power cut of all', 'flipped bits', 'a node cut off', 'a disk replaced', 'a flapping cut',
  'an old disk put back', 'a node emptied and taken back', 'pause', 'a clock that jumps', 'a full disk',
  'kill of the coordinator', 'loss of 30 %',
];

const others = (list, ...without) => list.filter((name) => !without.includes(name));
const JUMPS_SECONDS = [-3600, -60, 5, 3600];

export class Nemesis {
  seen = new Map(); // fault -> times
  failovers = [];
  disksLost = []; // { from, to }, by performance.now(): what was accepted as a branch meanwhile may have gone with it

  constructor(cluster, clients, random, log) {
    Object.assign(this, { cluster, clients, random, log });
  }

  pick(list) {
    return list[Math.floor(this.random() * list.length)];
  }

  between(least, most) {
    return least + this.random() * (most - least);
  }

  some(list, count) {
    return [...list].map((name) => [this.random(), name]).sort((a, b) => a[0] - b[0]).slice(0, count).map((pair) => pair[1]);
  }

  /** All storage nodes are in sync; without that a second loss could be one too many. */
  inSync() {
    return until('all nodes are healthy', IN_SYNC_MS, async () => {
      const { json } = await this.cluster.get('/system.nodes');
      return json.length === this.cluster.members.length && json.every((node) => node.health === 'healthy');
    }, 200);
  }

  /** Every branch that was accepted until now stands in its lead's stream: nothing rests on one disk any more. Returns
   * since when others may. */
  async branchesOrdered() {
    const from = performance.now();
    await until('branches are with their leads', IN_SYNC_MS, async () => {
      const waiting = await Promise.all(this.cluster.storage.map((name) => this.cluster.metric(name, 'parley_outbox_oldest_ms')));
      return Math.max(...waiting) < performance.now() - from - BRANCH_SLACK_MS;
    }, 200);
    return from;
  }

  /** What is wrong on its disk has been found: until then it counts as a copy, and another one less is one too many. */
  readThrough(name) {
    return until(`${name} has read all that it stores`, IN_SYNC_MS,
      async () => await this.cluster.metric(name, 'parley_scrub_passes_total') > 0, 500);
  }

  async leads() {
    const { json } = await this.cluster.get('/system.nodes');
    return json.filter((node) => node.leads > 0).map((node) => node.id);
  }

  // ---- faults: { seconds, begin, end }; begin returns what end needs; what is `lacking` here is left out ----

  faults() {
    const { cluster } = this;
    const { storage, members } = cluster;
    const restart = (name) => cluster.dev('restart', name);
    const cutOff = (side, rest) => side.forEach((a) => rest.forEach((b) => (cluster.cut(a, b), cluster.cut(b, a))));
    const healed = () => cluster.heal();
    return {
      'kill of a lead': { seconds: [0, 4], clean: true, begin: () => this.killLead(), end: restart },
      'kill of a node': { seconds: [0, 8], begin: () => this.kill(this.pick(storage)), end: restart },
      'kill of the coordinator': { seconds: [1, 60], begin: () => this.kill('coordinator-1'), end: restart },
      'kill of a gateway': { seconds: [0, 3], begin: () => this.kill(this.pick(members.filter((m) => m.startsWith('gateway')))), end: restart },
      'kill of an arbiter': { seconds: [0, 5], begin: () => this.kill('arbiter-1'), end: restart },
      'pause': {
        seconds: [1, 60],
        begin: async () => { const name = this.pick(members); await cluster.dev('pause', name); return name; },
        end: (name) => cluster.dev('resume', name),
      },
      'a node cut off': {
        seconds: [2, 20],
        begin: () => { const name = this.pick(storage); cutOff([name], others(members, name)); },
        end: healed,
      },
      'a node cut off from its peers only': {
        seconds: [2, 20],
        begin: () => { const name = this.pick(storage); cutOff([name], others(storage, name)); },
        end: healed,
      },
      'a one-way cut': {
        seconds: [2, 20],
        begin: () => { const [a, b] = this.some(members, 2); cluster.cut(a, b); },
        end: healed,
      },
      'a node that hears nobody': {
        seconds: [2, 15],
        begin: () => { const name = this.pick(storage); for (const other of others(members, name)) cluster.cut(other, name); },
        end: healed,
      },
      'a cut through the middle': {
        seconds: [2, 20],
        begin: () => { const side = this.some(members, Math.floor(members.length / 2)); cutOff(side, others(members, ...side)); },
        end: healed,
      },
      'a flapping cut': { seconds: [5, 20], begin: () => this.flap(), end: async (stop) => { await stop(); cluster.heal(); } },
      'loss of 30 %': { seconds: [3, 20], begin: () => this.some(members, 3).forEach((name) => cluster.lossy(name, 30)), end: healed },
      'a clock that jumps': {
        lacking: !cluster.canJump,
        seconds: [2, 15],
        begin: () => {
          const name = this.clockToJump();
          const seconds = this.pick(JUMPS_SECONDS);
          cluster.jump(name, seconds);
          this.log(`  ${name}: ${seconds} s`);
          return name;
        },
        end: (name) => cluster.jump(name, 0),
      },
      'a clock that goes back and forth': { lacking: !cluster.canJump, seconds: [2, 10], begin: () => this.strobe(), end: (stop) => stop() },
      'a full disk': {
        seconds: [3, 15],
        begin: () => cluster.fill(),
        end: () => { cluster.empty(); return cluster.dev('up'); }, // it may have ended; a service manager starts it again
      },
      'a rolling restart': { seconds: [0, 0], begin: () => this.rolling(), end: () => {} },
      'a power cut of one': { seconds: [0, 3], begin: () => this.powerCut(this.some(cluster.disks, 1)), end: (names) => cluster.dev('restart', ...names) },
      'a power cut of all': { seconds: [0, 2], begin: () => this.powerCut(cluster.disks), end: (names) => this.startTogether(names) },
      'a disk replaced': {
        exclusive: true, seconds: [0, 3],
        begin: async () => { const name = await this.kill(this.pick(others(storage, FULL_NODE))); cluster.wipe(name); cluster.forgetSynced(name); return name; },
        end: restart,
      },
      'a node emptied and taken back': {
        seconds: [0, 3],
        begin: async () => { const name = this.pick(storage); await this.drain(name); return name; },
        end: (name) => this.update(name, { drain: false }),
      },
      'a dead node replaced, and back with an empty disk': {
        exclusive: true, seconds: [0, 3],
        begin: async () => {
          const name = await this.kill(this.pick(others(storage, FULL_NODE)));
          await this.drain(name);
          cluster.wipe(name);
          cluster.forgetSynced(name);
          return name;
        },
        end: async (name) => { await restart(name); await this.update(name, { drain: false }); },
      },
      'flipped bits': {
        exclusive: true, seconds: [0, 2],
        begin: async () => {
          const name = await this.kill(this.pick(others(storage, FULL_NODE)));
          for (let i = 0; i < 3; i++) this.log(`  ${name}: ${cluster.damage(name, this.random)}`);
          return name;
        },
        end: async (name) => { await restart(name); await this.readThrough(name); },
      },
      'an old disk put back': {
        exclusive: true, seconds: [1, 5],
        begin: async () => {
          const name = await this.kill(this.pick(others(storage, FULL_NODE)));
          await cluster.keepCopy(name);
          await restart(name);
          await this.inSync();
          await sleep(2000);
          await this.kill(name);
          await cluster.putCopyBack(name);
          return name;
        },
        end: restart,
      },
    };
  }

  async kill(name) {
    await this.cluster.dev('kill', name);
    return name;
  }

  update(name, body) {
    return this.cluster.insist('PATCH', `/_/nodes/${name}`, { body }, [200], 60000);
  }

  /** Moves all that a node has to others. */
  async drain(name) {
    await this.update(name, { drain: true });
    await until(`${name} is empty`, IN_SYNC_MS, async () => {
      const { json } = await this.cluster.get('/system.nodes');
      const row = json.find((node) => node.id === name);
      return row.toMove === 0 && row.shards === 0;
    }, 200);
  }

  /** When nothing else is wrong this measures a fail-over. */
  async killLead() {
    const leads = (await this.leads()).filter((name) => name.startsWith('storage'));
    const name = this.pick(leads);
    await this.clients.measure();
    const at = performance.now();
    this.cluster.killNow(name);
    const outage = await until('every shard takes writes again', 30000, async () => this.clients.outage(at), 20);
    this.clients.measuring = false;
    this.failovers.push(outage);
    this.log(`  ${name}: ${Math.round(outage)} ms`);
    return name;
  }

  /** One thing and its opposite in turn, each for so many ms; returns what ends it. */
  alternate(begin, end, least, most) {
    let going = true;
    const alternating = (async () => {
      while (going) {
        begin();
        await sleep(this.between(least, most));
        end();
        await sleep(this.between(least, most));
      }
    })();
    return async () => { going = false; await alternating; };
  }

  flap() {
    const name = this.pick(this.cluster.storage);
    const cut = () => others(this.cluster.members, name).forEach((other) => this.cluster.cut(other, name));
    return this.alternate(cut, () => this.cluster.heal(), 200, 2500);
  }

  /** There and back, faster than anything else happens. */
  strobe() {
    const name = this.clockToJump();
    const seconds = this.pick(JUMPS_SECONDS);
    this.log(`  ${name}: ${seconds} s`);
    return this.alternate(() => this.cluster.jump(name, seconds), () => this.cluster.jump(name, 0), 50, 500);
  }

  clockToJump() {
    return this.pick(others(this.cluster.members, 'gateway-1', 'gateway-2'));
  }

  async rolling() {
    for (const name of this.cluster.members) {
      await this.cluster.dev('restart', name);
      await this.inSync();
    }
  }

  async powerCut(names) {
    for (const name of names) this.cluster.killNow(name);
    for (const name of names) {
      await until(`${name} is gone`, 5000, async () => {
        try {
          process.kill(this.cluster.pid(name), 0);
          return false;
        } catch {
          return true;
        }
      }, 5);
      this.log(`  ${name} lost ${this.cluster.loseUnsynced(name, this.random)} bytes`);
    }
    return names;
  }

  /** None is ready before the others are there. */
  startTogether() {
    return this.cluster.dev('up');
  }

  // ---- the run ----

  async one(name, most = Infinity) {
    const fault = this.faults()[name];
    if (fault.exclusive || fault.clean) await this.inSync();
    const from = fault.exclusive ? await this.branchesOrdered() : 0;
    this.clients.forgetProbes();
    const seconds = Math.min(most, this.between(...fault.seconds));
    this.log(`${name}, ${seconds.toFixed(1)} s`);
    const state = await fault.begin();
    if (fault.exclusive) this.disksLost.push({ from, to: performance.now() });
    await sleep(seconds * 1000);
    await fault.end(state);
    if (fault.exclusive) {
      await this.inSync();
      for (const node of this.cluster.storage) this.cluster.forgetAside(node);
    }
    this.seen.set(name, (this.seen.get(name) ?? 0) + 1);
  }

  async healAll() {
    this.clients.measuring = false;
    this.cluster.heal();
    this.cluster.empty();
    for (const name of this.cluster.members) this.cluster.jump(name, 0);
    for (const name of this.cluster.members) await this.cluster.dev('resume', name).catch(() => {}); // it may be down
    await this.cluster.dev('up');
    for (const name of this.cluster.storage) await this.update(name, { drain: false });
    await this.inSync();
  }

  /** However long it takes: what is said of the rest counts only then. */
  async healForGood() {
    for (let times = 0; times < 3; times++) {
      try {
        return await this.healAll();
      } catch (error) {
        this.missed(error);
      }
    }
  }

  /** What did not come to pass in time; the rest of the run shall still be had. */
  missed(error) {
    this.log(`FAILED: ${error.message}`);
    this.clients.violations.push(error.message.slice(0, 500));
  }

  async attempt(name, most) {
    try {
      await this.one(name, most);
    } catch (error) {
      this.missed(error);
      await this.healForGood();
    }
  }

  /** What this machine can do of these. */
  possible(names) {
    const faults = this.faults();
    return names.filter((name) => !faults[name].lacking);
  }

  async run(untilMs, names = Object.keys(this.faults())) {
    const possible = this.possible(names);
    while (performance.now() < untilMs) {
      await this.attempt(this.pick(possible));
      await sleep(this.between(0, 3000));
    }
    await this.healForGood();
  }

  async runShort() {
    for (const name of this.possible(SHORT)) await this.attempt(name, SHORT_S);
    await this.healForGood();
  }
}
