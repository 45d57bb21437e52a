#!/usr/bin/env node
// Makes one conflict on purpose and shows what becomes of it: found, resolved by the arbiter under the collection's
// policy, acknowledged by every replica, cleaned up.
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from './client.mjs';

const COLLECTION = 'demo';
const PATH = '/demo/reading-list';
const SETTINGS = {
  mode: 'available',
  retainMs: 0,
  policy: { strategy: 'merge', paths: { read: 'set' } },
};
const LOOK_MS = 20;
const RESOLVED_WITHIN_MS = 30000;
const CLEANED_WITHIN_MS = 60000;

let step = 0;
let operation = 0;
const client = new Client(2);
const run = Date.now().toString(36);

function tell(sentence) {
  console.log(`\n${++step}. ${sentence}`);
}

function show(label, value) {
  console.log(`   ${label.padEnd(10)} ${typeof value === 'string' ? value : JSON.stringify(value)}`);
}

function demand(answer, what, ...statuses) {
  if (statuses.includes(answer.status)) return answer;
  throw new Error(`${what}: ${answer.status} ${answer.text}`);
}

/** A key for each step of this run makes repeating it safe. */
function write(method, path, body, headers = {}) {
  const key = `show-conflict-${run}-${++operation}`;
  return client.send(method, path, { body, headers: { 'Idempotency-Key': key, ...headers } });
}

async function prepareCollection() {
  const made = await write('POST', '/_/collections', { name: COLLECTION, ...SETTINGS });
  if (made.status === 409) demand(await write('PATCH', `/_/collections/${COLLECTION}`, SETTINGS), 'settings', 200);
  else demand(made, 'making the collection', 200, 201);
}

async function putDocument(what, body, { revision, branch } = {}) {
  const path = branch ? `${PATH}?branch=true` : PATH;
  const headers = revision ? { 'If-Match': revision } : {};
  const answer = demand(await write('PUT', path, body, headers), what, 200, 201, 202);
  show('document', body);
  show('revision', answer.headers.etag);
  return answer.headers.etag;
}

async function readConflict() {
  const answer = demand(await client.send('GET', `/_/conflicts?collection=${COLLECTION}`), 'conflicts', 200);
  return answer.json.find((row) => row.id === 'reading-list');
}

/** Looks until `fits` says so; every state that is seen for the first time is shown. */
async function watchConflict(seen, deadlineMs, what, fits) {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const row = await readConflict();
    const state = row?.state ?? 'none';
    if (row && !seen.has(state)) {
      seen.add(state);
      show(state, row);
    }
    if (fits(row)) return;
    if (Date.now() > end) throw new Error(`${what} within ${deadlineMs / 1000} s: ${JSON.stringify(row)}`);
    await sleep(LOOK_MS);
  }
}

function sameReading(document) {
  const { owner, shelf, read } = document;
  return owner === 'Grace' && shelf === 'window' && [...read].sort().join() === 'Dracula,Emma,Ulysses';
}

async function main() {
  await prepareCollection();
  tell('Somebody writes a document.');
  const first = await putDocument('the first write', { owner: 'Ada', shelf: 'desk', read: ['Emma'] });

  tell('Online, it is edited: another shelf, one more book.');
  const online = { owner: 'Ada', shelf: 'window', read: ['Emma', 'Dracula'] };
  await putDocument('the edit', online, { revision: first });

  tell('Offline, somebody else had edited the first revision: another owner, another book. Now that client syncs.');
  const offline = { owner: 'Grace', shelf: 'desk', read: ['Emma', 'Ulysses'] };
  await putDocument('the branch', offline, { revision: first, branch: true });

  tell('Two versions: a conflict, listed by GET /_/conflicts until the arbiter resolves it.');
  const seen = new Set();
  await watchConflict(seen, RESOLVED_WITHIN_MS, 'the conflict was not resolved', (row) => row?.state !== 'open');
  const merged = demand(await client.send('GET', PATH), 'reading', 200);
  show('document', merged.json);
  show('revision', merged.headers.etag);
  if (!sameReading(merged.json)) throw new Error('the merged document is not what the policy asks for');

  tell('Both edits are in it. When every replica has acknowledged, the traces are cleaned up.');
  await watchConflict(seen, CLEANED_WITHIN_MS, 'the traces were not cleaned up', (row) => !row);
  const last = demand(await client.send('GET', `${PATH}?conflicts=true`), 'reading', 200);
  show('document', last.json);
  console.log('   no conflict is listed any more; nothing was lost.');
  client.close();
}

main().catch((error) => {
  console.error(`show-conflict: ${error.message}`);
  process.exit(1);
});
