// Views over real connections: functions in real workers, real indexes; nano as it comes from npm.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import nanoModule from 'nano';
import { Agent as Dispatcher } from 'undici';
import { check, startCluster, until } from './lib.mjs';

const COUCH_PORT_OFFSET = -1459;

let cluster;
let nano;
const test = (what, body) => check(() => cluster, what, body);

function couch(method, path, body) {
  return cluster.sendTo(new URL(path, `https://localhost:${cluster.base + COUCH_PORT_OFFSET}`), { method, body });
}

function expectError(answer, status, error, reason) {
  assert.equal(answer.status, status, answer.text);
  assert.deepEqual(answer.json, { error, reason });
}

const VIEWS = {
  'by-name': { map: 'function (doc) { if (doc.name) emit(doc.name, doc.age); }' },
  tags: { map: "function (doc) { (doc.tags || []).forEach(function (tag) { emit([tag, doc._id], null); }); }", reduce: '_count' },
  ages: { map: (({ age, city }) => { emit(city, age); }).toString(), reduce: '_sum' },
  weights: { map: 'function (doc) { if (doc.age) emit(doc.city, { n: 1, by: { age: doc.age, tags: [doc.tags.length] } }); }', reduce: '_sum' },
  mixed: { map: "function (doc) { if (doc.age) emit(doc._id, doc._id === 'bob' ? 'x' : 1); }", reduce: '_sum' },
  ready: { map: 'function (doc) { if (doc.age) emit(doc.city, { sum: doc.age, count: 2, min: 1, max: doc.age, sumsqr: 5 }); }', reduce: '_stats' },
  unready: { map: 'function (doc) { if (doc.age) emit(doc.city, { sum: doc.age }); }', reduce: '_stats' },
  stats: { map: 'function (doc) { if (doc.age) emit([doc.city, doc.name], doc.age); }', reduce: '_stats' },
  own: { map: 'function (doc) { emit(doc.city, doc.age); }', reduce: 'function (keys, values, rereduce) { return { most: Math.max.apply(null, values), keys: keys.length }; }' },
  sloppy: { map: 'function (doc) { for (i = 0; i < 2; i++) emit(i, { nothing: undefined, list: [undefined], at: new Date(0) }); }' },
  throws: { map: "function (doc) { if (doc._id === 'bob') throw new Error('no'); emit(doc._id, 1); }" },
  loops: { map: "function (doc) { if (doc._id === 'bob') for (;;); emit(doc._id, 1); }" },
  eats: { map: "function (doc) { var all = []; for (; doc._id === 'bob';) all.push(new Array(100000).fill(all.length)); emit(doc._id, 1); }" },
  many: { map: "function (doc) { for (var i = 0; i < (doc._id === 'bob' ? 20000 : 1); i++) emit(i, null); }", reduce: '_count' },
  hostile: { map: "function (doc) { Array.prototype.push = null; emit = null; emit(1, 1); }" },
  files: { map: 'function (doc) { for (var name in doc._attachments) emit([name, doc._conflicts], doc._attachments[name]); }' },
  conflicted: { map: 'function (doc) { if (doc._conflicts) emit(doc._conflicts); };' },
  library: { map: "function (doc) { emit(require('views/lib/names').of(doc), require('views/lib/names').count); }" },
  lib: { names: "exports.of = function (doc) { return require('./deep/case').upper(doc._id); }; exports.count = 7;", deep: { case: 'exports.upper = (text) => text.toUpperCase();' } },
  words: { map: "function (doc) { ['b', 'aa', 'A', 'a', 'B', '\u00e9'].forEach(function (word) { if (doc._id === 'ann') emit(word, null); }); }" },
  raw: { map: "function (doc) { if (doc._id === 'ann') ['b', 'A', 'a', [], {}, 1, null].forEach(function (key) { emit(key, null); }); }", options: { collation: 'raw' } },
  linked: { map: 'function (doc) { if (doc.friend) emit(null, { _id: doc.friend }); }' },
};

