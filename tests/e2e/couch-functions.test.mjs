// Functions of design documents over real connections, in real workers: filters of _changes, validate_doc_update, _update.
import assert from 'node:assert/strict';
import { request } from 'node:https';
import { after, before, describe } from 'node:test';
import nanoModule from 'nano';
import http from 'pouchdb-adapter-http';
import memory from 'pouchdb-adapter-memory';
import PouchDB from 'pouchdb-core';
import replication from 'pouchdb-replication';
import { Agent as Dispatcher } from 'undici';
import { couchUrl } from './couch-lib.mjs';
import { check, startCluster, until } from './lib.mjs';

PouchDB.plugin(http).plugin(memory).plugin(replication);

let cluster;
const test = (what, body) => check(() => cluster, what, body);

/** Who has to wait for the workers for too long is told to come again. */
async function couch(method, path, body, headers) {
  let answer;
  await until(`an answer to ${method} ${path}`, 60000, async () => {
    answer = await cluster.sendTo(couchUrl(cluster, path), { method, body, headers });
    return answer.status !== 503;
  });
  return answer;
}

function expectError(answer, status, error, reason) {
  assert.equal(answer.status, status, answer.text);
  if (reason === undefined) assert.equal(answer.json.error, error, answer.text);
  else if (reason instanceof RegExp) assert.match(answer.json.reason, reason);
  else assert.deepEqual(answer.json, { error, reason });
}

async function database(name, design) {
  const db = `/${name}`;
  assert.equal((await couch('PUT', db)).status, 201);
  if (design) {
    const written = await couch('PUT', `${db}/_design/d`, design);
    assert.equal(written.status, 201, written.text);
  }
  return db;
}

async function put(db, id, body) {
  const answer = await couch('PUT', `${db}/${id}`, body);
  assert.equal(answer.status, 201, answer.text);
  return answer.json.rev;
}

const FILTERS = {
  even: 'function (doc) { return doc.n % 2 === 0; }',
  named: 'function (doc, req) { return doc.name === req.query.name && req.method === "GET" && req.userCtx.roles[0] === "_admin"; }',
  module: 'function (doc) { return require("words/list").indexOf(doc.name) >= 0; }',
  own: 'function (doc) { return this.list.indexOf(doc.name) >= 0; }',
  gone: 'function (doc) { return doc._deleted; }',
  throws: 'function (doc) { if (doc.n === 3) throw new Error("no threes"); return true; }',
  loops: 'function (doc) { if (doc.n === 3) for (;;); return true; }',
  fills: 'function (doc) { for (var all = []; ; ) all.push(new Array(1e6).fill(doc)); }',
  broken: 'function (doc) {',
  nothing: '42',
  reaches: 'function (doc) { return typeof module + typeof process + typeof fetch + typeof XMLHttpRequest + typeof setTimeout === "undefined".repeat(5); }',
  secret: 'function (doc, req) { return JSON.stringify(req).indexOf("c2VjcmV0") < 0; }',
};

const VALIDATE = `function (doc, old, user, sec) {
  if (user.roles[0] !== '_admin' || user.db !== 'validated' || sec.admins.roles[0] !== '_admin') throw { forbidden: 'userCtx or secObj' };
  if (doc._deleted) throw { forbidden: 'notes stay' };
  if (!doc.type) throw { forbidden: 'every document has a type' };
  if (doc.type === 'secret') throw { unauthorized: 'log in as somebody else' };
  if (doc.type === 'object') throw { forbidden: { code: 7, words: ['a', 'b'] } };
  if (doc.type === 'text') throw 'plain text';
  if (doc.type === 'error') null.x;
  if (doc.type === 'loop') for (;;);
  if (doc.type === 'huge') throw { forbidden: 'x'.repeat(1e6) };
  if (old && old.by !== doc.by) throw { forbidden: 'by does not change: ' + old.by };
  for (var name in doc._attachments) if (doc._attachments[name].length > 100) throw { forbidden: 'no large files' };
  for (var name in (old || {})._attachments) if (!(doc._attachments || {})[name]) throw { forbidden: 'files stay' };
}`;

