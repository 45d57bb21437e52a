// One id for a person and a data record, as two phones gave it: each gets an id of its own, and who refers to it is found
// and turned to the right one.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { check, startCluster, until } from './lib.mjs';

const X = '7FADDF76-55E4-4E50-9444-5E468E61EA83';
const PERSON = { type: 'person', name: 'Ada' };
const RECORD = { type: 'data_record', form: 'pregnancy' };
const DERIVED = new RegExp(`^${X}~[0-9a-f]{16}$`);
const LONG_MS = 20000;

let cluster;
const test = (what, body) => check(() => cluster, what, body);

function signal(c, what, ...names) {
  for (const name of names) process.kill(c.pid(name), what);
}

/** Both are made where the other can't be seen: one on a node that is alone, one on the two others. */
async function collide(c, collections) {
  signal(c, 'SIGSTOP', 'storage-1', 'storage-2');
  const alone = collections.map((name) => c.insist('PUT', `/${name}/${X}`, { body: PERSON }, [202], LONG_MS));
  try {
    await Promise.all(alone);
    signal(c, 'SIGSTOP', 'storage-3');
  } finally {
    signal(c, 'SIGCONT', 'storage-1', 'storage-2');
  }
  const others = collections.map((name) => c.insist('PUT', `/${name}/${X}`, { body: RECORD }, [200, 201, 202], LONG_MS));
  try {
    await Promise.all(others);
  } finally {
    signal(c, 'SIGCONT', 'storage-3');
  }
}

async function stubOf(c, collection) {
  const { _split: ids } = await until(`${collection}/${X} is split`, LONG_MS, async () => {
    const { json } = await c.get(`/${collection}/${X}`);
    return json?._split && json;
  });
  const found = {};
  for (const id of ids) {
    assert.match(id, DERIVED);
    const { status, json } = await c.get(`/${collection}/${encodeURIComponent(id)}`);
    assert.equal(status, 200, 'whom the stub names is there');
    found[json.type] = json;
  }
  assert.deepEqual(found, { person: { id: found.person.id, ...PERSON }, data_record: { id: found.data_record.id, ...RECORD } });
  return { person: found.person.id, record: found.data_record.id };
}

