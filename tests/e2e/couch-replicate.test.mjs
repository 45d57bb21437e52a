// Replication as CouchDB's clients do it: revision trees from outside, and PouchDB as it comes from npm.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import http from 'pouchdb-adapter-http';
import memory from 'pouchdb-adapter-memory';
import PouchDB from 'pouchdb-core';
import replication from 'pouchdb-replication';
import { check, startCluster, until } from './lib.mjs';

const COUCH_PORT_OFFSET = -1459;
PouchDB.plugin(http).plugin(memory).plugin(replication);

let cluster;
let pouches = 0;
const test = (what, body) => check(() => cluster, what, body);

const couch = (method, path, body) => cluster.sendTo(new URL(path, cluster.couchUrl), { method, body });

/** A database whose conflicts stay, so that trees can be looked at; or with another policy. */
async function database(name, policy = { strategy: 'none' }) {
  await cluster.collection(name, { policy });
  return `/${name}`;
}

async function push(db, ...docs) {
  const answer = await couch('POST', `${db}/_bulk_docs`, { docs, new_edits: false });
  assert.equal(answer.status, 201, answer.text);
  assert.deepEqual(answer.json, []);
}

const line = (start, ...ids) => ({ start, ids });

/** Names of all leaves, the deleted ones with a star. */
async function leaves(db, id) {
  const { json } = await couch('GET', `${db}/${id}?open_revs=all`);
  return json.map(({ ok }) => ok._rev + (ok._deleted ? '*' : '')).sort();
}

const local = () => new PouchDB(`local-${pouches++}`, { adapter: 'memory' });

/** The database as PouchDB sees it over HTTP. */
function remote(db) {
  const pouch = new PouchDB(`${cluster.couchUrl}${db}`, {
    adapter: 'http',
    fetch: (url, options) => PouchDB.fetch(url, { ...options, agent: cluster.agent }),
  });
  // for telling how far it is a replication asks this, and does not look at whether it was answered
  const info = pouch.info.bind(pouch);
  pouch.info = () => info().catch(() => ({ update_seq: '0' }));
  return pouch;
}