const UPDATES = {
  count: 'function (doc, req) { doc = doc || { _id: req.id, n: 1 - this.step }; doc.n += this.step; return [doc, req.id + " is " + doc.n]; }',
  form: `function (doc, req) {
    var seen = { form: req.form, query: req.query, method: req.method, id: req.id, user: req.userCtx.roles, old: doc };
    return [{ _id: req.uuid, body: req.body }, { json: seen }];
  }`,
  answer: 'function (doc, req) { return [null, JSON.parse(req.body)]; }',
  write: 'function (doc, req) { return [JSON.parse(req.body), "written"]; }',
  throws: 'function () { throw new Error("no"); }',
  given: 'function (doc, req) { throw JSON.parse(req.body); }',
  nothing: 'function () {}',
  loops: 'function () { for (;;); }',
};

const LISTS = {
  csv: `function (head, req) {
    start({ code: 203, headers: { 'Content-type': 'text/csv', 'X-Rows': String(head.total_rows) } });
    send(req.query.title + '\\n');
    for (var row; (row = getRow()); ) send(row.id + ',' + row.key + ',' + JSON.stringify(row.value) + '\\n');
    return 'end ' + getRow();
  }`,
  json: 'function (head, req) { var rows = []; for (var row; (row = getRow()); ) rows.push(row); return JSON.stringify({ head: head, rows: rows, req: { method: req.method, id: req.id, body: req.body, user: req.userCtx.roles } }); }',
  first: 'function () { send(getRow().id); }',
  none: 'function () {}',
  own: 'function () { return this.step + require("words/list").length; }',
  cookie: 'function () { start({ headers: { "Set-Cookie": "a=b", "Access-Control-Allow-Origin": "*" } }); }',
  odd: 'function (head, req) { start(JSON.parse(req.query.answer)); }',
  throws: 'function () { getRow(); throw new Error("no rows"); }',
  loops: 'function () { for (;;); }',
  broken: 'function (head {',
};