describe('an id collision', () => {
  const references = [
    { path: 'parent._id', kind: 'person' }, { path: 'fields.record', kind: 'data_record' }, { path: 'linked' },
  ];
  let ids;

  before(async () => {
    cluster = await startCluster('collision', { gateways: 1 });
    const c = cluster;
    const policy = { roots: { kind: ['type'] }, references };
    await c.collection('clinic', { mode: 'available', shards: 1, policy });
    await c.collection('manual', { mode: 'available', shards: 1, policy: { roots: { kind: ['type'], different: 'open' } } });
    await c.collection('visits', { shards: 2, policy: { references: [{ path: 'members.ref', kind: 'person' }] } });
    await c.insist('POST', '/_/collections/visits/indexes', { body: { name: 'members', fields: ['members.ref'] } });
    for (let i = 0; i < 3; i++) {
      await c.insist('PUT', `/clinic/child-${i}`, { body: { type: 'person', parent: { _id: X, name: 'x' } } });
      await c.insist('PUT', `/visits/v${i}`, { body: { members: [{ ref: 'other' }, { ref: X }] } });
    }
    await c.insist('PUT', '/clinic/both', { body: { type: 'person', parent: { _id: X }, fields: { record: [X, 'y'] } } });
    await c.insist('PUT', '/clinic/either', { body: { type: 'note', linked: X } });
    await c.insist('PUT', '/clinic/none', { body: { type: 'note', linked: 'y', text: X } });
    await c.insist('PUT', '/manual/other', { body: { type: 'note' } });
    // what has not applied the collections' settings takes no branches
    await until('storage-3 has all documents', LONG_MS, async () => (await c.metric('storage-3', 'parley_documents')) === 10);
    await collide(c, ['clinic', 'manual']);
    ids = await stubOf(c, 'clinic');
  });
  after(() => cluster?.down());

  test('the resolution is on record, and says where the documents are', async (c) => {
    const { json } = await c.get('/_/conflicts?collection=clinic&state=resolved&kind=roots');
    assert.equal(json.length, 1);
    assert.deepEqual(json[0].detail, { by: 'arbiter', documents: [ids.person, ids.record].sort(), strategy: 'split' });
  });

  test('all who refer to it are listed, page by page', async (c) => {
    const seen = [];
    let cursor = '';
    for (let pages = 0; pages < 10; pages++) {
      const { status, json, headers, text } = await c.get(`/clinic/${X}/_references?limit=2${cursor && `&cursor=${cursor}`}`);
      assert.equal(status, 200, text);
      assert.ok(json.length <= 2);
      assert.match(headers['x-parley-index'], /^(none|members|none, members)$/);
      assert.match(headers['x-parley-progress'], /^[0-9]+\/5$/);
      seen.push(...json);
      cursor = headers['x-parley-cursor'];
      if (!cursor) break;
    }
    const rows = seen.map((row) => [row.collection, row.id, row.path, row.kind]).sort();
    assert.deepEqual(rows, [
      ['clinic', 'both', 'fields.record', 'data_record'], ['clinic', 'both', 'parent._id', 'person'],
      ['clinic', 'child-0', 'parent._id', 'person'], ['clinic', 'child-1', 'parent._id', 'person'],
      ['clinic', 'child-2', 'parent._id', 'person'], ['clinic', 'either', 'linked', undefined],
      ['visits', 'v0', 'members.ref', 'person'], ['visits', 'v1', 'members.ref', 'person'],
      ['visits', 'v2', 'members.ref', 'person'],
    ]);
    const bad = await c.get(`/clinic/${X}/_references?cursor=eA`);
    assert.deepEqual([bad.status, bad.json.code], [400, 'bad_parameter']);
  });

  test('those that can mean one document only are turned to it, once', async (c) => {
    const path = `/clinic/${X}/_references/_rewrite`;
    const dry = await c.post(path, { dryRun: true });
    assert.equal(dry.status, 200, dry.text);
    assert.deepEqual([dry.json.wouldRewrite, dry.json.leftCount], [8, 1]);
    const odd = await c.post(path, { dryrun: true });
    assert.deepEqual([odd.status, odd.json.place], [400, '/dryrun']);
    let rewritten = 0;
    for (let cursor, calls = 0; calls < 10; calls++) {
      const { status, json, text } = await c.post(path, { limit: 4, ...(cursor && { cursor }) });
      assert.equal(status, 200, text);
      rewritten += json.rewritten;
      cursor = json.cursor;
      if (!cursor) break;
    }
    assert.equal(rewritten, 8);
    const again = await c.post(path, {});
    assert.deepEqual([again.json.rewritten, again.json.leftCount], [0, 1]);
    assert.deepEqual(again.json.left.map((row) => [row.id, row.reason]), [['either', 'no_kind']]);
    assert.deepEqual((await c.get('/clinic/both')).json,
      { id: 'both', type: 'person', parent: { _id: ids.person }, fields: { record: [ids.record, 'y'] } });
    assert.deepEqual((await c.get('/visits/v1')).json, { id: 'v1', members: [{ ref: 'other' }, { ref: ids.person }] });
    assert.equal((await c.get('/clinic/none')).json.text, X, 'what is not declared is no reference');
  });

  test('left to people: one call splits it and turns the references', async (c) => {
    const path = `/manual/${X}/_references/_rewrite`;
    const row = await until('it is in conflict', LONG_MS, async () => {
      const { json } = await c.get('/_/conflicts?collection=manual&state=open&kind=roots');
      return json[0]?.detail && json[0];
    });
    assert.equal(row.detail.reason, 'id_collision');
    const early = await c.post(path, {});
    assert.deepEqual([early.status, early.json.code], [409, 'not_split']);
    const test = await c.post('/_/policies/_test', { collection: 'manual', policy: { roots: { kind: ['type'] } } });
    assert.deepEqual(test.json[0].documents.map((document) => document.type).sort(), ['data_record', 'person']);
    await c.insist('PUT', '/visits/late', { body: { members: [{ ref: X }] } });
    const { status, json, text } = await c.post(path, { split: true });
    assert.equal(status, 200, text);
    const own = await stubOf(c, 'manual');
    assert.deepEqual([json.documents, json.rewritten], [[own.person, own.record].sort(), 1]);
    assert.equal((await c.get('/visits/late')).json.members[0].ref, own.person);
    const twice = await c.post(path, { split: true });
    assert.deepEqual([twice.status, twice.json.rewritten], [200, 0]);
  });

  test('what has one root is not split', async (c) => {
    await c.collection('plain', { keepAncestors: 10, policy: { strategy: 'none' } });
    const first = await c.put('/plain/a', { n: 0 });
    await c.put('/plain/a', { n: 1 }, { 'If-Match': first.etag });
    await c.put('/plain/a?branch=true', { n: 2 }, { 'If-Match': first.etag });
    const { leaves } = (await c.get('/_/conflicts/plain/a')).json;
    const { status, json } = await c.post('/_/conflicts/plain/a/resolve', { leaves, split: true });
    assert.deepEqual([status, json.code, json.place], [400, 'bad_parameter', '/split']);
    assert.equal((await c.post('/plain/a/_references/_rewrite', {})).json.code, 'not_split');
    assert.equal((await c.post('/plain/nobody/_references/_rewrite', {})).status, 404);
  });
});
