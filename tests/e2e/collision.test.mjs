// One id for a person and a data record, as two phones gave it: each gets an id of its own, and who refers to it is found
// and turned to the right one.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe } from 'node:test';
import { Agent as Dispatcher } from 'undici';
import { couchUrl } from './couch-lib.mjs';
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

/** The person's branch may have been under way to a lead that stood still, and have got there first: then the record
 * comes as replication brings it. */
async function makeRecord(c, name) {
  const headers = { 'If-None-Match': '*', 'Idempotency-Key': `record-${name}` };
  const { status } = await c.insist('PUT', `/${name}/${X}`, { body: RECORD, headers }, [201, 202, 412], LONG_MS);
  if (status !== 412) return;
  const docs = [{ _id: X, _rev: `1-${'c'.repeat(32)}`, ...RECORD }];
  const pushed = await c.sendTo(couchUrl(c, `/${name}/_bulk_docs`), { method: 'POST', body: { new_edits: false, docs } });
  assert.equal(pushed.status, 201, pushed.text);
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
  const others = collections.map((name) => makeRecord(c, name));
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
    c.dispatcher = new Dispatcher({ connect: c.tls });
    const policy = { roots: { kind: ['type'] }, references };
    await c.collection('clinic', { mode: 'available', shards: 1, policy });
    await c.collection('manual', { mode: 'available', shards: 1, policy: { roots: { kind: ['type'], different: 'open' } } });
    const held = ['person', 'data_record'].map((kind) => ({ path: 'any', kind, collection: 'manual' }));
    await c.collection('visits', { shards: 2, policy: { references: [
      { path: 'members.ref', kind: 'person', collection: 'clinic' }, { path: 'held', kind: 'person', collection: 'manual' }, ...held, held[0],
    ] } });
    await c.collection('persons', { shards: 1, policy: { references: [{ path: 'parent', kind: 'person' }] } });
    await c.insist('POST', '/_/collections/visits/indexes', { body: { name: 'members', fields: ['members.ref'] } });
    for (let i = 0; i < 3; i++) {
      await c.insist('PUT', `/clinic/child-${i}`, { body: { type: 'person', parent: { _id: X, name: 'x' } } });
      await c.insist('PUT', `/visits/v${i}`, { body: { members: [{ ref: 'other' }, { ref: X }] } });
    }
    await c.insist('PUT', '/clinic/both', { body: { type: 'person', parent: { _id: X }, fields: { record: [X, 'y'] } } });
    await c.insist('PUT', '/clinic/either', { body: { type: 'note', linked: X } });
    await c.insist('PUT', '/clinic/none', { body: { type: 'note', linked: 'y', text: X } });
    await c.insist('PUT', '/manual/other', { body: { type: 'note' } });
    await c.insist('PUT', `/persons/${X}`, { body: PERSON });
    await c.insist('PUT', '/persons/child', { body: { parent: X } });
    // what has not applied the collections' settings takes no branches
    await until('storage-3 has all documents', LONG_MS, async () => (await c.metric('storage-3', 'parley_documents')) === 12);
    await collide(c, ['clinic', 'manual']);
    ids = await stubOf(c, 'clinic');
  });
  after(async () => {
    await cluster?.dispatcher?.close();
    await cluster?.down();
  });

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
    assert.equal((await c.get('/persons/child')).json.parent, X, 'it means the document of its own collection');
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
    await c.insist('PUT', '/visits/late', { body: { held: X, any: X, members: [{ ref: X }] } });
    const late = (await c.get('/visits/late')).json;
    const foreseen = await c.post(path, { split: true, dryRun: true });
    assert.deepEqual([foreseen.status, foreseen.json.documents, foreseen.json.wouldRewrite, foreseen.json.leftCount],
      [200, test.json[0].documents.map((document) => document.id).sort(), 1, 2], foreseen.text);
    assert.equal((await c.post(path, {})).json.code, 'not_split', 'a dry run splits nothing');
    const { status, json, text } = await c.post(path, { split: true });
    assert.equal(status, 200, text);
    const own = await stubOf(c, 'manual');
    assert.deepEqual([json.documents, json.rewritten], [[own.person, own.record].sort(), 1]);
    assert.deepEqual((await c.get('/visits/late')).json, { ...late, held: own.person });
    assert.deepEqual(json.left.map(({ path, kind, reason }) => [path, kind, reason]).sort(),
      [['any', 'data_record', 'ambiguous'], ['any', 'person', 'ambiguous']]);
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

  // Two documents under one id, as replication brings them: their roots are chosen, so the ids that a split gives are known.
  const root = (letter) => letter.repeat(32);
  const derived = (id, letter) => `${id}~${letter.repeat(16)}`;
  const couch = (path, options) => cluster.sendTo(couchUrl(cluster, path), options);
  const bytesOf = async (c, path) => {
    const answer = await c.dispatcher.request({ origin: couchUrl(c).origin, path, method: 'GET' });
    return answer.statusCode === 200 ? Buffer.from(await answer.body.arrayBuffer()) : `${answer.statusCode} ${await answer.body.text()}`;
  };

  async function push(collection, id, documents) {
    const docs = documents.map(([letter, body]) => ({ _id: id, _rev: `1-${root(letter)}`, ...body }));
    const pushed = await couch(`/${collection}/_bulk_docs`, { method: 'POST', body: { new_edits: false, docs } });
    assert.equal(pushed.status, 201, pushed.text);
  }

  test('attachments go with their documents, by policy and by hand', async (c) => {
    const photo = randomBytes(17 * 1024 * 1024 + 1);
    const scan = randomBytes(3000);
    const attach = (data) => ({ content_type: 'a/b', data: data.toString('base64') });
    await c.collection('files', { shards: 4, policy: { strategy: 'none' } });
    await push('files', 'f', [['a', { type: 'person', _attachments: { photo: attach(photo.subarray(0, 3e6)), small: attach(scan) } }],
      ['b', { type: 'data_record', _attachments: { scan: attach(scan), none: attach(Buffer.alloc(0)) } }]]);
    const shown = (await c.get('/_/conflicts/files/f')).json;
    assert.equal(shown.kind, 'roots');
    const policy = { roots: { kind: ['type'] } };
    const dry = await c.post('/_/policies/_test', { collection: 'files', policy });
    assert.deepEqual([dry.json[0].outcome, dry.json[0].how], ['resolved', 'split'], dry.text);
    assert.equal((await c.get(`/files/${derived('f', 'a')}`)).status, 404, 'a dry run changes nothing');
    const split = await c.post('/_/conflicts/files/f/resolve', { leaves: shown.leaves, split: true });
    assert.equal(split.status, 200, split.text);
    const again = await c.post('/_/conflicts/files/f/resolve', { leaves: shown.leaves, split: true });
    assert.deepEqual([again.status, again.json.rev], [200, split.json.rev], again.text);
    const check = async (id, files) => {
      const { json } = await c.get(`/files/${encodeURIComponent(id)}`);
      assert.deepEqual(Object.keys(json._attachments).sort(), Object.keys(files).sort());
      for (const [name, bytes] of Object.entries(files))
        assert.ok(bytes.equals(await bytesOf(c, `/files/${encodeURIComponent(id)}/${name}`)), `${id}/${name}`);
    };
    await check(derived('f', 'a'), { photo: photo.subarray(0, 3e6), small: scan });
    await check(derived('f', 'b'), { scan, none: Buffer.alloc(0) });

    // one that is larger than any message, and the arbiter
    const put = await c.dispatcher.request({
      origin: couchUrl(c).origin, path: '/files/g/photo', method: 'PUT', body: photo, headers: { 'content-type': 'a/b' },
    });
    const made = await put.body.json();
    assert.equal(put.statusCode, 201);
    await push('files', 'g', [['b', { type: 'data_record', _attachments: { scan: attach(scan) } }]]);
    await c.insist('PUT', '/system.policies/files', { body: policy });
    await until('the arbiter splits it', LONG_MS, async () => (await c.get('/files/g')).json?._split);
    await check(`g~${made.rev.slice(2, 18)}`, { photo });
    await check(derived('g', 'b'), { scan });
  });

  test('split, undone and split again, what was deleted in between is there again', async (c) => {
    await c.collection('again', { shards: 4, policy: { strategy: 'none' } });
    await push('again', 'a', [['a', { type: 'person' }], ['b', { type: 'data_record' }]]);
    const split = async () => {
      const { json } = await c.get('/_/conflicts/again/a');
      return c.post('/_/conflicts/again/a/resolve', { leaves: json.leaves, split: true });
    };
    assert.equal((await split()).status, 200);
    const [row] = (await c.get('/_/conflicts?collection=again')).json;
    const undone = await c.post('/_/conflicts/again/a/undo', { resolutionId: row.resolutionId });
    assert.equal(undone.status, 200, undone.text);
    const path = `/again/${derived('a', 'a')}`;
    await c.insist('DELETE', path);
    const second = await split();
    assert.equal(second.status, 200, second.text);
    for (const [letter, type] of [['a', 'person'], ['b', 'data_record']])
      assert.deepEqual((await c.get(`/again/${derived('a', letter)}`)).json, { id: derived('a', letter), type });
    await c.insist('DELETE', path);
    assert.equal((await c.get('/again/a')).json._split.length, 2);
    assert.equal((await c.get(path)).status, 404, 'deleted after the split it stays deleted');
  });

  test('a deletion that comes late deletes the document that it was meant for', async (c) => {
    await c.collection('late', { mode: 'available', shards: 4, policy: { roots: { kind: ['type'] } } });
    await push('late', 'l', [['a', { type: 'person' }], ['b', { type: 'data_record' }]]);
    await until('it is split', LONG_MS, async () => (await c.get('/late/l')).json?._split);
    assert.equal((await c.get(`/late/${derived('l', 'a')}`)).status, 200);
    const { status, text } = await c.send('DELETE', '/late/l?branch=true', { headers: { 'If-Match': `"1-${root('a')}"` } });
    assert.equal(status, 200, text);
    await until('it is deleted', LONG_MS, async () => (await c.get(`/late/${derived('l', 'a')}`)).status === 404);
    const detail = await until('it is on record', LONG_MS, async () => {
      const { json } = await c.get('/_/conflicts?collection=late&state=resolved');
      return json[0]?.kind === 'delete' && json[0].detail;
    });
    assert.deepEqual(detail,
      { by: 'arbiter', deleted: [derived('l', 'a')], documents: [derived('l', 'a'), derived('l', 'b')], strategy: 'split' });
    assert.equal((await c.get(`/late/${derived('l', 'b')}`)).status, 200);
  });

  /** Both versions are in conflict there, with what they have in common; the old id shows nothing of them. */
  async function divided(c, id, part) {
    const open = await until('the new id is in conflict', LONG_MS, async () => {
      const { json } = await c.get(`/_/conflicts/late/${part}`);
      return json?.leaves?.length === 2 && json;
    });
    assert.equal(open.kind, 'edits');
    assert.equal(open.base.document.v, 1);
    assert.deepEqual(open.versions.map(({ document }) => document.v).sort(), [2, 3]);
    const stub = await until('the old id shows the stub', LONG_MS, async () => (await c.get(`/late/${id}`)).json?._split);
    assert.equal(stub.length, 2);
  }

  test('versions of one document that conflict are in conflict under its new id', async (c) => {
    const body = { type: 'data_record', v: 1 };
    const edits = (id) => [2, 3].map((v) => ({ _id: id, ...body, v, _revisions: { start: 2, ids: [String(v).repeat(32), root('b')] } }));
    const save = async (docs) => {
      const pushed = await couch('/late/_bulk_docs', { method: 'POST', body: { new_edits: false, docs } });
      assert.equal(pushed.status, 201, pushed.text);
    };
    await push('late', 'n', [['a', { type: 'person' }], ['b', body]]);
    await until('it is split', LONG_MS, async () => (await c.get('/late/n')).json?._split);
    await save(edits('n'));
    await divided(c, 'n', derived('n', 'b'));
    const row = await until('it is on record', LONG_MS, async () => {
      const { json } = await c.get('/_/conflicts?collection=late&state=resolved');
      return json.find(({ id, detail }) => id === 'n' && detail.inConflict);
    });
    assert.deepEqual(row.detail.inConflict, [derived('n', 'b')]);
    await push('late', 'o', [['b', body]]);
    await save([...edits('o'), { _id: 'o', type: 'person', _revisions: { start: 1, ids: [root('a')] } }]);
    await until('it is split', LONG_MS, async () => (await c.get('/late/o')).json?._split);
    await divided(c, 'o', derived('o', 'b'));
  });

  test('a document that was made in the place of the stub is not mixed with what comes late', async (c) => {
    const late = (letter) => ({ headers: { 'If-Match': `"1-${root(letter)}"` } });
    await push('late', 'p', [['a', { type: 'person', n: 1 }], ['b', { type: 'data_record', n: 2 }]]);
    await until('it is split', LONG_MS, async () => (await c.get('/late/p')).json?._split);
    await c.insist('DELETE', '/late/p');
    await c.insist('PUT', '/late/p', { body: { mine: 1 } });
    await c.insist('PUT', '/late/p?branch=true', { body: { type: 'person', n: 3 }, ...late('a') });
    await until('it went to its document', LONG_MS, async () => (await c.get(`/late/${derived('p', 'a')}`)).json?.n === 3);
    await c.insist('DELETE', '/late/p?branch=true', late('b'));
    await until('so did the deletion', LONG_MS, async () => (await c.get(`/late/${derived('p', 'b')}`)).status === 404);
    await until('nothing is open', LONG_MS, async () => (await c.get('/_/conflicts/late/p')).status === 404
      || (await c.get('/_/conflicts/late/p')).json.state !== 'open');
    assert.deepEqual((await c.get('/late/p')).json, { id: 'p', mine: 1 });
  });

  test('a document that was made under the deleted stub, by who knew nothing of it, is not mixed with what comes late', async (c) => {
    const own = ['c', { type: 'person', own: true }];
    const late = { type: 'person', n: 3, _revisions: { start: 2, ids: ['d'.repeat(32), root('a')] } };
    const orders = {
      q: [[own], [late]], // the one that was mixed
      r: [[late], [own]],
      s: [[own, late]],
    };
    for (const id of Object.keys(orders)) {
      await push('late', id, [['a', { type: 'person', n: 1 }], ['b', { type: 'data_record', n: 2 }]]);
      await until('it is split', LONG_MS, async () => (await c.get(`/late/${id}`)).json?._split);
      await c.insist('DELETE', `/late/${id}`);
    }
    for (const [id, pushes] of Object.entries(orders))
      for (const docs of pushes) {
        const rows = docs.map((doc) => Array.isArray(doc) ? { _rev: `1-${root(doc[0])}`, ...doc[1] } : doc).map((doc) => ({ _id: id, ...doc }));
        const pushed = await couch('/late/_bulk_docs', { method: 'POST', body: { new_edits: false, docs: rows } });
        assert.equal(pushed.status, 201, pushed.text);
      }
    for (const id of Object.keys(orders)) {
      await until(`the edit of ${id} went to its document`, LONG_MS, async () => (await c.get(`/late/${derived(id, 'a')}`)).json?.n === 3);
      await until('nothing is open', LONG_MS, async () => (await c.get(`/_/conflicts/late/${id}`)).json?.state !== 'open');
      assert.deepEqual((await c.get(`/late/${id}`)).json, { id, ...own[1] });
      assert.equal((await c.get(`/late/${derived(id, 'c')}`)).status, 404);
    }
  });

  test('a deletion that comes late reaches its document also when the stub was deleted', async (c) => {
    const own = { type: 'person', own: true };
    const gone = { _deleted: true, _revisions: { start: 2, ids: ['d'.repeat(32), root('a')] } };
    const edit = { type: 'person', n: 3, _revisions: { start: 2, ids: ['e'.repeat(32), root('a')] } };
    const save = async (id, ...docs) => {
      const pushed = await couch('/late/_bulk_docs', { method: 'POST', body: { new_edits: false, docs: docs.map((doc) => ({ _id: id, ...doc })) } });
      assert.equal(pushed.status, 201, pushed.text);
    };
    const branch = (id) => c.insist('DELETE', `/late/${id}?branch=true`, { headers: { 'If-Match': `"1-${root('a')}"` } });
    const ways = { u: branch, v: (id) => save(id, gone), w: branch, x: (id) => save(id, gone), y: (id) => save(id, gone, edit) };
    const ids = Object.keys(ways);
    const isOwn = (id) => id > 'v';
    for (const id of ids) await push('late', id, [['a', { type: 'person', n: 1 }], ['b', { type: 'data_record', n: 2 }]]);
    for (const id of ids) {
      await until('it is split', LONG_MS, async () => (await c.get(`/late/${id}`)).json?._split);
      await c.insist('DELETE', `/late/${id}`);
      if (isOwn(id)) await push('late', id, [['c', own]]);
      await ways[id](id);
    }
    const records = await until('all are on record', LONG_MS, async () => {
      const { json } = await c.get('/_/conflicts?collection=late&state=resolved');
      const late = ids.map((id) => json.find((row) => row.id === id && row.detail.documents.length === 1));
      return late.every(Boolean) && late;
    });
    for (const [i, id] of ids.entries()) {
      const part = derived(id, 'a');
      const shown = await c.get(`/late/${part}`);
      assert.deepEqual(records[i].detail.deleted, id === 'y' ? undefined : [part]);
      assert.equal(id === 'y' ? shown.json.n : shown.status, id === 'y' ? 3 : 404);
      assert.equal((await c.get(`/late/${derived(id, 'b')}`)).status, 200);
      const old = await c.get(`/late/${id}`);
      assert.deepEqual(isOwn(id) ? old.json : old.status, isOwn(id) ? { id, ...own } : 404);
      assert.notEqual((await c.get(`/_/conflicts/late/${id}`)).json?.state, 'open');
    }
    assert.equal(records[4].leaves.length, 3, 'the edit and the deletion were weighed together');
  });

  test('where an id is taken nothing is written, and everybody says so', async (c) => {
    await c.collection('taken', { shards: 4, policy: { strategy: 'none' } });
    await c.put(`/taken/${derived('t', 'b')}`, { mine: true });
    await push('taken', 't', [['a', { type: 'person' }], ['b', { type: 'data_record' }]]);
    const policy = { roots: { kind: ['type'] } };
    const detail = { by: 'arbiter', reason: 'split_taken', text: derived('t', 'b') };
    const dry = await c.post('/_/policies/_test', { collection: 'taken', policy });
    assert.deepEqual([dry.json[0].outcome, dry.json[0].detail], ['open', detail]);
    const shown = (await c.get('/_/conflicts/taken/t')).json;
    const byHand = await c.post('/_/conflicts/taken/t/resolve', { leaves: shown.leaves, split: true });
    assert.deepEqual([byHand.status, byHand.json.code, byHand.json.detail], [409, 'split_taken', derived('t', 'b')]);
    await c.insist('PUT', '/system.policies/taken', { body: policy });
    const row = await until('the arbiter leaves it open', LONG_MS, async () => {
      const { json } = await c.get('/_/conflicts?collection=taken&state=open');
      return json[0]?.detail?.reason === 'split_taken' && json[0];
    });
    assert.deepEqual(row.detail, detail);
    const { outcomes } = (await c.get('/_/conflicts/taken/t')).json;
    for (const strategy of ['policy', 'merge', 'newest', 'oldest']) assert.deepEqual([outcomes[strategy].outcome, outcomes[strategy].detail], ['open', detail]);
    assert.equal((await c.get(`/taken/${derived('t', 'a')}`)).status, 404, 'no stray document');
    assert.deepEqual((await c.get(`/taken/${derived('t', 'b')}`)).json, { id: derived('t', 'b'), mine: true });
  });
});
