#!/usr/bin/env node
// A client that decides conflicts of collections whose policy is {"strategy":"external"}: takes them by long poll, decides
// each with `decide` below, and answers. Start as many as you like; they share the work. It needs nothing but Node.js:
//
//   PARLEY_URLS="https://localhost:8443 https://localhost:8453" PARLEY_CA=keys/ca.crt \
//   PARLEY_CERT=keys/decider.crt PARLEY_KEY=keys/decider.key node arbiter-client.mjs [COLLECTION...]
//
// The certificate's subject must have OU=arbiter (deploy/make-keys makes "decider" so).
import { Agent, request } from 'node:https';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const LIMIT = 8; // conflicts at a time
const LEASE_MS = Number(process.env.LEASE_MS || 30000); // renewed at half time while one is decided
const WAIT_MS = 20000; // how long a gateway holds the question when there is nothing to do
const TIMEOUT_MS = WAIT_MS + 15000;
const PAUSE_MS = 500;

const urls = (process.env.PARLEY_URLS || process.env.PARLEY_URL || 'https://localhost:8443').split(/[\s,]+/);
const agent = new Agent({
  keepAlive: true,
  ca: readFileSync(process.env.PARLEY_CA),
  cert: readFileSync(process.env.PARLEY_CERT),
  key: readFileSync(process.env.PARLEY_KEY),
});
const collections = process.argv.slice(2);

/**
 * Your rule goes here. `base` is what the versions have in common (null: nothing is known), `versions` are in order of
 * winning; each has its rev, and its document or, if it is a deletion, deleted: true. The answer is one of
 *   { pick: rev }, { document: {...} }, { delete: true }, { defer: milliseconds }, { release: true }
 *
 * This one keeps a document rather than its deletion, and of lists what anybody put there.
 */
async function decide({ versions }) {
  const living = versions.filter((version) => !version.deleted).map((version) => version.document);
  if (living.length === 0) return { delete: true };
  const document = { ...living[0] };
  for (const other of living.slice(1))
    for (const [name, value] of Object.entries(other))
      if (Array.isArray(document[name]) && Array.isArray(value)) {
        const known = new Set(document[name].map((item) => JSON.stringify(item)));
        document[name] = [...document[name], ...value.filter((item) => !known.has(JSON.stringify(item)))];
      } else if (!(name in document)) {
        document[name] = value;
      }
  return { document };
}

let at = 0; // which gateway

function send(method, path, body) {
  const payload = JSON.stringify(body ?? {});
  const options = { method, agent, timeout: TIMEOUT_MS, headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(payload) } };
  return new Promise((done, fail) => {
    const sent = request(new URL(path, urls[at]), options, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part));
      answer.on('error', fail);
      answer.on('end', () => {
        const text = Buffer.concat(parts).toString();
        done({ status: answer.statusCode, text, json: answer.statusCode < 500 && text ? JSON.parse(text) : undefined });
      });
    });
    sent.on('timeout', () => sent.destroy(new Error('no answer in time')));
    sent.on('error', fail);
    sent.end(payload);
  });
}

/** Until there is an answer that means something: another gateway, later. Every request here may be repeated. */
async function insist(method, path, body) {
  for (;;) {
    try {
      const answer = await send(method, path, body);
      if (answer.status !== 503 && answer.status !== 429) return answer;
    } catch {
      at = (at + 1) % urls.length;
    }
    await sleep(PAUSE_MS);
  }
}

async function work(conflict) {
  const path = `/_/arbiter/${conflict.lease}`;
  const renewal = setInterval(() => send('PUT', path).catch(() => {}), conflict.leaseMs / 2);
  try {
    const answer = await decide(conflict);
    const { status, text } = await insist('POST', `${path}/answer`, answer);
    // 409: the lease ended, or the document has changed meanwhile. Nothing was done; it comes again if need be.
    if (status !== 200 && status !== 409) throw new Error(`${status} ${text}`);
    console.log(`${conflict.collection}/${conflict.id}: ${Object.keys(answer)[0]} ${status}`);
  } catch (error) {
    console.error(`${conflict.collection}/${conflict.id}: ${error.message}`);
    await send('POST', `${path}/answer`, { defer: 60000 }).catch(() => {});
  } finally {
    clearInterval(renewal);
  }
}

for (;;) {
  const question = { limit: LIMIT, leaseMs: LEASE_MS, waitMs: WAIT_MS, ...(collections.length ? { collections } : {}) };
  const { status, text, json } = await insist('POST', '/_/arbiter/_take', question);
  if (status !== 200) throw new Error(`${status} ${text}`);
  await Promise.all(json.map(work));
}