const DOCS_BY_REFERENCE = "function(doc) {\n  var KEYS = [];\n\n  // TO" + "DO: consider switching this around to whitelist doc types\n  if (doc._id.match(/-info$/) ||\n      doc._id.match(/^_local/)) {\n    return;\n  }\n\n  var goDeeper = function(obj, path) {\n    Object.keys(obj).forEach(function(key) {\n      if (typeof obj[key] === 'string' &&\n          KEYS.indexOf(obj[key]) !== -1) {\n        emit(obj[key], path + '.' + key);\n      }\n\n      if (obj[key] && typeof obj[key] === 'object') {\n        goDeeper(obj[key], path + '.' + key);\n      }\n    });\n  };\n\n  goDeeper(doc, doc._id);\n}";

async function people(name) {
  const db = `/${name}`;
  assert.equal((await couch('PUT', db)).status, 201);
  const docs = [
    { _id: 'ann', name: 'Ann', age: 30, city: 'Rome', tags: ['a', 'b'], friend: 'bob' },
    { _id: 'bob', name: 'Bob', age: 41, city: 'Oslo', tags: ['b'], friend: 'nobody' },
    { _id: 'cid', name: 'Cid', age: 9, city: 'Rome', tags: [] },
    { _id: '_design/v', views: VIEWS },
    { _id: '_design/all', options: { local_seq: true, include_design: true }, views: { v: { map: 'function (doc) { emit(doc._id, doc._local_seq); }' } } },
  ];
  const written = await tried('POST', `${db}/_bulk_docs`, { docs });
  assert.ok(written.json.every((row) => row.ok), written.text);
  return db;
}

/* While a view is being built, or its shard changes its lead, there is none. */
async function view(db, path, body) {
  let answer;
  await until(`${db} ${path}`, 20000, async () => {
    answer = await couch(body ? 'POST' : 'GET', `${db}/_design/${path.includes('/_view/') ? path : `v/_view/${path}`}`, body);
    return answer.status !== 503;
  });
  return answer;
}

/* Of design documents: no worker may answer in time where a machine has too much to do. */
async function tried(method, path, body) {
  let answer;
  await until(`${path} is tried`, 60000, async () => {
    answer = await couch(method, path, body);
    return answer.status !== 503;
  });
  return answer;
}

const writeTried = (path, design) => tried('PUT', path, design);

async function rows(db, path, body) {
  const answer = await view(db, path, body);
  assert.equal(answer.status, 200, `${path}: ${answer.text}`);
  return answer.json.rows;
}

const param = (value) => encodeURIComponent(JSON.stringify(value));
const keys = (list) => list.map((row) => row.key);

