// A small HTTPS client for a Parley cluster, on what Node.js brings. It takes its addresses and certificates from the
// environment as `dev-cluster up` writes them to its env file.
import { Agent, request } from 'node:https';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const ATTEMPTS = 60;
const TIMEOUT_MS = 15000;
const PAUSE_MS = 200;
const PAUSE_MAX_MS = 3000;

function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; run: source .dev/env`);
  return value;
}

export class Client {
  #urls;
  #at = 0;
  #agent;

  constructor(connections = 4) {
    this.#urls = (process.env.PARLEY_URLS || setting('PARLEY_URL')).split(/[\s,]+/).filter(Boolean);
    this.#agent = new Agent({
      keepAlive: true,
      maxSockets: connections,
      ca: readFileSync(setting('PARLEY_CA')),
      cert: readFileSync(setting('PARLEY_CERT')),
      key: readFileSync(setting('PARLEY_KEY')),
    });
  }

  close() {
    this.#agent.destroy();
  }

  /** One request, once. Body: a value, sent as JSON, or a string, sent as it is. */
  once(method, path, { body, headers = {} } = {}) {
    const payload = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    const options = { method, agent: this.#agent, timeout: TIMEOUT_MS, headers: { ...headers } };
    if (payload !== undefined) {
      options.headers['Content-Type'] = 'application/json';
      options.headers['Content-Length'] = Buffer.byteLength(payload);
    }
    return new Promise((resolve, reject) => {
      const sent = request(new URL(path, this.#urls[this.#at]), options, (answer) => {
        const parts = [];
        answer.on('data', (part) => parts.push(part));
        answer.on('error', reject);
        answer.on('end', () => {
          const text = Buffer.concat(parts).toString();
          resolve({ status: answer.statusCode, headers: answer.headers, text, json: parse(text) });
        });
      });
      sent.on('timeout', () => sent.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
      sent.on('error', reject);
      sent.end(payload);
    });
  }

  /**
   * Repeats what may succeed later: no connection, 429, 503, and whatever `again` says. A write must carry an
   * Idempotency-Key, or a repetition could apply it twice.
   */
  async send(method, path, options = {}) {
    let last;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      let pause = Math.min(PAUSE_MS * 2 ** Math.min(attempt, 10), PAUSE_MAX_MS);
      try {
        const answer = await this.once(method, path, options);
        const later = answer.status === 429 || answer.status === 503 || options.again?.(answer);
        if (!later) return answer;
        last = `${answer.status} ${answer.json?.code ?? answer.text}`;
        const seconds = Number(answer.headers['retry-after']);
        if (seconds > 0) pause = Math.min(seconds * 1000, PAUSE_MAX_MS);
      } catch (error) {
        last = error.message || error.code;
        this.#at = (this.#at + 1) % this.#urls.length;
      }
      await sleep(pause);
    }
    throw new Error(`${method} ${path}: gave up after ${ATTEMPTS} attempts; the last answer: ${last}`);
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