describe('replication', () => {
  before(async () => {
    cluster = await startCluster('couch-replicate', { gateways: 1 });
    cluster.couchUrl = `https://localhost:${cluster.base + COUCH_PORT_OFFSET}`;
  });
  after(() => cluster?.down());

  test('revisions with their histories come in as they are, any number of times', async () => {
    const db = await database('trees');
    const deep = { _id: 'a', _revisions: line(3, 'c', 'b', 'a'), n: 3 };
    await push(db, deep, { _id: 'b', _rev: '1-x', n: 1 });
    await push(db, deep, deep);
    assert.deepEqual((await couch('GET', `${db}/a?revs=true`)).json, { _id: 'a', _rev: '3-c', n: 3, _revisions: line(3, 'c', 'b', 'a') });
    assert.deepEqual((await couch('GET', `${db}/a?revs_info=true`)).json._revs_info.map((row) => row.status), ['available', 'missing', 'missing']);
    await push(db, { _id: 'a', _revisions: line(4, 'd', 'c', 'b', 'a'), n: 4 });
    assert.deepEqual(await leaves(db, 'a'), ['4-d']);
    await push(db, { _id: 'a', _revisions: line(3, 'z', 'b', 'a'), n: 'z' }, { _id: 'a', _revisions: line(4, 'y', 'z'), _deleted: true });
    assert.deepEqual(await leaves(db, 'a'), ['4-d', '4-y*']);
    await push(db, { _id: 'a', _revisions: line(2, 'q', 'a'), n: 'q' });
    const both = await couch('GET', `${db}/a?conflicts=true&deleted_conflicts=true`);
    assert.equal(both.json._rev, '4-d');
    assert.deepEqual(both.json._conflicts, ['2-q']);
    assert.deepEqual(both.json._deleted_conflicts, ['4-y']);
    const put = await couch('PUT', `${db}/c?new_edits=false`, { _rev: '7-any~thing', _revisions: line(7, 'any~thing'), n: 1 });
    assert.deepEqual([put.status, put.json], [201, { ok: true, id: 'c', rev: '7-any~thing' }]);
    assert.match((await couch('PUT', `${db}/c`, { _rev: '7-any~thing', n: 2 })).json.rev, /^8-/);
    assert.equal((await couch('GET', db)).json.doc_count, 3);
  });

  test('a longer history wins, and a deletion does not', async () => {
    const db = await database('winners');
    await push(db, { _id: 'a', _revisions: line(2, 'z', 'a'), w: 'short' });
    await push(db, { _id: 'a', _revisions: line(3, 'b', 'y', 'a'), w: 'long' });
    await push(db, { _id: 'a', _revisions: line(9, 'x', 'w'), _deleted: true });
    assert.equal((await couch('GET', `${db}/a`)).json.w, 'long');
    assert.equal((await cluster.get('/winners/a')).json.w, 'long');
    await push(db, { _id: 'a', _revisions: line(4, 'end', 'b', 'y', 'a'), _deleted: true });
    assert.equal((await couch('GET', `${db}/a`)).json.w, 'short');
  });

  test('histories that contradict themselves are refused, and nothing of their request is done', async () => {
    const db = await database('liars');
    const bad = [
      [{ n: 1 }, 'bad_request'],
      [{ _rev: '3' }, 'bad_request'],
      [{ _rev: '2-b', _revisions: line(2, 'c', 'a') }, 'doc_validation'],
      [{ _revisions: line(1, 'b', 'a') }, 'doc_validation'],
      [{ _revisions: line(0) }, 'doc_validation'],
      [{ _revisions: line(2147483648, 'a') }, 'doc_validation'],
      [{ _revisions: line('1', 'a') }, 'doc_validation'],
      [{ _revisions: line(2, 5, 'a') }, 'doc_validation'],
      [{ _revisions: line(2, 'b', '') }, 'doc_validation'],
      [{ _revisions: line(2, 'x'.repeat(65), 'a') }, 'doc_validation'],
      [{ _revisions: { start: 2, ids: 'b' } }, 'doc_validation'],
      [{ _revisions: [] }, 'doc_validation'],
      [{ _revisions: line(2000, ...Array(1001).fill('x')) }, 'doc_validation'],
    ];
    for (const [members, error] of bad) {
      const answer = await couch('POST', `${db}/_bulk_docs`, { docs: [{ _id: 'fine', _rev: '1-a' }, { _id: 'bad', ...members }], new_edits: false });
      assert.deepEqual([answer.status, answer.json.error], [400, error], JSON.stringify(members).slice(0, 80) + answer.text);
    }
    assert.equal((await couch('PUT', `${db}/bad?new_edits=false`, {})).status, 400);
    assert.equal((await couch('GET', db)).json.doc_count, 0);
  });

  test('what is missing, and what there is', async () => {
    const db = await database('asked');
    await push(db, { _id: 'a', _revisions: line(3, 'c', 'b', 'a'), n: 'c' }, { _id: 'a', _revisions: line(3, 'z', 'b', 'a'), n: 'z' }, { _id: 'b', _rev: '1-b' });
    const asked = { a: ['3-c', '2-b', '4-d'], b: ['1-b'], none: ['1-a'] };
    assert.deepEqual((await couch('POST', `${db}/_revs_diff`, asked)).json, {
      a: { missing: ['4-d'], possible_ancestors: ['3-z', '3-c'] },
      none: { missing: ['1-a'] },
    });
    assert.deepEqual((await couch('POST', `${db}/_missing_revs`, asked)).json, { missing_revs: { a: ['4-d'], none: ['1-a'] } });
    assert.deepEqual((await couch('POST', `${db}/_revs_diff`, {})).json, {});
    assert.equal((await couch('POST', `${db}/_revs_diff`, { a: ['x'] })).json.reason, 'Invalid rev format');
    assert.equal((await couch('POST', `${db}/_revs_diff`, { a: '1-a' })).status, 400);
    const open = await couch('GET', `${db}/a?revs=true&open_revs=${encodeURIComponent('["3-z","2-fake"]')}`);
    assert.deepEqual(open.json, [{ ok: { _id: 'a', _rev: '3-z', n: 'z', _revisions: line(3, 'z', 'b', 'a') } }, { missing: '2-fake' }]);
    const latest = await couch('GET', `${db}/a?latest=true&open_revs=${encodeURIComponent('["2-b"]')}`);
    assert.deepEqual(latest.json.map(({ ok }) => ok._rev), ['3-z', '3-c']);
    assert.equal((await couch('GET', `${db}/a?rev=1-a&latest=true`)).json._rev, '3-z');
    assert.equal((await couch('GET', `${db}/none?open_revs=all`)).status, 404);
    for (const value of ['5', '["x"]', '[]', '{}', '[1]']) assert.equal((await couch('GET', `${db}/a?open_revs=${encodeURIComponent(value)}`)).status, 400);
    const docs = [{ id: 'a', rev: '2-b' }, { id: 'b', rev: '1-b' }, { id: 'b', rev: '9-x' }, { id: 'none' }, { id: 'a', rev: 'x' }, { id: 'a' }];
    const got = await couch('POST', `${db}/_bulk_get?revs=true&latest=true`, { docs });
    assert.deepEqual(got.json.results.map((row) => row.id), docs.map((doc) => doc.id));
    assert.deepEqual(got.json.results.map((row) => row.docs.map(({ ok, error }) => ok?._rev ?? error.reason)),
      [['3-z', '3-c'], ['1-b'], ['missing'], ['missing'], ['Invalid rev format'], ['3-z', '3-c']]);
    assert.deepEqual(got.json.results[1].docs[0].ok._revisions, line(1, 'b'));
    assert.equal((await couch('POST', `${db}/_bulk_get`, { docs: 5 })).status, 400);
    for (const query of ['', '&keys=["a","b"]']) {
      const all = await couch('GET', encodeURI(`${db}/_all_docs?include_docs=true&conflicts=true${query}`));
      assert.deepEqual(all.json.rows.map((row) => row.doc._conflicts), [['3-c'], undefined], all.text);
    }
  });

  test('what a policy made of a conflict goes out as one line, and its losers as deleted', async () => {
    const db = await database('merged', { strategy: 'merge', fallback: 'newest' });
    await push(db, { _id: 'a', _rev: '1-a', x: 0, y: 0 });
    await push(db, { _id: 'a', _revisions: line(2, 'b', 'a'), x: 1, y: 0 }, { _id: 'a', _revisions: line(2, 'c', 'a'), x: 0, y: 1 });
    const merged = await until('the conflict is resolved', 20000, async () => {
      const { json } = await couch('GET', `${db}/a?revs=true&conflicts=true`);
      return !json._conflicts && json._rev.startsWith('3-') && json;
    });
    assert.deepEqual(merged._revisions.ids.slice(1), ['c', 'a']);
    const ends = (await leaves(db, 'a')).filter((rev) => rev.endsWith('*'));
    assert.equal(ends.length, 1);
    const [end] = (await couch('GET', `${db}/a?revs=true&open_revs=${encodeURIComponent(JSON.stringify([ends[0].slice(0, -1)]))}`)).json;
    assert.deepEqual(end.ok._revisions.ids.slice(1), ['b', 'a']);
    assert.deepEqual((await couch('POST', `${db}/_revs_diff`, { a: [end.ok._rev] })).json, {});
    await push(db, end.ok);
    assert.equal((await couch('GET', `${db}/a`)).json._rev, merged._rev);
  });

  test('PouchDB 9 pushes documents, deletions and conflicts, and only what is new', async () => {
    const db = await database('pouch');
    const [one, two] = [local(), local()];
    await one.bulkDocs(Array.from({ length: 150 }, (_, n) => ({ _id: `doc-${n}`, n })));
    const gone = await one.get('doc-3');
    await one.remove(gone);
    for (let n = 0; n < 5; n++) await one.put({ ...(await one.get('doc-4')), round: n });
    const first = await one.replicate.to(remote(db));
    assert.deepEqual([first.ok, first.docs_written, first.doc_write_failures], [true, 150, 0]);
    await two.bulkDocs([{ _id: 'doc-5', _rev: '1-other', from: 'two' }, { _id: 'new', _rev: '1-new' }], { new_edits: false });
    assert.equal((await two.replicate.to(remote(db))).docs_written, 2);
    assert.equal((await one.replicate.to(remote(db))).docs_written, 0);
    await one.put({ _id: 'later' });
    assert.equal((await one.replicate.to(remote(db))).docs_written, 1);
    const info = await remote(db).info();
    assert.deepEqual([info.doc_count, info.doc_del_count], [151, 1]);
    for (const id of ['doc-4', 'doc-149', 'later']) {
      const [here, there] = await Promise.all([one.get(id, { revs: true }), remote(db).get(id, { revs: true })]);
      assert.deepEqual(there, here);
    }
    const conflicted = await remote(db).get('doc-5', { conflicts: true });
    assert.equal(conflicted._conflicts.length, 1);
    const open = await (await cluster.get('/_/conflicts?collection=pouch&state=open')).json;
    assert.deepEqual(open.map((row) => row.id), ['doc-5']);
    await assert.rejects(remote(db).get('doc-3'), (error) => error.status === 404 && error.reason === 'deleted');
  });

  /** What two databases say of all documents, histories included, must be the same. */
  async function expectSame(one, two) {
    const all = async (db) => (await db.allDocs({ include_docs: true, conflicts: true })).rows.map((row) => row.doc);
    assert.deepEqual(await all(two), await all(one));
  }

  test('PouchDB 9 pulls documents, deletions and conflicts', async () => {
    const db = await database('source');
    const docs = Array.from({ length: 120 }, (_, n) => ({ _id: `doc-${n}`, n }));
    const { json: made } = await couch('POST', `${db}/_bulk_docs`, { docs });
    await couch('DELETE', `${db}/doc-7?rev=${made[7].rev}`);
    await cluster.put('/source/native', { from: 'the native dialect' });
    await push(db, { _id: 'doc-8', _revisions: line(2, 'other', made[8].rev.slice(2)), n: 'other' });
    await couch('PUT', `${db}/doc-8`, { _rev: made[8].rev, n: 'mine' });
    await push(db, { _id: 'doc-8', _revisions: line(2, 'third', made[8].rev.slice(2)), n: 'third' });
    const here = local();
    const first = await here.replicate.from(remote(db));
    assert.equal(first.ok, true);
    await expectSame(remote(db), here);
    assert.equal((await here.get('doc-8', { conflicts: true }))._conflicts.length, (await remote(db).get('doc-8', { conflicts: true }))._conflicts.length);
    await assert.rejects(here.get('doc-7'), (error) => error.reason === 'deleted');
    assert.equal((await here.replicate.from(remote(db))).docs_read, 0);
    await couch('PUT', `${db}/later`, {});
    assert.equal((await here.replicate.from(remote(db))).docs_written, 1);
  });

  test('PouchDB 9 pulls and pushes members with an underscore, and the stub of a split', async () => {
    const db = await database('stubs');
    await cluster.put('/stubs/native', { _foo: 1, '~_foo': 2 });
    await push(db, { _id: 'x', _rev: '1-aa', a: 1 }, { _id: 'x', _rev: '1-bb', b: 1 });
    const { json: shown } = await cluster.get('/_/conflicts/stubs/x');
    const split = await cluster.post('/_/conflicts/stubs/x/resolve', { leaves: shown.leaves, split: true });
    assert.equal(split.status, 200, split.text);
    const here = local();
    assert.equal((await here.replicate.from(remote(db))).doc_write_failures, 0);
    await expectSame(remote(db), here);
    const native = await here.get('native');
    assert.deepEqual([native['~_foo'], native['~~_foo'], (await here.get('x'))['~_split'].length], [1, 2, 2]);
    await here.put({ ...native, '~_foo': 3 });
    assert.equal((await here.replicate.to(remote(db))).docs_written, 1);
    assert.deepEqual((await cluster.get('/stubs/native')).json, { id: 'native', _foo: 3, '~_foo': 2 });
    const other = await database('stubs-other');
    assert.equal((await here.replicate.to(remote(other))).doc_write_failures, 0);
    assert.deepEqual((await cluster.get('/stubs-other/x')).json, (await cluster.get('/stubs/x')).json);
  });

  test('PouchDB 9 pushes what can be stored, whatever else it has', async () => {
    const db = await database('storable');
    const L = local();
    await L.bulkDocs([{ _id: 'a' }, { _id: 'control\u0001' }, { _id: 'x'.repeat(600) }, { _id: 'z' }]);
    const { ok, docs_written: written, doc_write_failures: failures } = await L.replicate.to(remote(db));
    assert.deepEqual([ok, written, failures], [true, 2, 2]);
    assert.deepEqual((await couch('GET', `${db}/_all_docs`)).json.rows.map(({ id }) => id), ['a', 'z']);
  });

  test('two PouchDBs that sync end up with what the policy made of their edits', async () => {
    await couch('PUT', '/shared');
    await cluster.insist('PATCH', '/_/collections/shared', { body: { policy: { strategy: 'merge', fallback: 'newest', paths: { tags: 'set' } } } });
    const [one, two] = [local(), local()];
    await one.put({ _id: 'note', title: 'a', tags: ['x'] });
    await one.sync(remote('/shared'));
    await two.sync(remote('/shared'));
    await one.put({ ...(await one.get('note')), tags: ['x', 'one'] });
    await two.put({ ...(await two.get('note')), title: 'b', tags: ['x', 'two'] });
    await one.sync(remote('/shared'));
    await two.sync(remote('/shared'));
    const merged = await until('the conflict is resolved', 20000, async () => {
      const { json } = await couch('GET', '/shared/note?conflicts=true');
      return json._rev.startsWith('3-') && !json._conflicts && json;
    });
    assert.deepEqual([merged.title, merged.tags.sort()], ['b', ['one', 'two', 'x']]);
    for (const pouch of [one, two, one]) await pouch.sync(remote('/shared'));
    for (const pouch of [one, two]) {
      const doc = await pouch.get('note', { conflicts: true });
      assert.deepEqual([doc._rev, doc.title, doc._conflicts], [merged._rev, 'b', undefined]);
    }
    assert.equal((await couch('GET', '/shared/note')).json._rev, merged._rev);
  });

  test('live sync both ways, with the gateway killed underneath', async () => {
    await couch('PUT', '/live');
    const [one, two] = [local(), local()];
    const syncs = [one, two].map((pouch) => pouch.sync(remote('/live'), { live: true, retry: true, back_off_function: () => 100 }));
    try {
      await one.put({ _id: 'before' });
      await until('it has crossed', 20000, async () => (await two.get('before'))._id);
      cluster.killNow('gateway-1');
      await one.put({ _id: 'while', from: 'one' });
      await two.put({ _id: 'away', from: 'two' });
      await cluster.dev('restart', 'gateway-1');
      await until('both have crossed', 30000, async () => (await two.get('while'))._id && (await one.get('away'))._id);
      await expectSame(one, two);
    } finally {
      for (const sync of syncs) sync.cancel();
    }
  });
});
