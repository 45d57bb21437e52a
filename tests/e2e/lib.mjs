// A whole cluster of real processes for one test file, and the few things that tests do to it. Nothing here sleeps and
// hopes: whatever must come to pass is looked for until a deadline, and the deadline's failure says what was last seen.
import { spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { Agent, request } from 'node:https';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
export const BUILD = resolve(ROOT, process.env.PARLEY_BUILD || 'build');
export const DEV_CLUSTER = join(ROOT, 'deploy/dev-cluster');
const LOG_LINES = 15;
const REQUEST_TIMEOUT_MS = 15000;
const REPEATED = [429, 503, 504]; // busy, nobody there, nobody knows

// ---- waiting ----

/** Calls `look` until it returns something true, which is returned. An exception counts as "not yet". */
export async function until(what, deadlineMs, look, everyMs = 50) {
  const end = Date.now() + deadlineMs;
  let last;
  for (;;) {
    try {
      const found = await look();
      if (found) return found;
      last = found;
    } catch (error) {
      last = error.message;
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${deadlineMs} ms; last seen: ${JSON.stringify(last)}`);
    await sleep(everyMs);
  }
}

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)];
}

// ---- programs ----

/** Runs a program to its end: { code, out }, both outputs in one text. */
export function run(program, args, { env, cwd, timeoutMs = 120000 } = {}) {
  return new Promise((done, fail) => {
    const child = spawn(program, args, { cwd, env: env ?? process.env, stdio: ['ignore', 'pipe', 'pipe'] });
    const parts = [];
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    child.stdout.on('data', (part) => parts.push(part));
    child.stderr.on('data', (part) => parts.push(part));
    child.on('error', fail);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      done({ code: code ?? signal, out: Buffer.concat(parts).toString() });
    });
  });
}

export async function must(program, args, options) {
  const { code, out } = await run(program, args, options);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}:\n${out}`);
  return out;
}

// ---- ports ----

function portFree(port) {
  return new Promise((done) => {
    const server = createServer();
    server.once('error', () => done(false));
    server.listen(port, '127.0.0.1', () => server.close(() => done(true)));
  });
}

/** A place for a cluster's ports and addresses: below the range that the kernel gives away, chosen at random. */
export async function choosePlace() {
  for (let attempt = 0; attempt < 50; attempt++) {
    const base = 12000 + 100 * Math.floor(Math.random() * 180);
    const probes = [-1459, -1449, 0, 10, 1001, 1011, 1012, 1013, 1031, 1032, 1051].map((offset) => portFree(base + offset));
    const octet = () => 10 + Math.floor(Math.random() * 230);
    if ((await Promise.all(probes)).every(Boolean)) return { base, net: `127.${octet()}.${octet()}` };
  }
  throw new Error('no free ports found');
}

// ---- requests ----

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** One HTTPS request. Body: bytes or text as they are, anything else as JSON. Rejects if there is no answer. */
export function send(url, { method = 'GET', body, headers = {}, agent, tls = {}, timeoutMs = REQUEST_TIMEOUT_MS } = {}) {
  const plain = body === undefined || typeof body === 'string' || Buffer.isBuffer(body);
  const payload = plain ? body : JSON.stringify(body);
  const options = { method, agent, headers: { ...headers }, ...tls, timeout: timeoutMs };
  if (payload !== undefined) options.headers['Content-Length'] = Buffer.byteLength(payload);
  if (payload !== undefined && !headers['Content-Type']) options.headers['Content-Type'] = 'application/json';
  return new Promise((done, fail) => {
    const sent = request(url, options, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part));
      answer.on('error', fail);
      answer.on('end', () => {
        const text = Buffer.concat(parts).toString();
        done({ status: answer.statusCode, headers: answer.headers, etag: answer.headers.etag, text, json: parse(text) });
      });
    });
    sent.on('timeout', () => sent.destroy(new Error(`no answer within ${timeoutMs} ms`)));
    sent.on('error', fail);
    sent.end(payload);
  });
}

// ---- the cluster ----

const running = new Set();

