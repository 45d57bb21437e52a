// What docs/coming-from-couchdb.md tells to type, as it stands there, with PouchDB Server in place of the old CouchDB.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { couchUrl } from './couch-lib.mjs';
import { startPeer } from './couch-peer.mjs';
import { Cluster, ROOT, check, choosePlace, run, send, until } from './lib.mjs';

const BLOCK_MS = 60000;
const GUIDE = 'docs/coming-from-couchdb.md';

let cluster;
let old;
let folder;
const test = (what, body) => check(() => cluster, what, body);
const couch = (method, path, body) => cluster.sendTo(couchUrl(cluster, path), { method, body });

/** The blocks of a document, also those inside of lists. */
function shellBlocks(document) {
  const text = readFileSync(join(ROOT, document), 'utf8');
  return [...text.matchAll(/^( *)```sh\n(.*?)^\1```$/gms)].map(([, indent, block]) => block.replaceAll(new RegExp(`^${indent}`, 'gm'), ''));
}

async function shell(block) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PARLEY_')));
  const { code, out } = await run('bash', ['-e', '-o', 'pipefail', '-c', block], { cwd: folder, env: { ...env, OLD: old.url }, timeoutMs: BLOCK_MS });
  assert.equal(code, 0, `${block}\n--- ended with ${code} and said:\n${out}`);
}

/** A database with a conflict, a deletion, an attachment, functions and an index; users, and who may read. */
async function fillOld() {
  const clinic = new old.Pouch('clinic');
  await clinic.bulkDocs(Array.from({ length: 30 }, (_, n) => ({ _id: `bed-${n}`, ward: `w${n % 3}`, n })));
  await clinic.bulkDocs([{ _id: 'bed-1', _rev: '1-other', ward: 'other' }], { new_edits: false });
  await clinic.remove(await clinic.get('bed-2'));
  await clinic.putAttachment('bed-3', 'note.txt', (await clinic.get('bed-3'))._rev, Buffer.from('a note'), 'text/plain');
  await clinic.put({
    _id: '_design/beds',
    views: { ward: { map: 'function (doc) { emit(doc.ward, doc.n); }', reduce: '_count' } },
    validate_doc_update: 'function (newDoc) { if (!newDoc.ward && !newDoc._deleted) throw { forbidden: "no ward" }; }',
  });
  const map = 'function (doc) { emit(doc.n, require("views/lib/one").one); }';
  await clinic.put({ _id: '_design/odd names', views: { lib: { one: 'exports.one = 1;' }, 'by n/ward': { map }, zzz: { map } } });
  const index = (ddoc, map, def) => clinic.put({ _id: `_design/${ddoc}`, language: 'query', views: { [ddoc]: { map, reduce: '_count', options: { def } } } });
  await index('by-ward', { fields: { ward: 'asc' }, partial_filter_selector: {} }, { fields: ['ward'] });
  const partial_filter_selector = { n: { $gte: 20 } };
  await index('late', { fields: { n: 'asc' }, partial_filter_selector }, { fields: [{ n: 'asc' }], partial_filter_selector });
  await clinic.put({ _id: '_design/text', language: 'query', indexes: { text: { index: { fields: ['ward'] } } } });
  await clinic.put({ _id: '_design/foreign', language: 'erlang', views: { ward: { map: 'fun({Doc}) -> Emit(1, 1) end.' } } });
  await new old.Pouch('ward/rounds').put({ _id: 'a' });
  const users = new old.Pouch('_users');
  for (const name of ['ann', 'bob'])
    await users.put({ _id: `org.couchdb.user:${name}`, name, type: 'user', roles: ['nurse'], badge: 7,
      password_scheme: 'pbkdf2', iterations: 10, derived_key: 'abc', salt: 'def' });
  const security = { admins: { names: [], roles: [] }, members: { names: ['ann'], roles: [] } };
  const set = await fetch(`${old.url}/clinic/_security`,
    { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(security) });
  assert.equal(set.status, 200);
}

