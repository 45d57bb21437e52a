// A cluster whose members are hosts of their own: a network namespace each, with wires that can be cut one way, lossy,
// or flapping; disks that can be full, damaged, old, or lose what was not synced; clocks that jump.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync, existsSync, mkdirSync, openSync, readFileSync, readSync, readdirSync, rmSync, statSync, truncateSync, unlinkSync,
  writeFileSync, writeSync, closeSync,
} from 'node:fs';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { BUILD, Cluster, must, send } from '../e2e/lib.mjs';

process.env.PATH += ':/usr/sbin:/sbin';

export const FULL_NODE = 'storage-3'; // its data lie on a small file system
const REPLICAS = 3;
const SMALL_DISK_MIB = 1024;
const RESERVE_MIB = 64;
const SCRUB_MIB = 32;
const UNSYNCED = join(BUILD, 'chaos/unsynced.so');
const TIMERS = join(BUILD, 'chaos/timers.so');
const FAKETIME = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1';
const ROLES = { coordinator: 0, storage: 10, gateway: 30, arbiter: 50 };

/** What this machine lacks is named, and never counts as passed. */
export function missing() {
  const lacks = [];
  const tries = (what, program, args) => {
    if (spawnSync(program, args).status !== 0) lacks.push(what);
  };
  if (process.getuid() !== 0) return ['everything: it needs root'];
  tries('network namespaces', 'unshare', ['-n', 'true']);
  tries('nftables (cuts, loss)', 'nft', ['list', 'tables']);
  if (!existsSync(FAKETIME)) lacks.push('libfaketime (clock jumps)');
  spawnSync('ip', ['netns', 'add', 'parley-probe']);
  if (spawnSync('ip', ['netns', 'exec', 'parley-probe', 'tc', 'qdisc', 'add', 'dev', 'lo', 'root', 'netem', 'delay', '1ms']).status !== 0)
    lacks.push('netem in this kernel (delay, reordering; loss is made by nftables)');
  spawnSync('ip', ['netns', 'delete', 'parley-probe']);
  if (!existsSync('/dev/mapper/control') || spawnSync('dmsetup', ['targets']).status !== 0)
    lacks.push('device mapper in this kernel (dm-flakey; a preloaded library takes its place)');
  return lacks;
}

export class Hosts extends Cluster {
  constructor(name, place, count) {
    super(name, place);
    this.net = `10.${64 + Math.floor(Math.random() * 64)}.${1 + Math.floor(Math.random() * 250)}`;
    this.hosts = `chaos${process.pid}`;
    this.count = count;
    this.storage = Array.from({ length: count.nodes }, (_, i) => `storage-${i + 1}`);
    this.disks = ['coordinator-1', ...this.storage]; // of whom a power cut takes what was not synced
    this.members = [
      ...this.disks, ...Array.from({ length: count.gateways }, (_, i) => `gateway-${i + 1}`),
      ...Array.from({ length: count.arbiters }, (_, i) => `arbiter-${i + 1}`),
    ];
  }

  /** The same cluster, seen by another process. */
  static attach({ dir, base, net, hosts }, count) {
    const cluster = new Hosts(undefined, { base, net }, count);
    Object.assign(cluster, { dir, net, hosts });
    cluster.identify();
    return cluster;
  }

  /** Else nobody would read what `jump` writes. */
  get canJump() {
    return existsSync(FAKETIME);
  }

  address(member) {
    const [role, number] = member.split('-');
    return `${this.net}.${ROLES[role] + Number(number)}`;
  }

  url(path, gateway = 1) {
    return new URL(path, `https://${this.address(`gateway-${gateway}`)}:${this.base + (gateway - 1) * 10}`);
  }

  health(name, path) {
    return send(new URL(path, `https://${this.address(name)}:${this.healthPort(name)}`), { tls: { ca: this.tls.ca }, timeoutMs: 3000 });
  }

  /** Metrics are for the machine itself only: asked for on the host, from its loopback address. */
  async metric(name, line) {
    const url = `https://${this.address(name)}:${this.healthPort(name)}/metrics`;
    const text = this.inside(name, 'curl', '-sk', '--interface', '127.0.0.1', '--max-time', '3', url);
    const row = text.split('\n').find((found) => found.startsWith(`${line} `));
    if (!row) throw new Error(`${name} has no metric ${line}`);
    return Number(row.slice(line.length + 1));
  }