// Whatever way the test process ends, no cluster stays behind.
process.on('exit', () => {
  for (const cluster of running) spawnSync(DEV_CLUSTER, ['--dir', cluster.dir, 'down'], { stdio: 'ignore' });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

export class Cluster {
  failed = false;

  constructor(name, place) {
    this.name = name;
    this.base = place.base;
    this.net = place.net;
    this.dir = name && mkdtempSync(join(tmpdir(), `parley-e2e-${name}-`));
  }

  /** A name, a gateway's number or nothing -> the address of its API. */
  url(path, gateway = 1) {
    return new URL(path, `https://localhost:${this.base + (gateway - 1) * 10}`);
  }

  /** What is asked for at dev-cluster, beyond its folder; settings as ROLE.KEY=VALUE. */
  async up({ nodes = 3, gateways = 2, arbiters = 1, settings = [] } = {}) {
    running.add(this);
    await this.dev('--nodes', nodes, '--gateways', gateways, '--arbiters', arbiters, '--port-base', this.base,
      '--net', this.net, '--build', BUILD, ...settings.flatMap((setting) => ['--set', setting]), 'up');
    this.identify();
    return this;
  }

  /** Takes the certificates that the cluster's folder has. */
  identify() {
    const pem = (file) => readFileSync(join(this.dir, 'keys', file));
    this.tls = { ca: pem('ca.crt'), cert: pem('admin.crt'), key: pem('admin.key') };
    this.agent = new Agent({ keepAlive: true, maxSockets: 32, ...this.tls });
  }

  dev(...args) {
    return must(DEV_CLUSTER, ['--dir', this.dir, ...args.map(String)]);
  }

  send(method, path, { gateway = 1, ...options } = {}) {
    return send(this.url(path, gateway), { method, agent: this.agent, ...options });
  }

  /** Another listener than the API's. */
  sendTo(url, options) {
    return send(url, { agent: this.agent, ...options });
  }

  get(path, options) {
    return this.send('GET', path, options);
  }

  put(path, body, headers, options) {
    return this.send('PUT', path, { body, headers, ...options });
  }

  post(path, body, headers, options) {
    return this.send('POST', path, { body, headers, ...options });
  }

  /** Repeats what may succeed later until it is answered with one of the statuses; any other answer is an error. */
  async insist(method, path, options = {}, statuses = [200, 201], deadlineMs = 20000) {
    const answer = await until(`${method} ${path}`, deadlineMs, async () => {
      const last = await this.send(method, path, options);
      if (REPEATED.includes(last.status) && !statuses.includes(last.status)) throw new Error(`${last.status} ${last.text}`);
      return last;
    });
    if (!statuses.includes(answer.status)) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
    return answer;
  }

  /** The place in the stream from which on a listener would be told: the id of the first event. */
  position(collection) {
    return new Promise((resolve, reject) => {
      const asked = request(this.url(`/_/notify?path=/${collection}/`), this.tls, (answer) => {
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (part) => {
          text += part;
          const id = /^id: (\S+)$/m.exec(text);
          if (!id) return;
          asked.destroy();
          resolve(id[1]);
        });
      });
      asked.on('error', reject);
      asked.end();
    });
  }

  collection(name, settings = {}) {
    return this.insist('POST', '/_/collections', { body: { name, ...settings } });
  }

  /** Each shard of the collection has a lead that answers. One that was just named waits for its predecessor's lease,
   * about as long as a write to an available collection waits before it becomes a branch. */
  served(collection) {
    return this.insist('GET', `/${collection}?count=true`, {}, [200]);
  }

  // ---- members ----

  pid(name) {
    return Number(readFileSync(join(this.dir, 'run', `${name}.pid`), 'utf8'));
  }

  /** kill -9, at once and without a shell in between; the moment of the kill is returned. */
  killNow(name) {
    const pid = this.pid(name);
    const at = Date.now();
    process.kill(pid, 'SIGKILL');
    return at;
  }

  healthPort(name) {
    const first = { coordinator: 0, storage: 10, gateway: 30, arbiter: 50 };
    const [role, number] = name.split('-');
    return this.base + 1000 + first[role] + Number(number);
  }

  health(name, path) {
    return send(new URL(path, `https://localhost:${this.healthPort(name)}`), { tls: { ca: this.tls.ca } });
  }

  /** The value of one line of a member's metrics; labels as they are printed. */
  async metric(name, line) {
    const { text } = await this.health(name, '/metrics');
    const found = text.split('\n').find((row) => row.startsWith(`${line} `));
    if (!found) throw new Error(`${name} has no metric ${line}`);
    return Number(found.slice(line.length + 1));
  }

  ready(name, deadlineMs = 30000) {
    return until(`${name} is ready`, deadlineMs, async () => (await this.health(name, '/readyz')).status === 200);
  }

  async node(name) {
    const { json } = await this.get('/system.nodes');
    return json.find((row) => row.id === name);
  }

  copy(from, to) {
    return must('cp', ['-a', from, to]);
  }

  log(name) {
    return readFileSync(join(this.dir, 'log', `${name}.log`), 'utf8');
  }

  // ---- the end ----

  showLogs() {
    const folder = join(this.dir, 'log');
    for (const file of readdirSync(folder)) {
      const lines = readFileSync(join(folder, file), 'utf8').trimEnd().split('\n');
      console.error(`--- ${file}\n${lines.slice(-LOG_LINES).join('\n')}`);
    }
  }

  async down() {
    this.agent?.destroy();
    await this.dev('down');
    running.delete(this);
    if (this.failed) {
      this.showLogs();
      const kept = join(BUILD, 'e2e-logs', this.name);
      mkdirSync(kept, { recursive: true });
      cpSync(join(this.dir, 'log'), kept, { recursive: true });
      console.error(`the logs are kept in ${kept}`);
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export async function startCluster(name, options) {
  const cluster = new Cluster(name, await choosePlace());
  try {
    return await cluster.up(options);
  } catch (error) {
    await cluster.down();
    throw error;
  }
}

/** A test on a cluster that is made by then; if it fails, the members' logs are shown and kept at the end. */
export function check(cluster, what, body) {
  it(what, async (t) => {
    try {
      await body(cluster(), t);
    } catch (error) {
      if (cluster()) cluster().failed = true;
      throw error;
    }
  });
}
