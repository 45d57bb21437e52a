// The CouchDB dialect over real connections: what curl would send, and nano as it comes from npm.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:https';
import { after, before, describe } from 'node:test';
import { gzipSync } from 'node:zlib';
import nanoModule from 'nano';
import { Agent as Dispatcher } from 'undici';
import { couchClient, couchUrl, expectError } from './couch-lib.mjs';
import { check, startCluster, until } from './lib.mjs';

let cluster;
let nano;
const test = (what, body) => check(() => cluster, what, body);

const { couch, database } = couchClient(() => cluster);

describe('the CouchDB dialect', () => {
  before(async () => {
    cluster = await startCluster('couch', { gateways: 2 });
    const dispatcher = new Dispatcher({ connect: cluster.tls });
    nano = nanoModule({ url: couchUrl(cluster).origin, agentOptions: dispatcher });
    cluster.dispatcher = dispatcher;
  });
  after(async () => {
    await cluster?.dispatcher?.close();
    await cluster?.down();
  });

  test('the server tells about itself', async () => {
    const root = await couch('GET', '/', { headers: { Authorization: 'Basic: x' } });
    assert.equal(root.json.couchdb, 'Welcome');
    assert.match(root.json.uuid, /^[0-9a-f]{32}$/);
    assert.equal(root.headers['cache-control'], 'must-revalidate');
    assert.equal((await couch('GET', '/', { gateway: 2 })).json.uuid, root.json.uuid);
    assert.equal((await couch('GET', '/_up')).json.status, 'ok');
    assert.equal((await couch('GET', '/_uuids?count=3')).json.uuids.length, 3);
    assert.equal((await couch('GET', '/_session')).json.userCtx.name, 'admin');
    assert.deepEqual((await couch('GET', '/_membership')).json.cluster_nodes.sort(), ['storage-1', 'storage-2', 'storage-3']);
  });

  test('databases are made, described and dropped, under any name that CouchDB takes', async () => {
    for (const name of ['az09_$()+-/', 'with/slash', 'testdb_1234567890123', 'system_x']) {
      const db = await database(name);
      expectError(await couch('PUT', db), 412, 'file_exists', 'The database could not be created, the file already exists.');
      const info = await couch('GET', `${db}/`);
      assert.equal(info.json.db_name, name);
      assert.equal(info.json.doc_count, 0);
      assert.equal(info.json.instance_start_time, '0');
      assert.equal(typeof info.json.update_seq, 'string');
      assert.ok((await couch('GET', '/_all_dbs')).json.includes(name));
      assert.equal((await couch('HEAD', db)).status, 200);
      assert.equal((await couch('DELETE', db)).status, 200);
      expectError(await couch('GET', db), 404, 'not_found', 'Database does not exist.');
      expectError(await couch('DELETE', db), 404, 'not_found', 'Database does not exist.');
    }
    assert.equal((await couch('PUT', '/Capital')).json.error, 'illegal_database_name');
    assert.deepEqual((await couch('GET', '/_all_dbs')).json, []);
  });

  test('a database that is dropped and made again is empty, through either gateway', async () => {
    for (let round = 0; round < 3; round++) {
      const db = await database('again');
      assert.equal((await couch('PUT', `${db}/a`, { body: { round } })).status, 201);
      const dropped = await couch('DELETE', db);
      assert.equal(dropped.status, 200, dropped.text);
      const made = await couch('PUT', db, { gateway: 2 });
      assert.equal(made.status, 201, made.text);
      expectError(await couch('GET', `${db}/a`, { gateway: 2 }), 404, 'not_found', 'missing');
      assert.equal((await couch('GET', db, { gateway: 2 })).json.doc_count, 0);
    }
  });

  test('a node that was away does not bring a dropped database back', async () => {
    const db = await database('away');
    assert.equal((await couch('PUT', `${db}/a`, { body: {} })).status, 201);
    cluster.killNow('storage-2');
    assert.equal((await couch('DELETE', db)).status, 200);
    await until('it is made with two nodes', 15000, async () => (await couch('PUT', db)).status === 201);
    await cluster.dev('restart', 'storage-2');
    await until('the node gave its copies up', 15000, () => cluster.log('storage-2').includes('collection_dropped'));
    expectError(await couch('GET', `${db}/a`), 404, 'not_found', 'missing');
    assert.ok((await cluster.get('/system.collections/away')).json.documentCount === 0);
    await until('all are healthy', 20000, async () => (await cluster.get('/system.nodes')).json.every((node) => node.health === 'healthy'));
  });

  test('documents', async () => {
    const db = await database('documents');
    const first = await couch('PUT', `${db}/a%2Fb`, { body: { _id: 'a/b', id: 5, x: [1.5, null] } });
    assert.equal(first.status, 201);
    assert.equal(first.etag, `"${first.json.rev}"`);
    expectError(await couch('PUT', `${db}/a%2Fb`, { body: {} }), 409, 'conflict', 'Document update conflict.');
    const read = await couch('GET', `${db}/a%2Fb`);
    assert.deepEqual(read.json, { _id: 'a/b', _rev: first.json.rev, id: 5, x: [1.5, null] });
    assert.equal((await couch('GET', `${db}/a%2Fb`, { headers: { 'If-None-Match': read.etag } })).status, 304);
    assert.equal((await couch('HEAD', `${db}/a%2Fb`)).etag, read.etag);
    const second = await couch('PUT', `${db}/a%2Fb`, { body: { ...read.json, x: 2 } });
    const history = await couch('GET', `${db}/a%2Fb?revs=true`);
    assert.deepEqual(history.json._revisions, { start: 2, ids: [second.json.rev.slice(2), first.json.rev.slice(2)] });
    const gone = await couch('DELETE', `${db}/a%2Fb?rev=${second.json.rev}`);
    assert.equal(gone.status, 200);
    expectError(await couch('GET', `${db}/a%2Fb`), 404, 'not_found', 'deleted');
    expectError(await couch('GET', `${db}/nothing`), 404, 'not_found', 'missing');
    assert.equal((await couch('GET', `${db}/a%2Fb?rev=${gone.json.rev}`)).json._deleted, true);
    const back = await couch('PUT', `${db}/a%2Fb`, { body: { _rev: gone.json.rev } });
    assert.match(back.json.rev, /^4-/);
    let rev = (await couch('PUT', `${db}/match`, { body: {} })).json.rev;
    for (const quote of ['', '"']) {
      const written = await couch('PUT', `${db}/match`, { body: { quote }, headers: { 'If-Match': `${quote}${rev}${quote}` } });
      assert.equal(written.status, 201, written.text);
      expectError(await couch('DELETE', `${db}/match`, { headers: { 'If-Match': `${quote}${rev}${quote}` } }), 409, 'conflict', 'Document update conflict.');
      const removed = await couch('DELETE', `${db}/match`, { headers: { 'If-Match': `${quote}${written.json.rev}${quote}` } });
      assert.equal(removed.status, 200, removed.text);
      rev = removed.json.rev;
    }
    const posted = await couch('POST', db, { body: { y: 1 } });
    assert.ok(posted.json.id.length > 20);
    const copied = await couch('COPY', `${db}/${posted.json.id}`, { headers: { Destination: 'copy' } });
    assert.equal(copied.status, 201, copied.text);
    assert.equal((await couch('GET', `${db}/copy`)).json.y, 1);
    for (const path of ['_design/foo', '_design%2Ffoo']) {
      const design = await couch('GET', `${db}/${path}`);
      const saved = await couch('PUT', `${db}/${path}`, { body: { ...design.json?._rev && { _rev: design.json._rev }, views: {} } });
      assert.equal(saved.json.id, '_design/foo', saved.text);
    }
    const info = await couch('GET', db);
    assert.equal(info.json.doc_count, 4);
  });

  test('the same documents in both dialects', async () => {
    const db = await database('both');
    await cluster.put('/both/n', { id: 'n', _id: 'own', a: 1 });
    const read = await couch('GET', `${db}/n`);
    assert.deepEqual(read.json, { _id: 'n', _rev: read.json._rev, id: 'own', a: 1 });
    await couch('PUT', `${db}/n`, { body: { ...read.json, a: 2 } });
    assert.deepEqual((await cluster.get('/both/n')).json, { id: 'n', _id: 'own', a: 2 });
  });

  test('members with an underscore are shown with a tilde, and mean the same when they are sent back', async () => {
    const db = await database('tildes');
    const native = { _id: 'own', '~_id': 'id', _foo: 1, '~_foo': 2, __foo: 3, _rev: 'mine', _deleted: true, _conflicts: [], _replication_state: 'x', '~a': 4 };
    const shown = { id: 'own', '~_id': 'id', '~_foo': 1, '~~_foo': 2, '~__foo': 3, '~_rev': 'mine', '~_deleted': true, '~_conflicts': [], _replication_state: 'x', '~a': 4 };
    await cluster.put('/tildes/n', { id: 'n', ...native });
    const { json } = await couch('GET', `${db}/n`);
    assert.deepEqual(json, { _id: 'n', _rev: json._rev, ...shown });
    const again = await couch('PUT', `${db}/n`, { body: { ...json, v: 2 } });
    assert.equal(again.status, 201, again.text);
    assert.deepEqual((await cluster.get('/tildes/n')).json, { id: 'n', ...native, v: 2 });
    // and what comes from elsewhere
    const pushed = await couch('POST', `${db}/_bulk_docs`, { body: { docs: [{ _id: 'p', _rev: '1-a', ...shown }], new_edits: false } });
    assert.deepEqual(pushed.json, [], pushed.text);
    assert.deepEqual((await cluster.get('/tildes/p')).json, { id: 'p', ...native });
    const doc = { _id: 'p', _rev: '1-a', ...shown };
    const post = async (path, body) => {
      const answer = await couch(body ? 'POST' : 'GET', `${db}/${path}`, { body });
      assert.equal(answer.status, 200, answer.text);
      return answer.json;
    };
    assert.deepEqual((await post('_bulk_get', { docs: [{ id: 'p' }] })).results[0].docs, [{ ok: doc }]);
    assert.deepEqual((await post('_all_docs?include_docs=true')).rows.find((row) => row.id === 'p').doc, doc);
    assert.deepEqual((await post('_changes?include_docs=true')).results.find((row) => row.id === 'p').doc, doc);
    assert.deepEqual((await post('p?open_revs=all')), [{ ok: doc }]);
    assert.match((await couch('GET', `${db}/p?open_revs=all`, { headers: { Accept: 'multipart/mixed' } })).text, /"~_foo":1,/);
    assert.deepEqual((await post('_changes?filter=_selector', { selector: { '~~_foo': 2, v: { $exists: false } } })).results.map((row) => row.id), ['p']);
    expectError(await couch('PUT', `${db}/q`, { body: { _foo: 1 } }), 400, 'doc_validation', 'Bad special document member: _foo');
  });

  test('names of databases are listed in ranges', async () => {
    for (const name of ['range-a', 'range-b', 'range-c', 'range-d']) await database(name);
    const names = async (query) => (await couch('GET', `/_all_dbs?${query}`)).json;
    const range = 'startkey="range-"&endkey="range-~"';
    assert.deepEqual(await names(range), ['range-a', 'range-b', 'range-c', 'range-d']);
    assert.deepEqual(await names(`${range}&skip=1&limit=2`), ['range-b', 'range-c']);
    assert.deepEqual(await names('start_key="range-c"&end_key="range-a"&descending=true&skip=1'), ['range-b', 'range-a']);
    assert.deepEqual(await names('startkey="range-b"&endkey="range-a"'), []);
    assert.deepEqual(await names(`${range}&limit=0`), []);
    assert.deepEqual((await couch('GET', `/_dbs_info?${range}&limit=2`)).json.map(({ key }) => key), ['range-a', 'range-b']);
    for (const query of ['limit=-1', 'descending=1', 'startkey=5', 'endkey=x'])
      for (const path of ['_all_dbs', '_dbs_info']) assert.equal((await couch('GET', `/${path}?${query}`)).json.error, 'query_parse_error', query);
  });

  test('bodies may come with gzip', async () => {
    const db = await database('coded');
    const sent = (method, path, body, coding = 'gzip') => couch(method, `${db}${path}`, { body, headers: { 'Content-Encoding': coding } });
    const coded = (value) => gzipSync(JSON.stringify(value));
    const text = 'the same again '.repeat(20000);
    assert.equal((await sent('PUT', '/a', coded({ text }))).status, 201);
    assert.equal((await couch('GET', `${db}/a`)).json.text, text);
    const many = await sent('POST', '/_bulk_docs', coded({ docs: [{ _id: 'b' }, { _id: 'c' }] }));
    assert.deepEqual(many.json.map((row) => row.id), ['b', 'c'], many.text);
    assert.equal((await sent('POST', '/_find', coded({ selector: { _id: 'c' } }))).json.docs.length, 1);
    await couch('PUT', `${db}/_design/v`, { body: { views: { all: { map: 'function (doc) { emit(doc._id, null); }' } } } });
    assert.equal((await sent('POST', '/_design/v/_view/all', coded({ keys: ['b', 'c'] }))).json.rows.length, 2);
    assert.equal((await sent('PUT', '/d', '{}', 'identity')).status, 201);
    assert.equal((await sent('GET', '/d')).status, 200, 'nothing is coded');
    const other = [415, 'bad_content_type', 'Only gzip and identity content-encodings are supported'];
    for (const coding of ['deflate', 'br', 'gzip, gzip']) expectError(await sent('PUT', '/e', coded({}), coding), ...other);
    const broken = [400, 'bad_request', 'Request body is not properly gzipped.'];
    for (const body of ['{}', coded({}).subarray(0, -1), Buffer.concat([coded({}), Buffer.from('x')])]) expectError(await sent('PUT', '/e', body), ...broken);
    expectError(await sent('PUT', '/e', gzipSync('')), 400, 'bad_request', 'invalid UTF-8 JSON');
    const bomb = await sent('PUT', '/e', gzipSync(Buffer.alloc(65 * 2 ** 20)));
    assert.deepEqual([bomb.status, bomb.json.error], [413, 'document_too_large']);
    assert.equal((await couch('GET', `${db}/e`)).status, 404);
  });

  test('natively made documents under words of this API are in no list', async () => {
    const db = await database('words');
    assert.equal((await couch('PUT', `${db}/a`, { body: { n: 1 } })).status, 201);
    await couch('PUT', `${db}/_design/v`, { body: { views: { all: { map: 'function (doc) { emit(doc._id, null); }' } } } });
    for (const id of ['_foo', '_local%2Fx', '_design'])
      assert.equal((await cluster.put(`/words/${id}`, { n: 1 })).status, 201);
    const listed = async (path, options) => {
      const answer = await couch(options?.body ? 'POST' : 'GET', `${db}/${path}`, options);
      assert.equal(answer.status, 200, answer.text);
      return (answer.json.rows ?? answer.json.results ?? answer.json.docs).map((row) => row.id ?? row._id ?? row.error).sort();
    };
    assert.deepEqual(await listed('_all_docs'), ['_design/v', 'a']);
    assert.deepEqual(await listed('_all_docs?include_docs=true&descending=true'), ['_design/v', 'a']);
    assert.deepEqual(await listed('_all_docs', { body: { keys: ['_foo', 'a'] } }), ['a', 'not_found']);
    assert.deepEqual(await listed('_changes?include_docs=true'), ['_design/v', 'a']);
    assert.deepEqual(await listed('_changes?filter=_doc_ids', { body: { doc_ids: ['_foo', 'a'] } }), ['a']);
    assert.deepEqual(await listed('_find', { body: { selector: { n: 1 } } }), ['a']);
    let rows;
    await until('the view is built', 20000, async () => {
      const answer = await couch('GET', `${db}/_design/v/_view/all`);
      rows = answer.json.rows;
      return answer.status === 200;
    });
    assert.deepEqual(rows.map((row) => row.id), ['a']);
    expectError(await couch('GET', `${db}/_foo`), 404, 'not_found', 'missing');
    await database('words-copy');
    const copied = await couch('POST', '/_replicate', { body: { source: 'words', target: 'words-copy' } });
    assert.equal(copied.json.ok, true, copied.text);
    assert.equal((await couch('GET', '/words-copy')).json.doc_count, 2);
  });

  test('_bulk_docs and _all_docs', async () => {
    const db = await database('bulk');
    const docs = ['a', 'b', 'c', 'd', 'e'].map((_id) => ({ _id, n: _id }));
    const written = await couch('POST', `${db}/_bulk_docs`, { body: { docs } });
    assert.equal(written.status, 201);
    assert.deepEqual(written.json.map((row) => [row.ok, row.id]), docs.map(({ _id }) => [true, _id]));
    const again = await couch('POST', `${db}/_bulk_docs`, { body: { docs: [{ _id: 'a' }, { _id: 'f' }] } });
    assert.deepEqual(again.json[0], { id: 'a', error: 'conflict', reason: 'Document update conflict.' });
    assert.equal(again.json[1].ok, true);
    await couch('DELETE', `${db}/f?rev=${again.json[1].rev}`);
    const ids = async (query) => (await couch('GET', `${db}/_all_docs?${query}`)).json.rows.map((row) => row.id).join('');
    const all = await couch('GET', `${db}/_all_docs?include_docs=true&update_seq=true`);
    assert.equal(all.json.total_rows, 5);
    assert.equal(all.json.offset, 0);
    assert.equal(all.json.rows[1].doc.n, 'b');
    assert.equal(all.json.rows[1].value.rev, all.json.rows[1].doc._rev);
    assert.equal(typeof all.json.update_seq, 'string');
    assert.equal(await ids('limit=0'), '');
    assert.equal(await ids('limit=2&skip=1'), 'bc');
    assert.equal(await ids('startkey="b"&endkey="d"'), 'bcd');
    assert.equal(await ids('startkey="b"&endkey="d"&inclusive_end=false'), 'bc');
    assert.equal(await ids('startkey="d"&endkey="b"&descending=true'), 'dcb');
    assert.equal(await ids('descending=true&limit=2'), 'ed');
    assert.equal(await ids('key="c"'), 'c');
    assert.equal(await ids('key="cc"'), '');
    const keys = await couch('POST', `${db}/_all_docs`, { body: { keys: ['f', 'x', 'a', 'a'], include_docs: true } });
    const [deleted, absent, ...twice] = keys.json.rows;
    assert.equal(deleted.value.deleted, true);
    assert.equal(deleted.doc, null);
    assert.deepEqual(absent, { key: 'x', error: 'not_found' });
    assert.deepEqual(twice.map((row) => row.doc._id), ['a', 'a']);
  });

  test('_local documents', async () => {
    const db = await database('local');
    const path = `${db}/_local/check%3D%3D`;
    expectError(await couch('GET', path), 404, 'not_found', 'missing');
    const first = await couch('PUT', path, { body: { seq: 1 } });
    assert.equal(first.status, 201, first.text);
    assert.deepEqual(first.json, { ok: true, id: '_local/check==', rev: '0-1' });
    const second = await couch('PUT', path, { body: { _id: '_local/check==', _rev: '0-1', seq: 2 } });
    assert.equal(second.json.rev, '0-2');
    assert.equal((await couch('PUT', path, { body: { _rev: '0-1' } })).status, 409);
    assert.ok((await couch('PUT', path, { body: { _rev: '1-fake' } })).status >= 400);
    assert.deepEqual((await couch('GET', path)).json, { _id: '_local/check==', _rev: '0-2', seq: 2 });
    assert.equal((await couch('PUT', path, { body: { seq: 3 } })).json.rev, '0-3');
    assert.equal((await couch('GET', db)).json.doc_count, 0);
    assert.equal((await couch('DELETE', `${path}?rev=0-3`)).status, 200);
    expectError(await couch('GET', path), 404, 'not_found', 'missing');
    assert.ok(!(await cluster.get('/system.collections')).json.some((row) => row.name?.startsWith('system.')));
    assert.equal((await cluster.get('/system.local/x')).status, 404);
    await couch('PUT', `${db}/a`, { body: {} });
    for (const [method, to, options] of [['COPY', `${db}/a`, { headers: { destination: '_local/c' } }], ['POST', db, { body: { _id: '_local/p' } }]])
      expectError(await couch(method, to, options), 400, 'illegal_docid', 'Only reserved document ids may start with underscore.');
    assert.deepEqual((await couch('GET', `${db}/_all_docs`)).json.rows.map((row) => row.id), ['a']);
  });

  test('_local documents in _bulk_docs', async () => {
    const db = await database('local-bulk');
    const bulk = (docs, more) => couch('POST', `${db}/_bulk_docs`, { body: { docs, ...more } });
    const get = async (id) => (await couch('GET', `${db}/${id}`)).json;
    const made = await bulk([{ _id: '_local/x', n: 1 }, { _id: 'a' }, { _id: '_local/y', id: 7 }]);
    assert.equal(made.status, 201, made.text);
    assert.deepEqual(made.json[0], { ok: true, id: '_local/x', rev: '0-1' });
    assert.match(made.json[1].rev, /^1-/);
    assert.deepEqual(made.json[2], { ok: true, id: '_local/y', rev: '0-1' });
    assert.deepEqual(await get('_local/y'), { _id: '_local/y', _rev: '0-1', id: 7 });
    assert.equal((await get('')).doc_count, 1);

    const next = await bulk([
      { _id: '_local/x', _rev: '0-1', n: 2 }, { _id: '_local/y', _rev: '0-9' }, { _id: '_local/z', _rev: '0-1' }, { _id: 'a' },
    ]);
    assert.deepEqual(next.json, [
      { ok: true, id: '_local/x', rev: '0-2' }, ...['_local/y', '_local/z', 'a'].map((id) => (
        { id, error: 'conflict', reason: 'Document update conflict.' })),
    ]);
    expectError(await bulk([{ _id: '_local/x', _rev: '1-fake' }, { _id: 'b' }]), 400, 'bad_request', 'Invalid rev format');
    assert.equal((await couch('GET', `${db}/b`)).status, 404);
    const gone = await bulk([{ _id: '_local/y', _rev: '0-1', _deleted: true }]);
    assert.deepEqual(gone.json, [{ ok: true, id: '_local/y', rev: '0-0' }]);
    expectError(await couch('GET', `${db}/_local/y`), 404, 'not_found', 'missing');

    const old = { new_edits: false };
    const pushed = await bulk([{ _id: '_local/x', _rev: '0-7', n: 3 }, { _id: 'c', _rev: '1-abc' }], old);
    assert.equal(pushed.status, 201, pushed.text);
    assert.deepEqual(pushed.json, []);
    assert.deepEqual(await get('_local/x'), { _id: '_local/x', _rev: '0-3', n: 3 });
    assert.equal((await get('c'))._rev, '1-abc');
    assert.deepEqual((await bulk([{ _id: '_local/never', _rev: '0-1', _deleted: true }], old)).json, []);
    assert.equal((await bulk([{ _id: '_local/x' }], old)).status, 400);
  });

  test('what is not there yet is told in CouchDB’s form', async () => {
    const db = await database('later');
    for (const path of ['/_reshard', '/_reshard/jobs', `${db}/_design/d/_rewrite`, `${db}/_design/d/_rewrite/a/b`])
      for (const method of ['GET', 'POST'])
        expectError(await couch(method, path), 501, 'not_implemented', 'This server does not have this yet.');
    assert.deepEqual((await couch('GET', `${db}/_purged_infos`)).json, { purged_infos: [] });
    assert.equal((await couch('GET', `${db}/_purged_infos_limit`)).json, 0);
    assert.equal((await couch('PUT', `${db}/_purged_infos_limit`, { body: '1000' })).status, 200);
    expectError(await couch('GET', `${db}/_nothing`), 404, 'not_found', 'missing');
    assert.equal((await couch('PATCH', db, { body: {} })).json.error, 'method_not_allowed');
  });

  test('_design_docs, _local_docs and _shards', async () => {
    const db = await database('lists');
    for (const path of ['_design/a', '_design/b', 'a', 'z', '_local/x', '_local/y']) {
      const written = await couch('PUT', `${db}/${path}`, { body: { at: path } });
      assert.equal(written.status, 201, written.text);
    }
    const list = async (path, options) => (await couch('GET', db + path, options)).json;
    const ids = async (path) => (await list(path)).rows.map((row) => row.id).join(' ');
    assert.equal(await ids('/_design_docs'), '_design/a _design/b');
    assert.equal((await list('/_design_docs')).total_rows, 2);
    assert.equal(await ids('/_design_docs?descending=true&limit=1'), '_design/b');
    assert.equal(await ids('/_design_docs?startkey="_design/b"'), '_design/b');
    assert.equal(await ids('/_design_docs?key="a"'), '');
    assert.equal((await list('/_design_docs?include_docs=true')).rows[0].doc.at, '_design/a');
    assert.equal(await ids('/_local_docs'), '_local/x _local/y');
    assert.equal(await ids('/_local_docs?skip=1'), '_local/y');
    const [row] = (await list('/_local_docs?include_docs=true&limit=1')).rows;
    assert.deepEqual(row, { id: '_local/x', key: '_local/x', value: { rev: '0-1' }, doc: { _id: '_local/x', _rev: '0-1', at: '_local/x' } });
    const { shards } = await list('/_shards');
    const first = Object.keys(shards)[0];
    assert.match(first, /^00000000-[0-9a-f]{8}$/);
    assert.deepEqual([...shards[first]].sort(), ['storage-1', 'storage-2', 'storage-3']);
    const place = await list('/_shards/a');
    assert.deepEqual([...shards[place.range]].sort(), [...place.nodes].sort());
    expectError(await couch('GET', '/nothing/_shards'), 404, 'not_found', 'Database does not exist.');
  });

  test('what a gateway tells of itself', async () => {
    assert.deepEqual((await couch('GET', '/_node/_local')).json, { name: 'gateway-1' });
    const stats = (await couch('GET', '/_node/_local/_stats')).json.couchdb;
    assert.ok(stats.httpd.requests.value > 0 && stats.httpd_request_methods.PUT.value > 0);
    assert.ok(stats.httpd_status_codes['201'].value > 0);
    assert.match((await couch('GET', '/_node/_local/_prometheus')).text, /^parley_http_inflight_requests \d+$/m);
    const config = (await couch('GET', '/_node/_local/_config')).json;
    assert.equal(config.couchdb.max_document_size, '8000000');
    assert.deepEqual((await couch('GET', '/_node/_local/_config/cors')).json, config.cors);
    assert.equal((await couch('GET', '/_node/_local/_config/couchdb/max_document_size')).json, '8000000');
    expectError(await couch('GET', '/_node/_local/_config/cors/secret'), 404, 'not_found', 'unknown_config_value');
    assert.equal((await couch('PUT', '/_node/_local/_config/cors/origins', { body: '"*"' })).status, 405);
    assert.ok(!JSON.stringify(config).includes('secret'));
  });

  test('_purge takes versions out for good', async () => {
    const db = await database('purge');
    await cluster.send('PATCH', '/_/collections/purge', { body: { policy: { strategy: 'none' } } });
    const since = (await couch('GET', db)).json.update_seq;
    const { rev } = (await couch('PUT', `${db}/a`, { body: { v: 1 } })).json;
    assert.equal((await couch('PUT', `${db}/b`, { body: {} })).status, 201);
    const purged = await couch('POST', `${db}/_purge`, { body: { a: [rev, '9-none'], none: ['1-x'] } });
    assert.equal(purged.status, 201, purged.text);
    assert.deepEqual(purged.json, { purge_seq: null, purged: { a: [rev], none: [] } });
    expectError(await couch('GET', `${db}/a`), 404, 'not_found', 'missing');
    const changes = (await couch('GET', `${db}/_changes?since=${since}`)).json.results;
    assert.deepEqual(changes.map((row) => row.id), ['b']);
    const info = (await couch('GET', db)).json;
    assert.deepEqual([info.doc_count, info.doc_del_count, info.purge_seq], [1, 0, '1']);
    const docs = ['x', 'y'].map((hash, v) => ({ _id: 'c', v, _revisions: { start: 2, ids: [hash, 'r'] } }));
    const pushed = await couch('POST', `${db}/_bulk_docs`, { body: { docs, new_edits: false } });
    assert.deepEqual(pushed.json, []);
    assert.equal((await couch('GET', `${db}/c?conflicts=true`)).json.v, 1);
    assert.deepEqual((await couch('POST', `${db}/_purge`, { body: { c: ['2-y'] } })).json.purged, { c: ['2-y'] });
    const left = (await couch('GET', `${db}/c?conflicts=true&revs=true`)).json;
    assert.deepEqual(left, { _id: 'c', _rev: '2-x', v: 0, _revisions: { start: 2, ids: ['x', 'r'] } });
    const told = (await couch('GET', `${db}/_changes?since=${since}`)).json.results.at(-1);
    assert.deepEqual([told.id, told.changes], ['c', [{ rev: '2-x' }]]);
    expectError(await couch('POST', `${db}/_purge`, { body: { c: ['x'] } }), 400, 'bad_request', 'Invalid rev format');
  });

  test('_purge takes rows of views and attachments along', async () => {
    const db = await database('purge_views');
    const map = 'function (doc) { emit(doc._id, doc.v); }';
    assert.equal((await couch('PUT', `${db}/_design/v`, { body: { views: { all: { map } } } })).status, 201);
    const attachment = { content_type: 'text/plain', data: Buffer.from('secret').toString('base64') };
    const { rev } = (await couch('PUT', `${db}/a`, { body: { v: 1, _attachments: { t: attachment } } })).json;
    await couch('PUT', `${db}/b`, { body: { v: 2 } });
    const rows = async () => (await couch('GET', `${db}/_design/v/_view/all`)).json.rows.map((row) => row.id);
    assert.deepEqual(await rows(), ['a', 'b']);
    assert.deepEqual((await couch('POST', `${db}/_purge`, { body: { a: [rev] } })).json.purged, { a: [rev] });
    assert.deepEqual(await rows(), ['b']);
    expectError(await couch('GET', `${db}/a/t`), 404, 'not_found', 'missing');
    await couch('PUT', `${db}/a`, { body: { v: 3 } });
    assert.deepEqual(await rows(), ['a', 'b']);
  });

  test('_db_updates tells what was made, changed and dropped', async () => {
    const db = await database('updates');
    const updates = async (query) => (await couch('GET', `/_db_updates?${query}`)).json;
    const mine = (answer) => answer.results.filter((row) => row.db_name === 'updates').map((row) => row.type);
    assert.deepEqual(mine(await updates('')), ['created']);
    const { last_seq: start } = await updates('since=now');
    assert.deepEqual((await updates(`since=${start}`)).results, []);
    await couch('PUT', `${db}/a`, { body: {} });
    const later = await couch('GET', `/_db_updates?since=${start}`, { gateway: 2 });
    assert.deepEqual(later.json.results.map((row) => [row.db_name, row.type]), [['updates', 'updated']]);
    const waiting = couch('GET', `/_db_updates?feed=longpoll&since=${later.json.last_seq}`);
    await couch('PUT', `${db}/b`, { body: {} });
    assert.deepEqual(mine((await waiting).json), ['updated']);
    const told = [];
    const feed = request(couchUrl(cluster, '/_db_updates?feed=continuous&since=now&heartbeat=100'), cluster.tls);
    feed.on('error', () => {}).end();
    const [answer] = await once(feed, 'response');
    answer.setEncoding('utf8').on('error', () => {}).on('data', (part) => told.push(part));
    await until('the feed is open', 10000, () => told.length > 0);
    await couch('PUT', `${db}/c`, { body: {} });
    await until('a change is told', 10000, () => told.join('').includes('"updated"'));
    assert.equal((await couch('DELETE', db)).status, 200);
    await until('a drop is told', 10000, () => told.join('').includes('"deleted"'));
    await database('updates');
    await until('a new one is told', 10000, () => told.join('').includes('"created"'));
    feed.destroy();
  });

  test('pages of other sites change nothing', async () => {
    const db = await database('foreign');
    const evil = { Origin: 'https://evil.example' };
    const own = { Origin: couchUrl(cluster).origin };
    const body = { x: 1 };
    for (const [method, path] of [['PUT', `${db}/a`], ['POST', db], ['DELETE', db], ['POST', `${db}/_bulk_docs`]]) {
      const refused = await couch(method, path, { headers: evil, body });
      assert.deepEqual([refused.status, refused.json.error], [403, 'foreign_origin']);
    }
    assert.equal((await couch('PUT', `${db}/a`, { headers: { Origin: 'null' }, body })).status, 403);
    assert.equal((await couch('PUT', `${db}/a`, { headers: own, body })).status, 201);
    assert.equal((await couch('GET', `${db}/a`, { headers: evil })).status, 200);
    const native = await cluster.put('/foreign/b', { x: 1 }, evil);
    assert.deepEqual([native.status, native.json.code], [403, 'foreign_origin']);
    assert.equal((await cluster.put('/foreign/b', { x: 1 }, { Origin: cluster.url('/').origin })).status, 201);
    const upgrade = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==' };
    assert.equal((await cluster.get('/', { headers: { ...upgrade, ...evil } })).status, 403);
    expectError(await couch('POST', db, { headers: { 'Content-Type': 'text/plain' }, body: '{}' }), 415, 'bad_content_type',
      'Content-Type must be application/json');
    assert.equal((await couch('POST', db, { headers: { 'Content-Type': 'application/json; charset=utf-8' }, body: '{}' })).status, 201);
  });

  test('errors are those of CouchDB', async () => {
    const db = await database('errors');
    const { rev } = (await couch('PUT', `${db}/doc`, { body: { a: 1 } })).json;
    const missing = [404, 'not_found', 'missing'];
    const noDatabase = [404, 'not_found', 'Database does not exist.'];
    const badRev = [400, 'bad_request', 'Invalid rev format'];
    const conflict = [409, 'conflict', 'Document update conflict.'];
    const reserved = [400, 'illegal_docid', 'Only reserved document ids may start with underscore.'];
    const keys = '`keys` is incompatible with `key`, `start_key` and `end_key`';
    const cases = [
      ['GET', '/none', , noDatabase],
      ['DELETE', '/none', , noDatabase],
      ['PUT', '/none/doc', {}, noDatabase],
      ['POST', '/none/_bulk_docs', { docs: [] }, noDatabase],
      ['POST', '/none/_purge', {}, noDatabase],
      ['GET', `${db}/none`, , missing],
      ['GET', `${db}/doc?rev=9-none`, , missing],
      ['GET', `${db}/doc?rev=none`, , badRev],
      ['GET', `${db}/doc?open_revs=["x"]`, , badRev],
      ['GET', `${db}/doc?open_revs=foo`, , [400, 'bad_request', 'Invalid list of revisions']],
      ['POST', `${db}/_compact/none`, {}, missing],
      ['PUT', `${db}/doc`, {}, conflict],
      ['PUT', `${db}/doc`, { _rev: 'x' }, badRev],
      ['PUT', `${db}/doc?rev=1-x`, { _rev: rev }, [400, 'bad_request', 'Document rev from request body and query string have different values']],
      ['DELETE', `${db}/doc?rev=1-x`, , conflict],
      ['DELETE', `${db}/doc?rev=0`, , badRev],
      ['PUT', `${db}/_zing`, {}, reserved],
      ['PUT', `${db}/doc`, { _zing: 1 }, [400, 'doc_validation', 'Bad special document member: _zing']],
      ['PUT', `${db}/doc`, [], [400, 'bad_request', 'Document must be a JSON object']],
      ['PUT', `${db}/doc`, '{', [400, 'bad_request', 'invalid UTF-8 JSON']],
      ['PUT', `${db}/doc`, { _attachments: { _a: { data: '' } } }, [400, 'bad_request', "Attachment name '_a' starts with prohibited character '_'"]],
      ['GET', `${db}/doc/none`, , [404, 'not_found', 'Document is missing attachment']],
      ['POST', db, { _id: 5 }, [400, 'illegal_docid', 'Document id must be a string']],
      ['POST', `${db}/_bulk_docs`, {}, [400, 'bad_request', 'POST body must include `docs` parameter.']],
      ['POST', `${db}/_bulk_docs`, { docs: 5 }, [400, 'bad_request', '`docs` parameter must be an array.']],
      ['POST', `${db}/_bulk_docs`, { docs: [{ _id: 'a' }, { _id: '_zing' }] }, reserved],
      ['POST', `${db}/_bulk_docs`, { docs: [{ _id: 'a', _rev: '1-a' }, { _id: '_zing', _rev: '1-a' }], new_edits: false }, reserved],
      ['GET', `${db}/a`, , missing],
      ['POST', `${db}/_bulk_docs`, { docs: [{ _id: 'a' }], new_edits: false },
        [400, 'bad_request', 'When `new_edits: false`, the document needs `_rev` or `_revisions` specified']],
      ['POST', `${db}/_bulk_docs`, { docs: [{ _id: 'a', _rev: '2-b', _revisions: { start: 2, ids: ['x', 'y'] } }], new_edits: false },
        [400, 'doc_validation', '_rev is not the first of _revisions.']],
      ['POST', `${db}/_bulk_docs`, { docs: [{ _id: 'a', _revisions: { start: 1, ids: ['x', 'y'] } }], new_edits: false },
        [400, 'doc_validation', '_revisions names more revisions than its start leaves room for.']],
      ['POST', `${db}/_all_docs`, { keys: 5 }, [400, 'bad_request', '`keys` body member must be an array.']],
      ['POST', `${db}/_all_docs?key="a"`, { keys: ['a'] }, [400, 'query_parse_error', keys]],
      ['POST', `${db}/_purge`, { doc: 5 }, [400, 'bad_request', 'Invalid list of revisions']],
      ['POST', `${db}/_purge`, [], [400, 'bad_request', 'Request body must be a JSON object']],
      ['POST', `${db}/_changes?filter=_doc_ids`, { doc_ids: 5 }, [400, 'bad_request', '`doc_ids` filter parameter is not a list.']],
      ['POST', `${db}/_changes?filter=_selector`, { selector: 5 }, [400, 'bad_request', 'Selector error: expected a JSON object']],
      ['POST', `${db}/_find`, {}, [400, 'missing_required_key', 'Missing required key: selector']],
      ['POST', `${db}/_find`, { selector: { $noor: [] } }, [400, 'invalid_operator', 'Invalid operator: $noor']],
      ['GET', '/_uuids?count=5000', , [400, 'bad_request', 'count parameter too large']],
      ['COPY', `${db}/doc`, , [400, 'bad_request', 'Destination header is mandatory for COPY.']],
    ];
    const told = [];
    for (const [method, path, body] of cases) {
      const { status, json } = await couch(method, path, { body });
      told.push([method, path, status, json?.error, json?.reason]);
    }
    assert.deepEqual(told, cases.map(([method, path, , expected]) => [method, path, ...expected]));
    let deep = { a: 1 };
    for (let level = 0; level < 60; level++) deep = { $not: deep };
    assert.equal((await couch('POST', `${db}/_find`, { body: { selector: deep } })).status, 400);
    assert.equal((await couch('PUT', `${db}/deep`, { body: '['.repeat(200) + ']'.repeat(200) })).status, 400);
    assert.deepEqual((await couch('GET', `${db}/doc`)).json, { _id: 'doc', _rev: rev, a: 1 });
  });

  test('nano 11', async () => {
    assert.equal((await nano.info()).couchdb, 'Welcome');
    await nano.db.create('nano_db');
    await assert.rejects(nano.db.create('nano_db'), (error) => error.statusCode === 412 && error.error === 'file_exists');
    const db = nano.use('nano_db');
    const { rev } = await db.insert({ hello: 'world' }, 'first');
    assert.deepEqual(await db.get('first'), { _id: 'first', _rev: rev, hello: 'world' });
    await assert.rejects(db.insert({}, 'first'), (error) => error.statusCode === 409 && error.error === 'conflict');
    assert.equal((await db.head('first')).etag, `"${rev}"`);
    await db.bulk({ docs: [{ _id: 'second' }, { _id: 'third' }] });
    assert.deepEqual((await db.list({ include_docs: true })).rows.map((row) => row.doc._id), ['first', 'second', 'third']);
    assert.equal((await db.fetch({ keys: ['second'] })).rows[0].doc._id, 'second');
    await db.destroy('first', rev);
    await assert.rejects(db.get('first'), (error) => error.statusCode === 404 && error.reason === 'deleted');
    assert.equal((await db.info()).doc_del_count, 1);
    assert.equal((await nano.uuids(2)).uuids.length, 2);
    assert.ok((await nano.db.list()).includes('nano_db'));
    await nano.db.destroy('nano_db');
    await assert.rejects(nano.db.get('nano_db'), (error) => error.reason === 'Database does not exist.');
  });
});