describe('functions of design documents', () => {
  before(async () => {
    cluster = await startCluster('couch-functions');
      });
  after(() => cluster?.down());

  test('filters of _changes', async () => {
    const db = await database('filters', {
      filters: FILTERS,
      list: ['one', 'two'],
      words: { list: 'module.exports = ["two", "three"];' },
      views: { odd: { map: 'function (doc) { if (doc.n % 2) emit(doc._id, null); }' }, two: { map: 'function (doc) { emit(doc.n); emit(doc.n); }' } },
    });
    const names = ['zero', 'one', 'two', 'three', 'four'];
    for (const [n, name] of names.entries()) await put(db, name, { n, name });
    const rev = await put(db, 'gone', { n: 5 });
    assert.equal((await couch('DELETE', `${db}/gone?rev=${rev}`)).status, 200);

    const passed = async (query, body) => {
      const answer = await couch(body ? 'POST' : 'GET', `${db}/_changes?${query}`, body);
      assert.equal(answer.status, 200, answer.text);
      return answer.json.results.map(({ id }) => id).sort();
    };
    assert.deepEqual(await passed('filter=d/even'), ['four', 'two', 'zero']);
    assert.deepEqual(await passed('filter=d/even', {}), ['four', 'two', 'zero']);
    assert.deepEqual(await passed('filter=d/named&name=three'), ['three']);
    assert.deepEqual(await passed('filter=d/named&name=nobody'), []);
    assert.deepEqual(await passed('filter=d/own'), ['one', 'two']);
    assert.deepEqual(await passed('filter=d/module'), ['three', 'two']);
    assert.deepEqual(await passed('filter=d/gone'), ['gone']);
    assert.deepEqual(await passed('filter=_view&view=d/odd'), ['one', 'three']);
    assert.deepEqual(await passed('filter=_view&view=d%2Ftwo&include_docs=true'), ['_design/d', 'four', 'gone', 'one', 'three', 'two', 'zero']);
    assert.deepEqual((await passed('filter=d/reaches')).length, 7);
    const header = await couch('GET', `${db}/_changes?filter=d/secret`, undefined, { authorization: 'Basic c2VjcmV0', cookie: 'AuthSession=c2VjcmV0' });
    assert.equal(header.json.results.length, 7, header.text);
    const limited = await couch('GET', `${db}/_changes?filter=d/even&limit=1&include_docs=true`);
    assert.equal(limited.json.results.length, 1);
    assert.equal(limited.json.results[0].doc.n % 2, 0);
    // each version for itself with style=all_docs, else the winner for all
    const dead = { _id: 'one', _rev: '1-dead', _deleted: true };
    assert.deepEqual((await couch('POST', `${db}/_bulk_docs`, { docs: [dead], new_edits: false })).json, []);
    assert.deepEqual(await passed('filter=d/gone'), ['gone']);
    const leaves = (await couch('GET', `${db}/_changes?filter=d/gone&style=all_docs`)).json.results;
    assert.deepEqual(leaves.find(({ id }) => id === 'one').changes, [{ rev: '1-dead' }]);
    assert.equal(leaves.length, 2);
    assert.deepEqual(await passed('filter=d/own&style=all_docs'), ['one', 'two']);
    const feed = await couch('GET', `${db}/_changes?filter=d/even&feed=continuous&timeout=100`);
    assert.equal(feed.text.trim().split('\n').length, 4, feed.text);

    for (const [query, status, error, reason] of [
      ['filter=d/odd', 404, 'not_found', 'missing json key: odd'],
      ['filter=nobody/odd', 404, 'not_found', 'missing'],
      ['filter=_view&view=d/nobody', 404, 'not_found', 'missing json key: nobody'],
      ['filter=_view', 400, 'bad_request', '`view` filter parameter is not provided.'],
      ['filter=_view&view=d', 400, 'bad_request', '`view` must be of the form `designname/viewname`'],
      ['filter=odd', 400, 'bad_request', '`filter` must be of the form `designname/filtername`'],
      ['filter=d/throws', 500, 'unknown_error', 'Error: no threes'],
      ['filter=d/broken', 400, 'compilation_error'],
      ['filter=d/nothing', 400, 'compilation_error', 'the source is not a function'],
    ])
      expectError(await couch('GET', `${db}/_changes?${query}`), status, error, reason);
    for (const name of ['loops', 'fills'])
      expectError(await couch('GET', `${db}/_changes?filter=d/${name}`), 500, 'os_process_error');
    const bare = await database('bare', { language: 'javascript' });
    expectError(await couch('GET', `${bare}/_changes?filter=d/odd`), 404, 'not_found', 'missing json key: filters');
    expectError(await couch('GET', `${bare}/_changes?filter=_view&view=d/odd`), 404, 'not_found', 'missing json key: views');
  });

  test('a feed that its filter fails breaks off, so that its client sees it', async () => {
    const db = await database('breaks', { filters: FILTERS });
    await put(db, 'first', { n: 1 });
    for (const feed of ['continuous', 'eventsource']) {
      const answer = await new Promise((resolve, reject) => {
        const asked = request(couchUrl(cluster, `${db}/_changes?feed=${feed}&filter=d/loops&heartbeat=1000`), cluster.tls, resolve);
        asked.on('error', reject);
        asked.end();
      });
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (part) => (text += part));
      let error;
      answer.on('error', (from) => (error = from));
      await until('a row has come', 60000, async () => text.includes('"first"'));
      const rev = await put(db, 'third', { n: 3 });
      await until('it has ended', 60000, async () => answer.closed);
      assert.equal(answer.complete, false, text);
      assert.equal(error?.code, 'ECONNRESET', text);
      assert.equal((await couch('DELETE', `${db}/third?rev=${rev}`)).status, 200);
    }
  });

  test('validate_doc_update sees every write', async () => {
    const db = await database('validated', { validate_doc_update: VALIDATE });
    const ok = async (method, path, body, headers) => {
      const answer = await couch(method, `${db}${path}`, body, headers);
      assert.ok(answer.status < 300, answer.text);
      return answer.json;
    };
    const refused = async (status, error, reason, ...request) => expectError(await couch(request[0], `${db}${request[1]}`, ...request.slice(2)), status, error, reason);

    const { rev } = await ok('PUT', '/a', { type: 'note', by: 'ann' });
    await refused(403, 'forbidden', 'every document has a type', 'PUT', '/b', { by: 'ann' });
    await refused(403, 'forbidden', 'every document has a type', 'POST', '', { by: 'ann' });
    await refused(401, 'unauthorized', 'log in as somebody else', 'PUT', '/b', { type: 'secret' });
    await refused(403, 'forbidden', { code: 7, words: ['a', 'b'] }, 'PUT', '/b', { type: 'object' });
    await refused(500, 'unknown_error', 'plain text', 'PUT', '/b', { type: 'text' });
    await refused(500, 'unknown_error', /TypeError/, 'PUT', '/b', { type: 'error' });
    await refused(500, 'os_process_error', undefined, 'PUT', '/b', { type: 'loop' });
    await refused(403, 'forbidden', undefined, 'PUT', '/b', { type: 'huge' });
    assert.equal((await couch('GET', `${db}/b`)).status, 404);

    // what is replaced is what the write names
    await refused(403, 'forbidden', 'by does not change: ann', 'PUT', `/a?rev=${rev}`, { type: 'note', by: 'bob' });
    await refused(403, 'forbidden', 'notes stay', 'DELETE', `/a?rev=${rev}`);
    await refused(409, 'conflict', 'Document update conflict.', 'PUT', '/a?rev=1-0123', { type: 'note', by: 'ann' });
    await ok('COPY', '/a', undefined, { destination: 'c' });
    await refused(403, 'forbidden', 'no large files', 'PUT', `/a/big.txt?rev=${rev}`, 'x'.repeat(101));
    await refused(403, 'forbidden', 'no large files', 'PUT', `/d`, { type: 'note', _attachments: { 'big.txt': { data: Buffer.alloc(101).toString('base64') } } });
    const file = await ok('PUT', `/a/small.txt?rev=${rev}`, 'small');
    await refused(403, 'forbidden', 'files stay', 'DELETE', `/a/small.txt?rev=${file.rev}`);

    // many at once
    const rows = await ok('POST', '/_bulk_docs', { docs: [{ _id: 'e', type: 'note' }, { _id: 'f' }, { _id: 'g', type: 'loop' }, { _id: '_design/e', views: {} }] });
    assert.equal(rows[0].ok, true);
    assert.deepEqual(rows[1], { id: 'f', error: 'forbidden', reason: 'every document has a type' });
    assert.equal(rows[2].error, 'os_process_error');
    assert.equal(rows[3].ok, true, JSON.stringify(rows));
    const history = (id, revs, body) => ({ _id: id, _revisions: { start: revs.length, ids: revs }, ...body });
    const pushed = await ok('POST', '/_bulk_docs', { new_edits: false, docs: [
      history('h', ['x'], { type: 'note', by: 'ann' }), history('i', ['x'], { by: 'ann' }), history('j', ['y', 'x'], { type: 'note' })] });
    assert.deepEqual(pushed, [{ id: 'i', rev: '1-x', error: 'forbidden', reason: 'every document has a type' }]);
    // the nearest version that is known is what it replaces
    assert.deepEqual(await ok('POST', '/_bulk_docs', { new_edits: false, docs: [history('h', ['z', 'y', 'x'], { type: 'note', by: 'bob' })] }),
      [{ id: 'h', rev: '3-z', error: 'forbidden', reason: 'by does not change: ann' }]);
    assert.deepEqual(await ok('POST', '/_bulk_docs', { new_edits: false, docs: [history('h', ['z', 'y', 'x'], { type: 'note', by: 'ann' })] }), []);
    // what is known already is not looked at
    await ok('PUT', '/_design/d2', { validate_doc_update: 'function (doc) { if (doc._id !== "k") throw { forbidden: "only k" }; }' });
    assert.deepEqual(await ok('POST', '/_bulk_docs', { new_edits: false, docs: [history('h', ['x'], { type: 'note', by: 'ann' })] }), []);
    await refused(403, 'forbidden', 'only k', 'PUT', '/l?new_edits=false', { _rev: '1-a', type: 'note' });
    await ok('PUT', '/k', { type: 'note' });
    await ok('PUT', '/_design/d3', { lib: { check: 'exports.bad = function (doc) { return doc.bad; };' }, most: 3,
      validate_doc_update: 'function (doc) { if (require("lib/check").bad(doc) || doc.n > this.most) throw { forbidden: "bad" }; }' });
    const { json: k } = await couch('GET', `${db}/k`);
    await refused(403, 'forbidden', 'bad', 'PUT', '/k', { ...k, bad: true });
    await refused(403, 'forbidden', 'bad', 'PUT', '/k', { ...k, n: 4 });
    await ok('PUT', '/k', { ...k, n: 3 });
    await ok('PUT', '/_local/l', { type: 'loop' });
    assert.equal((await couch('GET', `${db}/l`)).status, 404);
    assert.equal((await cluster.sendTo(cluster.url('/validated/native'), { method: 'PUT', body: { type: 'loop' } })).status, 201);
  });

  test('validate_doc_update counts at another gateway, and no more when it is gone', async () => {
    const db = await database('elsewhere');
    const other = (id) => cluster.sendTo(couchUrl(cluster, `${db}/${id}`, 2), { method: 'PUT', body: {} });
    assert.equal((await other('first')).status, 201);
    const { json } = await couch('PUT', `${db}/_design/d`, { validate_doc_update: 'function () { throw { forbidden: "closed" }; }' });
    expectError(await couch('PUT', `${db}/here`, {}), 403, 'forbidden', 'closed');
    let n = 0;
    await until('the other gateway knows', 20000, async () => (await other(`n${n++}`)).status === 403);
    assert.equal((await couch('DELETE', `${db}/_design/d?rev=${json.rev}`)).status, 200);
    await put(db, 'here', {});
    await until('the other gateway knows', 20000, async () => (await other(`n${n++}`)).status === 201);
    expectError(await couch('PUT', `${db}/_design/broken`, { validate_doc_update: 'function (' }), 400, 'compilation_error', /^Compilation of the validate_doc_update function failed/);
    expectError(await couch('PUT', `${db}/_design/endless`, { validate_doc_update: '(function () { for (;;); })()' }), 500, 'os_process_error');
    const rows = await couch('POST', `${db}/_bulk_docs`, { docs: [{ _id: 'there' }, { _id: '_design/broken', views: { v: { map: 'function () {}', reduce: '+' } } }] });
    assert.deepEqual(rows.json.map(({ ok, error }) => ok ?? error), [true, 'compilation_error'], rows.text);
    // what was made elsewhere is taken, and refuses all writes
    assert.equal((await couch('PUT', `${db}/_design/broken?new_edits=false`, { _rev: '1-a', validate_doc_update: 'function (' })).status, 201);
    expectError(await couch('PUT', `${db}/everywhere`, {}), 400, 'compilation_error');
  });

  test('what is written in another language is kept, and run by nobody', async () => {
    const db = await database('foreign');
    const unknown = [500, 'unknown_query_language', 'The design document has another language than JavaScript.'];
    const filters = { f: '(doc) -> true' };
    await put(db, '_design/c', { language: 'coffeescript', views: { v: { map: '(doc) -> emit doc._id' } }, filters, shows: filters });
    await put(db, 'a', {});
    for (const path of ['_design/c/_view/v', '_design/c/_show/f', '_changes?filter=c/f', '_changes?filter=_view&view=c/v'])
      expectError(await couch('GET', `${db}/${path}`), ...unknown);
    const rev = await put(db, '_design/e', { language: 'erlang', validate_doc_update: 'fun(_, _) -> ok end.' });
    expectError(await couch('PUT', `${db}/b`, {}), ...unknown);
    const rows = await couch('POST', `${db}/_bulk_docs`, { docs: [{ _id: 'b' }] });
    assert.deepEqual([rows.status, rows.json[0].error], [201, unknown[1]], rows.text);
    assert.equal((await couch('DELETE', `${db}/_design/e?rev=${rev}`)).status, 200);
    await put(db, 'b', {});
  });

  test('_update makes documents and answers, _show answers', async () => {
    const db = await database('made', {
      updates: UPDATES,
      shows: { text: 'function (doc, req) { return "<p>" + (doc ? doc.n : "none of " + req.id) + " " + req.query.q; }' },
      validate_doc_update: 'function (doc) { if (doc.n > 99) throw { forbidden: "n is at most 99" }; }',
      step: 5,
    });
    const call = (method, path, body, headers) => couch(method, `${db}/_design/d/_update/${path}`, body, headers);

    let answer = await call('POST', 'count/a%2Fb');
    assert.equal(answer.status, 201, answer.text);
    assert.equal(answer.text, 'a/b is 1');
    assert.match(answer.headers['content-type'], /^text\/html/);
    assert.equal(answer.headers['content-security-policy'], 'sandbox');
    assert.equal(answer.headers['x-couch-id'], 'a%2Fb');
    const { json: stored } = await couch('GET', `${db}/a%2Fb`);
    assert.equal(stored._rev, answer.headers['x-couch-update-newrev']);
    assert.equal((await call('PUT', 'count/a%2Fb')).text, 'a/b is 6');
    assert.equal((await couch('GET', `${db}/a%2Fb`)).json.n, 6);

    answer = await call('POST', 'form?x=1', 'name=Ann+B&age=30', { 'Content-Type': 'application/x-www-form-urlencoded' });
    assert.equal(answer.status, 201, answer.text);
    assert.deepEqual(answer.json, { form: { name: 'Ann B', age: '30' }, query: { x: '1' }, method: 'POST', id: null, user: ['_admin'], old: null });
    assert.equal((await couch('GET', `${db}/${answer.headers['x-couch-id']}`)).json.body, 'name=Ann+B&age=30');

    answer = await call('POST', 'answer', { code: 418, headers: { 'Content-Type': 'text/x-tea', 'X-Tea': 'green', 'Set-Cookie': 'a=b', 'Access-Control-Allow-Origin': '*', 'Content-Length': '1' }, base64: 'dGVh' });
    assert.equal(answer.status, 418);
    assert.equal(answer.text, 'tea');
    assert.equal(answer.headers['x-tea'], 'green');
    assert.equal(answer.headers['content-type'], 'text/x-tea');
    assert.equal(answer.headers['set-cookie'], undefined);
    assert.equal(answer.headers['access-control-allow-origin'], undefined);
    for (const response of [{ code: 42 }, { code: 'x' }, { body: 7 }, { base64: '?' }, { headers: [] }, { headers: { 'a b': 'c' } }, { headers: { a: 'b\r\nc: d' } }, { headers: { a: 1 } }, 7, [], { headers: Object.fromEntries('abcdefg'.split('').map((name) => [name, 'x'])) }])
      expectError(await call('POST', 'answer', response), 500, 'external_response_error');
    assert.equal((await call('POST', 'answer', null)).status, 200);
    for (const [thrown, status, error, reason] of [
      [['error', 'not_found', 'nope'], 404, 'not_found', 'nope'],
      [['fatal', 'bad_request', 'not so'], 400, 'bad_request', 'not so'],
      [{ error: 'my', reason: 'r' }, 500, 'my', 'r'],
      [{ forbidden: 'no' }, 403, 'forbidden', 'no'],
      [{ unauthorized: 'who' }, 401, 'unauthorized', 'who'],
      [['error', 'toString', { a: 1 }], 500, 'toString', { a: 1 }],
    ]) {
      const { status: told, json } = await call('POST', 'given', thrown);
      assert.deepEqual([told, json], [status, { error, reason }]);
    }
    for (const thrown of ['plain', 7, null, ['nothing'], {}]) expectError(await call('POST', 'given', thrown), 500, 'unknown_error');

    const doc = (body) => call('POST', 'write', body);
    expectError(await doc({ _id: 'a/b', _rev: stored._rev }), 409, 'conflict');
    expectError(await doc({ _id: 'c', n: 100 }), 403, 'forbidden', 'n is at most 99');
    expectError(await doc({}), 400, 'illegal_docid');
    expectError(await doc({ _id: '_x' }), 400, 'illegal_docid');
    expectError(await doc({ _id: 'c', _zing: 1 }), 400, 'doc_validation');
    for (const name of ['throws', 'nothing', 'loops']) assert.equal((await call('POST', name)).status, 500, name);
    expectError(await call('POST', 'nobody'), 404, 'not_found', 'missing updates function nobody on design doc _design/d');
    expectError(await couch('POST', `${db}/_design/e/_update/count`), 404, 'not_found', 'missing');
    assert.equal((await couch('GET', `${db}/c`)).status, 404);

    answer = await couch('GET', `${db}/_design/d/_show/text/a%2Fb?q=1`);
    assert.equal(answer.text, '<p>6 1', answer.text);
    assert.equal((await couch('GET', `${db}/_design/d/_show/text/x?q=2`)).text, '<p>none of x 2');
    expectError(await couch('GET', `${db}/_design/d/_show/nobody`), 404, 'not_found', 'missing shows function nobody on design doc _design/d');
  });

  test('_list makes answers of the rows of views', async () => {
    const db = await database('lists', {
      lists: LISTS,
      step: 5,
      words: { list: 'module.exports = ["two", "three"];' },
      views: {
        n: { map: 'function (doc) { emit(doc.n, { n: doc.n }); }' },
        sum: { map: 'function (doc) { emit(doc.n % 2, doc.n); }', reduce: '_sum' },
      },
    });
    assert.equal((await couch('PUT', `${db}/_design/other`, { views: { twice: { map: 'function (doc) { emit(2 * doc.n); }' } } })).status, 201);
    for (const n of [1, 2, 3]) await put(db, `n${n}`, { n });
    const list = (path, body) => couch(body ? 'POST' : 'GET', `${db}/_design/d/_list/${path}`, body);

    let answer = await list('csv/n?title=a%20title&startkey=2');
    assert.equal(answer.status, 203, answer.text);
    assert.equal(answer.text, 'a title\nn2,2,{"n":2}\nn3,3,{"n":3}\nend null');
    assert.equal(answer.headers['content-type'], 'text/csv');
    assert.equal(answer.headers['x-rows'], '3');
    assert.equal(answer.headers['content-security-policy'], 'sandbox');
    const json = async (path, body) => {
      answer = await list(path, body);
      assert.equal(answer.status, 200, answer.text);
      assert.equal(answer.headers['content-type'], 'application/json');
      return answer.json;
    };
    assert.deepEqual(await json('json/n?limit=1'), {
      head: { total_rows: 3, offset: 0 },
      rows: [{ id: 'n1', key: 1, value: { n: 1 } }],
      req: { method: 'GET', id: null, body: 'undefined', user: ['_admin'] },
    });
    assert.equal(typeof (await json('json/n?limit=0&update_seq=true')).head.update_seq, 'string');
    assert.deepEqual((await json('json/n?key=2&include_docs=true')).rows[0].doc.n, 2);
    const keyed = await json('json/n', { keys: [3, 1] });
    assert.deepEqual(keyed.rows.map(({ id }) => id), ['n3', 'n1']);
    assert.deepEqual([keyed.req.method, keyed.req.body], ['POST', '{"keys":[3,1]}']);
    const sums = await json('json/sum?group=true');
    assert.deepEqual([sums.head, sums.rows], [{}, [{ key: 0, value: 2 }, { key: 1, value: 4 }]]);
    assert.deepEqual((await json('json/other/twice?descending=true')).rows.map(({ key }) => key), [6, 4, 2]);
    assert.deepEqual((await json('json/_all_docs?startkey=%22n2%22')).rows.map(({ id }) => id), ['n2', 'n3']);
    assert.equal((await list('first/n')).text, 'n1');
    assert.equal((await list('none/n')).text, '');
    assert.equal((await list('own/n')).text, '7');
    answer = await list('cookie/n');
    assert.deepEqual([answer.status, answer.headers['set-cookie'], answer.headers['access-control-allow-origin']], [200, undefined, undefined]);
    assert.equal((await couch('HEAD', `${db}/_design/d/_list/csv/n`)).status, 203);

    for (const bad of [{ code: 42 }, { code: 'x' }, { headers: { 'a b': 'c' } }, { headers: { a: 'b\r\nc: d' } }])
      expectError(await list(`odd/n?answer=${encodeURIComponent(JSON.stringify(bad))}`), 500, 'external_response_error');
    for (const [path, status, error, reason] of [
      ['nobody/n', 404, 'not_found', 'missing lists function nobody on design doc _design/d'],
      ['json/nobody', 404, 'not_found', 'missing_named_view'],
      ['json/nobody/n', 404, 'not_found', 'missing'],
      ['json/n?limit=x', 400, 'query_parse_error'],
      ['throws/n', 500, 'unknown_error', 'Error: no rows'],
      ['loops/n', 500, 'os_process_error'],
      ['broken/n', 400, 'compilation_error'],
    ])
      expectError(await list(path), status, error, reason);
    expectError(await couch('GET', `${db}/_design/nobody/_list/json/n`), 404, 'not_found', 'missing');
    expectError(await couch('GET', '/nobody/_design/d/_list/json/n'), 404, 'not_found', 'Database does not exist.');
    expectError(await couch('GET', `${db}/_design/d/_rewrite/x`), 501, 'not_implemented');
  });

  test('functions see members with an underscore under the names that they are shown with', async () => {
    const db = await database('tildes', {
      filters: { low: 'function (doc) { return doc["~_n"] < 5; }' },
      views: { n: { map: 'function (doc) { if (doc["~_n"]) emit(doc["~_n"], doc._n); }' } },
      validate_doc_update: 'function (doc, old) { if (old && doc["~_n"] < old["~_n"]) throw { forbidden: "never less" }; }',
      updates: { add: 'function (doc) { doc["~_n"]++; return [doc, "added"]; }' },
      shows: { n: 'function (doc) { return "n is " + doc["~_n"]; }' },
    });
    await cluster.put('/tildes/a', { _n: 3 });
    await cluster.put('/tildes/b', { _n: 7 });
    assert.equal((await couch('PUT', `${db}/_design/d/_update/add/a`)).text, 'added');
    assert.deepEqual((await cluster.get('/tildes/a')).json, { id: 'a', _n: 4 });
    const { json } = await couch('GET', `${db}/a`);
    expectError(await couch('PUT', `${db}/a`, { ...json, '~_n': 2 }), 403, 'forbidden', 'never less');
    assert.equal((await couch('GET', `${db}/_design/d/_show/n/a`)).text, 'n is 4');
    const filtered = await couch('GET', `${db}/_changes?filter=d/low`);
    assert.deepEqual(filtered.json.results.map((row) => row.id), ['a'], filtered.text);
    await until('the view is built', 20000, async () => (await couch('GET', `${db}/_design/d/_view/n?limit=0`)).status === 200);
    const rows = await couch('GET', `${db}/_design/d/_view/n`);
    assert.deepEqual(rows.json.rows, [{ id: 'a', key: 4, value: null }, { id: 'b', key: 7, value: null }]);
  });

  test('PouchDB filters and is denied, nano updates, shows and lists', async () => {
    const db = await database('clients', {
      filters: FILTERS,
      views: { odd: { map: 'function (doc) { if (doc.n % 2) emit(doc._id); }' } },
      validate_doc_update: 'function (doc) { if (doc.n > 99) throw { forbidden: "n is at most 99" }; }',
      updates: UPDATES,
      lists: LISTS,
      shows: { hello: 'function (doc, req) { return "hello " + doc.n; }' },
      step: 5,
    });
    const there = new PouchDB(couchUrl(cluster, db).href, { adapter: 'http', fetch: (url, options) => PouchDB.fetch(url, { ...options, agent: cluster.agent }) });
    const here = new PouchDB('functions', { adapter: 'memory' });
    await there.bulkDocs([0, 1, 2, 3].map((n) => ({ _id: `n${n}`, n, name: `name ${n}` })));
    const ids = ({ results }) => results.map(({ id }) => id).sort();
    assert.deepEqual(ids(await there.changes({ filter: 'd/even' })), ['n0', 'n2']);
    assert.deepEqual(ids(await there.changes({ filter: '_view', view: 'd/odd' })), ['n1', 'n3']);
    assert.deepEqual(ids(await there.changes({ filter: 'd/named', query_params: { name: 'name 3' } })), ['n3']);
    await assert.rejects(there.changes({ filter: 'd/odd' }), { status: 404, name: 'not_found', message: 'missing json key: odd' });
    await assert.rejects(there.put({ _id: 'n100', n: 100 }), { status: 403, name: 'forbidden', message: 'n is at most 99' });
    assert.equal((await here.replicate.from(there, { filter: 'd/even' })).docs_written, 2);

    const live = there.changes({ live: true, since: 'now', filter: 'd/even' });
    const seen = [];
    live.on('change', ({ id }) => seen.push(id));
    await here.bulkDocs([{ _id: 'n4', n: 4 }, { _id: 'n5', n: 5 }, { _id: 'n101', n: 101 }]);
    const denied = [];
    const pushed = await here.replicate.to(there).on('denied', ({ id, name }) => denied.push(id, name));
    assert.equal(pushed.doc_write_failures, 1);
    assert.deepEqual(denied, ['n101', 'forbidden']);
    // since "now" is some moment of the feed's beginning
    let n = 4;
    await until('the feed tells of it', 20000, async () => (await there.put({ _id: `m${(n += 2)}`, n })) && seen.some((id) => id.startsWith('m')));
    live.cancel();
    assert.ok(!seen.includes('n5') && !seen.includes('n101'), seen.join());

    const dispatcher = new Dispatcher({ connect: cluster.tls });
    const nano = nanoModule({ url: couchUrl(cluster).origin, agentOptions: dispatcher }).use('clients');
    assert.equal(await nano.atomic('d', 'count', 'n1'), 'n1 is 6');
    assert.equal(await nano.show('d', 'hello', 'n1'), 'hello 6');
    const listed = await nano.viewWithList('d', 'odd', 'json', { limit: 1 });
    assert.deepEqual([listed.head, listed.rows], [{ total_rows: 2, offset: 0 }, [{ id: 'n3', key: 'n3', value: null }]]);
    await dispatcher.close();
    await here.destroy();
  });
});