  /** Disks and what is preloaded are made ready before the first start. */
  prepare() {
    mkdirSync(join(this.dir, 'launch'), { recursive: true });
    mkdirSync(join(this.dir, 'synced'), { recursive: true });
    for (const name of this.members) {
      const libraries = this.canJump && !name.startsWith('gateway') ? [TIMERS, FAKETIME] : [];
      const words = ['env', `FAKETIME_TIMESTAMP_FILE=${this.clockFile(name)}`, 'FAKETIME_DONT_FAKE_MONOTONIC=1', 'FAKETIME_NO_CACHE=1'];
      this.jump(name, 0);
      if (this.disks.includes(name)) {
        libraries.push(UNSYNCED);
        words.push(`UNSYNCED_LOG=${this.syncedLog(name)}`, `UNSYNCED_BOOT=${this.syncedLog(name)}-boot`);
        this.newBoot(name);
      }
      words.push(`LD_PRELOAD=${libraries.join(':')}`);
      writeFileSync(join(this.dir, 'launch', name), `${words.join('\n')}\n`);
    }
    const full = join(this.dir, 'data', FULL_NODE);
    mkdirSync(full, { recursive: true });
    spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${SMALL_DISK_MIB}m,mode=0700`, 'none', full]);
  }

  async up() {
    this.prepare();
    const { nodes, gateways, arbiters } = this.count;
    const settings = { disk_reserve_bytes: RESERVE_MIB << 20, scrub_bytes_per_second: SCRUB_MIB << 20, scrub_rest_seconds: 30 };
    await super.up({ nodes, gateways, arbiters, settings: Object.entries(settings).map(([key, value]) => `storage.${key}=${value}`) });
    for (const name of this.members)
      this.inside(name, 'nft', 'add table inet chaos; add chain inet chaos in { type filter hook input priority 0; }');
  }

  dev(...args) {
    const fixed = args.includes('up') ? ['--hosts', this.hosts] : [];
    return super.dev(...fixed, ...args);
  }

  async down() {
    await this.dev('down');
    spawnSync('umount', ['-l', join(this.dir, 'data', FULL_NODE)]);
    await super.down();
  }

  /** With all members stopped: every store is whole, and replicas hold the same, byte for byte. A copy that had to go
   *  vouches for nothing ("copying"). */
  compareStores() {
    const faults = [];
    const digests = new Map(); // shard -> node -> line
    for (const name of this.storage) {
      const { status, stdout } = spawnSync(join(BUILD, 'parley-storage-node'),
        ['--config', join(this.dir, 'conf', `${name}.yaml`), '--verify'], { env: { PATH: process.env.PATH } });
      const lines = stdout.toString().split('\n');
      if (status !== 0) faults.push(`${name}: ${lines.filter((line) => line.startsWith('fault')).join('; ').slice(0, 500)}`);
      for (const line of lines) {
        const [, shard, rest] = /^shard (\w+) last=\d+ (.*)/.exec(line) ?? [];
        if (shard && !rest.endsWith(' copying')) digests.set(shard, [...(digests.get(shard) ?? []), [name, rest]]);
      }
    }
    if (digests.size === 0) faults.push('no shard was found in any store');
    for (const [shard, found] of digests)
      if (found.length < REPLICAS || found.some(([, rest]) => rest !== found[0][1])) faults.push(`shard ${shard}: ${found.map((pair) => pair.join(' ')).join(' | ')}`);
    return faults;
  }

  inside(member, program, ...args) {
    const done = spawnSync('ip', ['netns', 'exec', `${this.hosts}-${member}`, program, ...args]);
    if (done.status !== 0) throw new Error(`${program} ${args.join(' ')} in ${member}: ${done.stderr}`);
    return done.stdout.toString();
  }

  // ---- wires ----

  /** What `to` gets from `from` is dropped. */
  cut(from, to) {
    this.inside(to, 'nft', `add rule inet chaos in ip saddr ${this.address(from)} drop`);
  }

  lossy(member, percent) {
    this.inside(member, 'nft', `add rule inet chaos in iifname "eth0" numgen random mod 100 < ${percent} drop`);
  }

  heal() {
    for (const name of this.members) this.inside(name, 'nft', 'flush chain inet chaos in');
  }

  // ---- clocks ----

  clockFile(member) {
    return join(this.dir, 'launch', `${member}.clock`);
  }

  /** The wall clock of this member is so many seconds off from now on. */
  jump(member, seconds) {
    writeFileSync(this.clockFile(member), `${seconds >= 0 ? '+' : ''}${seconds}\n`);
  }

  // ---- disks ----

  store(member) {
    return join(this.dir, 'data', member, 'store');
  }

  fill() {
    const left = spawnSync('df', ['--output=avail', '-B1', join(this.dir, 'data', FULL_NODE)]).stdout.toString().split('\n')[1];
    const bytes = Number(left) - (RESERVE_MIB << 20) / 4;
    if (bytes > 0) spawnSync('fallocate', ['-l', String(bytes), this.ballast()]);
  }

  ballast() {
    return join(this.dir, 'data', FULL_NODE, 'ballast');
  }

  empty() {
    rmSync(this.ballast(), { force: true });
  }

  /** Turns some bits of one file of a node that is down. */
  damage(member, random) {
    const files = readdirSync(this.store(member)).filter((name) => /\.(sst|log)$|^MANIFEST/.test(name))
      .filter((name) => statSync(join(this.store(member), name)).size > 64);
    const name = files[Math.floor(random() * files.length)];
    const file = join(this.store(member), name);
    const at = Math.floor(random() * (statSync(file).size - 8));
    const byte = Buffer.alloc(1);
    const fd = openSync(file, 'r+');
    readSync(fd, byte, 0, 1, at);
    byte[0] ^= 1 << Math.floor(random() * 8);
    writeSync(fd, byte, 0, 1, at);
    closeSync(fd);
    return `${name} at ${at}`;
  }

  wipe(member) {
    for (const entry of readdirSync(join(this.dir, 'data', member)))
      rmSync(join(this.dir, 'data', member, entry), { recursive: true, force: true });
  }

  syncedLog(member) {
    return join(this.dir, 'synced', member);
  }

  newBoot(member) {
    writeFileSync(`${this.syncedLog(member)}-boot`, `${randomUUID()}\n`);
  }

  /** What is left of a member's disk when the power goes: of each file what was synced, and maybe some of the rest. The
   *  node is dead already. Returns how many bytes are gone. */
  loseUnsynced(member, random) {
    const durable = new Map();
    let lost = 0;
    const log = this.syncedLog(member);
    for (const line of existsSync(log) ? readFileSync(log, 'utf8').split('\n') : []) {
      const [inode, size] = line.split(' ').map(Number);
      if (inode) durable.set(inode, size);
    }
    for (const name of readdirSync(this.store(member))) {
      const file = join(this.store(member), name);
      const { ino, size } = statSync(file);
      const small = `${log}.${ino}`;
      if (existsSync(small) && durable.get(ino) <= 512 && size <= 512) copyFileSync(small, file);
      else if (durable.has(ino) || name.endsWith('.log')) lost += this.#cutBack(file, durable.get(ino) ?? 0, size, random);
    }
    if (durable.size > 0) writeFileSync(log, [...durable].map((pair) => `${pair.join(' ')}\n`).join(''));
    this.newBoot(member);
    return lost;
  }

  #cutBack(file, durable, size, random) {
    if (size <= durable) return 0;
    const kept = random() < 0.3 ? durable : durable + Math.floor(random() * (size - durable));
    truncateSync(file, kept);
    return size - kept;
  }

  keepCopy(member) {
    const copy = `${this.store(member)}.old`;
    rmSync(copy, { recursive: true, force: true });
    return must('cp', ['-a', this.store(member), copy]);
  }

  async putCopyBack(member) {
    rmSync(this.store(member), { recursive: true, force: true });
    await must('mv', [`${this.store(member)}.old`, this.store(member)]);
  }

  forgetAside(member) {
    for (const entry of readdirSync(join(this.dir, 'data', member)))
      if (entry.startsWith('store.aside-')) rmSync(join(this.dir, 'data', member, entry), { recursive: true, force: true });
  }

  forgetSynced(member) {
    if (existsSync(this.syncedLog(member))) unlinkSync(this.syncedLog(member));
  }
}