/** As README.md makes it. */
function writeCurlrc() {
  const block = shellBlocks('README.md').find((text) => text.includes('cat >.dev/curlrc'));
  assert.ok(block, 'README.md makes .dev/curlrc');
  return shell(block);
}

describe('coming from CouchDB', () => {
  before(async () => {
    old = await startPeer(['routes/security']);
    await fillOld();
    cluster = new Cluster('couch-moving', await choosePlace());
    await cluster.up({ gateways: 1, settings: [`gateway.replicate_hosts=${old.host}`, 'gateway.couch_passwords=true'] });
    folder = mkdtempSync(join(tmpdir(), 'parley-e2e-moving-'));
    symlinkSync(cluster.dir, join(folder, '.dev'));
    await writeCurlrc();
  });
  after(async () => {
    await cluster?.down();
    old?.close();
    if (folder) rmSync(folder, { recursive: true, force: true });
  });

  const blocks = shellBlocks(GUIDE);
  for (const [n, block] of blocks.slice(0, -1).entries()) test(`what the guide tells to type works (${n + 1})`, () => shell(block));

  test('everything is there, and the users log in with what they are told', async () => {
    const { json } = await couch('GET', '/clinic/bed-1?conflicts=true');
    assert.equal(json._conflicts.length, 1);
    assert.equal((await couch('GET', '/clinic/bed-2')).json.reason, 'deleted');
    assert.equal((await couch('GET', '/clinic/bed-3/note.txt')).text, 'a note');
    assert.equal((await couch('GET', '/clinic/_design/beds/_view/ward')).json.rows[0].value, 29);
    let tries = 0;
    await until('what came as a design document is asked', BLOCK_MS,
      async () => (await couch('PUT', `/clinic/none-${tries++}`, { n: 1 })).json.reason === 'no ward');
    const found = (await couch('POST', '/clinic/_find', { selector: { ward: 'w0' }, limit: 50 })).json;
    assert.deepEqual([found.docs.length, found.warning], [10, undefined]);
    const late = (await couch('POST', '/clinic/_find', { selector: { n: { $gt: null } }, use_index: 'late', limit: 50 })).json;
    assert.deepEqual([late.docs.length, late.warning], [10, undefined]);
    for (const name of ['by-ward', 'late', 'text', 'odd names'])
      assert.equal((await couch('GET', `/clinic/_design/${name.replace(' ', '%20')}`)).json._rev,
        (await new old.Pouch('clinic').get(`_design/${name}`))._rev);
    const odd = await couch('GET', '/clinic/_design/odd%20names/_view/by%20n%2Fward?update=false&limit=1');
    assert.deepEqual([odd.json.total_rows, odd.json.rows[0].value], [29, 1]);
    assert.equal((await couch('GET', '/ward%2Frounds')).status, 200);
    assert.equal((await couch('GET', '/_users/org.couchdb.user:bob')).json.badge, 7);
    const passwords = Object.fromEntries(readFileSync(join(cluster.dir, 'passwords'), 'utf8').trim().split('\n').map((line) => line.split(' ')));
    const status = async (name) => (await send(couchUrl(cluster, '/clinic/bed-5'), {
      tls: { ca: cluster.tls.ca },
      headers: { Authorization: `Basic ${Buffer.from(`${name}:${passwords[name]}`).toString('base64')}` },
    })).status;
    await until('ann reads, bob does not', BLOCK_MS, async () => (await status('ann')) === 200 && (await status('bob')) === 403);
  });

  test('and back', async () => {
    const made = await couch('PUT', '/clinic/bed-new', { ward: 'w9' });
    assert.equal(made.status, 201, made.text);
    await shell(blocks.at(-1));
    assert.equal((await new old.Pouch('clinic').get('bed-new')).ward, 'w9');
  });
});