describe('views', () => {
  before(async () => {
    cluster = await startCluster('couch-views');
    const dispatcher = new Dispatcher({ connect: cluster.tls });
    nano = nanoModule({ url: `https://localhost:${cluster.base + COUCH_PORT_OFFSET}`, agentOptions: dispatcher });
    cluster.dispatcher = dispatcher;
  });
  after(async () => {
    await cluster?.dispatcher?.close();
    await cluster?.down();
  });

  test('rows come in order of their keys, of ranges, in pages', async () => {
    const db = await people('rows');
    const all = (await view(db, 'by-name')).json;
    assert.deepEqual(all, { total_rows: 3, offset: 0, rows: [
      { id: 'ann', key: 'Ann', value: 30 }, { id: 'bob', key: 'Bob', value: 41 }, { id: 'cid', key: 'Cid', value: 9 }] });
    for (const [query, expected] of [
      ['descending=true', ['Cid', 'Bob', 'Ann']],
      [`key=${param('Bob')}`, ['Bob']],
      [`keys=${param(['Cid', 'Zoe', 'Ann', 'Cid'])}`, ['Cid', 'Ann', 'Cid']],
      [`startkey=${param('B')}`, ['Bob', 'Cid']],
      [`start_key=${param('Bob')}&end_key=${param('Cid')}&inclusive_end=false`, ['Bob']],
      [`startkey=${param('Bob')}&endkey=${param('Ann')}&descending=true`, ['Bob', 'Ann']],
      [`startkey=${param('Bob')}&endkey=${param('Ann')}&descending=true&inclusive_end=false`, ['Bob']],
      [`startkey=${param('Bob')}&startkey_docid=bobby`, ['Cid']],
      [`endkey=${param('Bob')}&endkey_docid=alf`, ['Ann']],
      ['limit=1&skip=1', ['Bob']],
      ['limit=0', []],
      [`startkey=${param({})}`, []],
      [`startkey=${param(null)}&limit=1`, ['Ann']],
    ])
      assert.deepEqual(keys(await rows(db, `by-name?${query}`)), expected, query);
    assert.deepEqual(keys(await rows(db, 'by-name', { keys: ['Bob'] })), ['Bob']);
    const ann = (await rows(db, `by-name?include_docs=true&key=${param('Ann')}`))[0];
    assert.equal(ann.doc.city, 'Rome');
    assert.match(ann.doc._rev, /^1-/);
    await couch('PUT', `${db}/file`, { _attachments: { 'a.txt': { content_type: 'text/plain', data: 'aGVsbG8=' } } });
    const [file] = await rows(db, 'files');
    assert.deepEqual(file.key, ['a.txt', null]);
    assert.equal(file.value.length, 5);
    assert.equal(file.value.stub, true);
    const linked = await rows(db, 'linked?include_docs=true');
    assert.deepEqual(linked.map((row) => row.doc?._id ?? null), ['bob', null]);
    assert.equal(typeof (await view(db, 'by-name?update_seq=true')).json.update_seq, 'string');
  });

  test('rows follow their documents', async () => {
    const db = await people('follow');
    assert.equal((await rows(db, 'tags?reduce=false')).length, 3);
    const ann = (await couch('GET', `${db}/ann`)).json;
    await couch('PUT', `${db}/ann`, { ...ann, tags: ['z'] });
    const bob = (await couch('GET', `${db}/bob`)).json;
    await couch('DELETE', `${db}/bob?rev=${bob._rev}`);
    assert.deepEqual(await rows(db, 'tags?reduce=false'), [{ id: 'ann', key: ['z', 'ann'], value: null }]);
    await couch('PUT', `${db}/dee`, { tags: ['d'] });
    assert.ok(!JSON.stringify(await rows(db, 'tags?reduce=false&stale=ok')).includes('dee'));
    assert.deepEqual(keys(await rows(db, 'tags?reduce=false')), [['d', 'dee'], ['z', 'ann']]);
  });

  test('a lead that goes takes no rows with it', async () => {
    const db = await people('lead');
    assert.equal((await rows(db, 'by-name')).length, 3);
    cluster.killNow('storage-1');
    await couch('PUT', `${db}/dee`, { name: 'Dee', age: 1 });
    await until('the others answer with what was written', 20000, async () => {
      const written = await couch('PUT', `${db}/dee`, { name: 'Dee', age: 1 });
      return written.status === 201 || written.status === 409;
    });
    assert.deepEqual(keys(await rows(db, 'by-name')), ['Ann', 'Bob', 'Cid', 'Dee']);
    await cluster.dev('restart', 'storage-1');
    await until('all are healthy', 20000, async () => (await cluster.get('/system.nodes')).json.every((node) => node.health === 'healthy'));
    assert.deepEqual(keys(await rows(db, 'by-name')), ['Ann', 'Bob', 'Cid', 'Dee']);
  });

  test('reduce functions, built in and own', async () => {
    const db = await people('reduce');
    assert.deepEqual(await rows(db, 'tags'), [{ key: null, value: 3 }]);
    assert.deepEqual(await rows(db, 'tags?group_level=1'), [{ key: ['a'], value: 1 }, { key: ['b'], value: 2 }]);
    assert.deepEqual(keys(await rows(db, 'tags?group=true')), [['a', 'ann'], ['b', 'ann'], ['b', 'bob']]);
    assert.deepEqual(await rows(db, 'ages?group=true'), [{ key: 'Oslo', value: 41 }, { key: 'Rome', value: 39 }]);
    assert.deepEqual(await rows(db, `ages?group=true&keys=${param(['Rome', 'Oslo'])}`), [{ key: 'Rome', value: 39 }, { key: 'Oslo', value: 41 }]);
    assert.deepEqual(await rows(db, 'ages?group=true&skip=1&limit=1'), [{ key: 'Rome', value: 39 }]);
    assert.deepEqual((await rows(db, 'stats'))[0].value, { sum: 80, count: 3, min: 9, max: 41, sumsqr: 900 + 1681 + 81 });
    assert.deepEqual(await rows(db, 'weights?group=true'), [
      { key: 'Oslo', value: { n: 1, by: { age: 41, tags: [1] } } }, { key: 'Rome', value: { n: 2, by: { age: 39, tags: [2] } } }]);
    assert.deepEqual((await rows(db, 'ready'))[0].value, { sum: 80, count: 6, min: 1, max: 41, sumsqr: 15 });
    const [mixed] = await rows(db, 'mixed');
    assert.equal(mixed.value.error, 'builtin_reduce_error');
    assert.match(mixed.value.reason, /^The _sum function requires that map values be numbers, arrays of numbers, or objects\./);
    assert.equal(mixed.value.caused_by, 'x');
    assert.equal((await view(db, 'unready')).json.error, 'invalid_value');
    assert.deepEqual(await rows(db, 'own'), [{ key: null, value: { most: 41, keys: 3 } }]);
    assert.deepEqual(await rows(db, 'own?group=true&descending=true'), [
      { key: 'Rome', value: { most: 30, keys: 2 } }, { key: 'Oslo', value: { most: 41, keys: 1 } }]);
    assert.deepEqual(await rows(db, `own?key=${param('Paris')}`), []);
  });

  test('a reduce function gets large groups in parts, and what it made of them', async () => {
    const db = '/parts';
    assert.equal((await couch('PUT', `${db}?q=2`)).status, 201);
    const ids = Array.from({ length: 2600 }, (_, i) => `d${i}`);
    for (let at = 0; at < ids.length; at += 650)
      await couch('POST', `${db}/_bulk_docs`, { docs: ids.slice(at, at + 650).map((_id, i) => ({ _id, at: at + i, text: 'x'.repeat(300) })) });
    const map = 'function (doc) { emit(["all", doc.at % 2], doc.text); emit(["few"], doc.at < 3 ? "x" : ""); }';
    const reduce = `function (keys, values, rereduce) {
      if (rereduce) return { again: true, keys: keys, rows: sum(values.map(function (value) { return value.rows; })), parts: values.length };
      return { again: false, rows: keys.length, text: values.join('').length };
    }`;
    await writeTried(`${db}/_design/v`, { views: { own: { map, reduce } } });
    const [all, few] = await rows(db, 'own?group_level=1');
    assert.deepEqual([all.key, all.value.again, all.value.keys, all.value.rows], [['all'], true, null, 2600]);
    assert.ok(all.value.parts > 1, JSON.stringify(all));
    assert.equal(few.value.rows, 2600);
    assert.deepEqual((await rows(db, 'own?group_level=1&skip=1'))[0].key, ['few']);
    assert.deepEqual((await rows(db, 'own?group=true&limit=1')).map((row) => [row.key, row.value.rows]), [[['all', 0], 1300]]);
    assert.equal((await rows(db, 'own'))[0].value.rows, 5200);
  });

  test('several queries in one request', async () => {
    const db = await people('queries');
    const queries = [{ keys: ['Bob', 'Ann'], include_docs: true }, { descending: true, limit: 1 }, { startkey: 'C', update: 'lazy' }];
    for (const path of ['by-name/queries', 'by-name']) {
      const answer = await view(db, path, { queries });
      assert.equal(answer.status, 200, answer.text);
      assert.deepEqual(answer.json.results.map((result) => keys(result.rows)), [['Bob', 'Ann'], ['Cid'], ['Cid']]);
      assert.equal(answer.json.results[0].rows[0].doc.city, 'Oslo');
      assert.equal(answer.json.results[1].total_rows, 3);
    }
    const all = await couch('POST', `${db}/_all_docs/queries`, { queries: [{ limit: 1 }, { keys: ['bob'] }] });
    assert.deepEqual(all.json.results.map((result) => result.rows[0].id), ['_design/all', 'bob']);
    assert.deepEqual((await view(db, 'by-name/queries', { queries: [] })).json, { results: [] });
    expectError(await view(db, 'by-name/queries', { queries: 7 }), 400, 'bad_request', '`queries` member must be an array.');
    expectError(await view(db, 'nothing/queries', { queries: [{}] }), 404, 'not_found', 'missing_named_view');
  });

  test('options of a design document, its modules, and the order of strings', async () => {
    const db = await people('options');
    const every = await view(db, 'all/_view/v');
    assert.deepEqual(every.json.rows.map((row) => row.id), ['_design/all', '_design/v', 'ann', 'bob', 'cid']);
    assert.ok(every.json.rows.every((row) => row.value > 0), every.text);
    assert.deepEqual((await rows(db, 'library')).map((row) => [row.key, row.value]), [['ANN', 7], ['BOB', 7], ['CID', 7]]);
    assert.deepEqual(keys(await rows(db, 'words')), ['a', 'A', 'aa', 'b', 'B', '\u00e9']);
    assert.deepEqual(keys(await rows(db, `words?startkey=${param('A')}&endkey=${param('b')}`)), ['A', 'aa', 'b']);
    assert.deepEqual(keys(await rows(db, 'raw')), [1, null, {}, [], 'A', 'a', 'b']);
    assert.deepEqual(keys(await rows(db, `raw?startkey=${param([])}&endkey=${param('Z')}`)), [[], 'A']);
    await couch('PUT', `${db}/file`, { name: 'File', _attachments: { 'a.txt': { content_type: 'text/plain', data: 'aGVsbG8=' } } });
    const [file] = await rows(db, `by-name?key=${param('File')}&include_docs=true&attachments=true&att_encoding_info=true`);
    assert.equal(file.doc._attachments['a.txt'].data, 'aGVsbG8=');
  });

  // Views of a guide to conflicts, as they stand there.
  test('conflicts, and documents that name others', async () => {
    await cluster.collection('medic', { policy: { strategy: 'none' } });
    const db = '/medic';
    const revs = { start: 1, ids: ['a'] };
    const push = (docs) => couch('POST', `${db}/_bulk_docs`, { new_edits: false, docs });
    const first = '7FADDF76-55E4-4E50-9444-5E468E61EA83';
    await push([{ _id: first, _rev: '1-a', _revisions: revs, type: 'person' }, { _id: first, _rev: '1-b', type: 'data_record' }]);
    await push([{ _id: 'report', _rev: '1-x', fields: { inputs: { contact: { _id: first } }, patient_id: first } }, { _id: 'report-info', _rev: '1-x', of: first }]);
    await writeTried(`${db}/_design/medic-conflicts`, { views: { conflicts: { map: 'function(doc) {\n  if (doc._conflicts) {\n    emit(doc._conflicts);\n  }\n}' } } });
    await writeTried(`${db}/_design/docs-by-reference`, { views: { 'docs-by-reference': { map: DOCS_BY_REFERENCE.replace('KEYS = []', `KEYS = ['${first}']`) } } });
    const ask = (path) => view(db, path).then((answer) => answer.json.rows);
    assert.deepEqual(await ask('medic-conflicts/_view/conflicts'), [{ id: first, key: ['1-a'], value: null }]);
    assert.deepEqual(await ask('docs-by-reference/_view/docs-by-reference'), [
      { id: first, key: first, value: `${first}._id` },
      { id: 'report', key: first, value: 'report.fields.inputs.contact._id' },
      { id: 'report', key: first, value: 'report.fields.patient_id' }]);
    const lost = await couch('DELETE', `${db}/${first}?rev=1-a`);
    assert.equal(lost.status, 200, lost.text);
    assert.deepEqual(await ask('medic-conflicts/_view/conflicts'), []);
    assert.equal((await couch('GET', `${db}/${first}?conflicts=true`)).json._conflicts, undefined);
    const report = (await couch('GET', `${db}/report`)).json;
    await couch('PUT', `${db}/report`, { ...report, fields: { patient_id: first } });
    assert.equal((await ask('docs-by-reference/_view/docs-by-reference')).length, 2);
  });

  test('what functions do wrong hurts their own rows only', async () => {
    const db = await people('wrong');
    assert.deepEqual((await rows(db, 'sloppy?limit=1'))[0], { id: 'ann', key: 0, value: { list: [null], at: '1970-01-01T00:00:00.000Z' } });
    assert.deepEqual(keys(await rows(db, 'throws')), ['ann', 'cid']);
    assert.deepEqual(keys(await rows(db, 'loops')), ['ann', 'cid']);
    assert.deepEqual(keys(await rows(db, 'eats')), ['ann', 'cid']);
    assert.equal((await rows(db, 'many'))[0].value, 2); // too many rows of one document are none
    assert.deepEqual(await rows(db, 'hostile'), []);
    const broken = { _id: '_design/broken', views: { broken: { map: 'function (doc) {' } } };
    const refused = await writeTried(`${db}/_design/broken`, broken);
    assert.equal(refused.status, 400);
    assert.match(refused.json.reason, /^Compilation of the map function in the 'broken' view failed: SyntaxError/);
    // what was made elsewhere is taken, and fails when it is used
    await couch('POST', `${db}/_bulk_docs`, { new_edits: false, docs: [{ ...broken, _rev: '1-a' }] });
    await until('it fails', 20000, async () => (await couch('GET', `${db}/_design/broken/_view/broken`)).json.error === 'compilation_error');
    assert.deepEqual(keys(await rows(db, 'by-name')), ['Ann', 'Bob', 'Cid']);
  });

  test('what is refused is refused in words of CouchDB', async () => {
    const db = await people('refused');
    const error = async (path) => {
      const answer = await view(db, path);
      assert.equal(answer.status, 400, answer.text);
      assert.equal(answer.json.error, 'query_parse_error');
      return answer.json.reason;
    };
    expectError(await view(db, 'nothing'), 404, 'not_found', 'missing_named_view');
    expectError(await couch('GET', `${db}/_design/none/_view/x`), 404, 'not_found', 'missing');
    assert.equal(await error('by-name?limit=-1'), 'Invalid value for positive integer: "-1"');
    assert.equal(await error('by-name?limit=1a'), 'Invalid value for integer: "1a"');
    assert.equal(await error(`tags?keys=${param(['a'])}`), 'Multi-key fetches for reduce views must use `group=true`');
    assert.equal(await error('tags?include_docs=true'), '`include_docs` is invalid for reduce');
    assert.equal(await error('tags?group=maybe'), 'Invalid boolean parameter: "maybe"');
    assert.equal(await error('tags?stale=maybe'), 'Invalid value for `stale`.');
    expectError(await couch('PUT', `${db}/_design/bad`, { views: { a: { map: 5 } } }), 400,
      'invalid_design_doc', '`views.a.map` field must have string type');
    assert.match(await error(`by-name?startkey=${param(2)}&endkey=${param(1)}`), /^No rows can match your key range/);
    expectError(await couch('PUT', `${db}/_design/bad`, { views: { a: { map: 'function () {}', reduce: '_product' } } }), 400,
      'invalid_design_doc', '`_product` is not a supported reduce function.');
    await until('it is stopped', 60000, async () => {
      const endless = await couch('PUT', `${db}/_design/bad`, { views: { a: { map: '(function () { for (;;); })()' } } });
      assert.notEqual(endless.status, 201, endless.text);
      return endless.status === 500;
    });
    expectError(await writeTried(`${db}/_design/bad`, { views: { a: { map: '7' } } }), 400,
      'compilation_error', "Compilation of the map function in the 'a' view failed: the source is not a function");
    assert.equal((await couch('GET', `${db}/_design/v/_info`)).json.name, 'v');
  });

  test('nano reads views', async () => {
    await people('nano-views');
    const db = nano.use('nano-views');
    const answer = await db.view('v', 'by-name', { startkey: 'B', include_docs: true });
    assert.deepEqual(answer.rows.map((row) => row.doc.age), [41, 9]);
    assert.equal((await db.view('v', 'ages', { group: true })).rows.length, 2);
  });
});
