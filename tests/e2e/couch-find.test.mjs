// Mango over real connections: selectors, indexes, pages, and what is refused; nano as it comes from npm.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import nanoModule from 'nano';
import { Agent as Dispatcher } from 'undici';
import { check, startCluster, until } from './lib.mjs';

const COUCH_PORT_OFFSET = -1459;
const WARNING = 'No matching index found, create an index to optimize query time.';

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

async function people(name) {
  const db = `/${name}`;
  assert.equal((await couch('PUT', db)).status, 201);
  const docs = [
    { _id: 'ann', name: 'Ann', age: 30, tags: ['a', 'b'], home: { city: 'Rome' }, id: 7 },
    { _id: 'bob', name: 'Bob', age: 41, tags: ['b'], home: { city: 'Oslo' } },
    { _id: 'cid', name: 'Cid', age: '50', tags: [] },
    { _id: 'dee', name: 'Dee', age: null },
    { _id: 'eve', name: 'Eve' },
    { _id: '_design/x', language: 'javascript' },
  ];
  const written = await couch('POST', `${db}/_bulk_docs`, { docs });
  assert.ok(written.json.every((row) => row.ok), written.text);
  return db;
}

async function found(db, body) {
  const answer = await couch('POST', `${db}/_find`, body);
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}

const ids = (answer) => answer.docs.map((doc) => doc._id);

describe('Mango', () => {
  before(async () => {
    cluster = await startCluster('couch-find');
    const dispatcher = new Dispatcher({ connect: cluster.tls });
    nano = nanoModule({ url: `https://localhost:${cluster.base + COUCH_PORT_OFFSET}`, agentOptions: dispatcher });
    cluster.dispatcher = dispatcher;
  });
  after(async () => {
    await cluster?.dispatcher?.close();
    await cluster?.down();
  });

  test('selectors find documents as CouchDB does', async () => {
    const db = await people('selectors');
    for (const [selector, expected] of [
      [{}, ['ann', 'bob', 'cid', 'dee', 'eve']],
      [{ name: 'Bob' }, ['bob']],
      [{ _id: 'ann' }, ['ann']],
      [{ _id: { $gt: 'cid' } }, ['dee', 'eve']],
      [{ id: 7 }, ['ann']],
      [{ age: { $gt: 30 } }, ['bob', 'cid']],
      [{ age: { $lt: 41 } }, ['ann', 'dee']],
      [{ age: { $ne: 30 } }, ['bob', 'cid', 'dee']],
      [{ age: { $exists: false } }, ['eve']],
      [{ age: { $type: 'number' }, name: { $regex: '^A' } }, ['ann']],
      [{ tags: 'b' }, []],
      [{ tags: { $all: ['b'] } }, ['ann', 'bob']],
      [{ tags: { $in: ['a', 'z'] } }, ['ann']],
      [{ tags: { $elemMatch: { $eq: 'a' } } }, ['ann']],
      [{ tags: { $size: 0 } }, ['cid']],
      [{ 'home.city': 'Oslo' }, ['bob']],
      [{ home: { city: { $beginsWith: 'R' } } }, ['ann']],
      [{ $or: [{ name: 'Ann' }, { name: 'Eve' }] }, ['ann', 'eve']],
      [{ $nor: [{ age: 30 }, { name: 'Bob' }] }, ['cid', 'dee']],
      [{ $or: [], name: 'Bob' }, ['bob']],
      [{ $not: { name: 'Ann' } }, ['bob', 'cid', 'dee', 'eve']],
    ]) {
      const answer = await found(db, { selector });
      assert.deepEqual(ids(answer), expected, JSON.stringify(selector));
      assert.equal(answer.warning, WARNING);
    }
    const fields = await found(db, { selector: { name: 'Ann' }, fields: ['_id', 'home.city', 'id', 'nothing'] });
    assert.deepEqual(fields.docs, [{ _id: 'ann', home: { city: 'Rome' }, id: 7 }]);
    assert.deepEqual((await found(db, { selector: { name: 'Eve' }, fields: ['age'] })).docs, [{}]);
    assert.match((await found(db, { selector: { name: 'Eve' } })).docs[0]._rev, /^1-/);
    const stats = await found(db, { selector: {}, execution_stats: true, skip: 4 });
    assert.equal(stats.execution_stats.results_returned, 1);
    assert.ok(stats.execution_stats.total_docs_examined >= 5);
    const escaped = { _id: 'fay', 'a.b': { 'c.d': 1, e: 2 }, a: { b: 3, c: 4 }, list: [5, 6] };
    assert.equal((await couch('PUT', `${db}/fay`, escaped)).status, 201);
    for (const [names, expected] of [
      [['a\\.b'], { 'a.b': { 'c.d': 1, e: 2 } }],
      [['a\\.b.c\\.d', '_id'], { _id: 'fay', 'a.b': { 'c.d': 1 } }],
      [['a.b', 'a.c', 'a.d'], { a: { b: 3, c: 4 } }],
      [['list.1', 'list.9'], { list: { 1: 6 } }],
      [['a.b.c', 'nothing.at.all'], {}],
    ])
      assert.deepEqual((await found(db, { selector: { _id: 'fay' }, fields: names })).docs, [expected]);
  });

  test('members with an underscore are found under the names that they are shown with', async () => {
    const made = await couch('PUT', '/tildes');
    assert.equal(made.status, 201, made.text);
    for (let n = 0; n < 4; n++) await cluster.put(`/tildes/d${n}`, { _foo: n % 2, '~_foo': { n } });
    const index = await couch('POST', '/tildes/_index', { index: { fields: ['~_foo', '~~_foo.n'] }, ddoc: 'i', name: 'i' });
    assert.equal(index.json.result, 'created', index.text);
    const query = { selector: { '~_foo': 1 }, sort: ['~_foo', '~~_foo.n'], fields: ['_id', '~_foo', '~~_foo.n', '_foo'] };
    await until('the index is used', 20000, async () => !(await found('/tildes', query)).warning);
    assert.deepEqual((await found('/tildes', query)).docs,
      [{ _id: 'd1', '~_foo': 1, '~~_foo': { n: 1 } }, { _id: 'd3', '~_foo': 1, '~~_foo': { n: 3 } }]);
    assert.deepEqual((await found('/tildes', { selector: { _foo: 1 } })).docs, []);
    assert.deepEqual(ids(await found('/tildes', { selector: { _foo: { $exists: false }, '~~_foo': { n: 2 } } })), ['d2']);
    assert.deepEqual((await found('/tildes', { selector: { '~_foo': 0 }, fields: ['_foo'] })).docs, [{}, {}]);
    expectError(await couch('POST', '/tildes/_find', { selector: {}, sort: ['_foo'] }), 400, 'no_usable_index',
      'No index exists for this sort, try indexing by the sort fields.');
  });

  test('conflicts are shown with the documents that have some', async () => {
    const db = await people('conflicts');
    const policy = { policy: { strategy: 'none' } };
    const set = await cluster.send('PATCH', '/_/collections/conflicts', { body: policy });
    assert.equal(set.status, 200, set.text);
    const pushed = await couch('POST', `${db}/_bulk_docs`, {
      new_edits: false, docs: ['1-aaa', '1-bbb', '1-ccc'].map((_rev) => ({ _id: 'zoe', _rev, name: 'Zoe' })),
    });
    assert.deepEqual(pushed.json, []);
    const zoe = { _id: 'zoe', _rev: '1-ccc', name: 'Zoe' };
    const _conflicts = ['1-aaa', '1-bbb'];
    const selector = { name: 'Zoe' };
    assert.deepEqual((await found(db, { selector })).docs, [zoe]);
    assert.deepEqual((await found(db, { selector, conflicts: true })).docs, [{ ...zoe, _conflicts }]);
    assert.deepEqual((await found(db, { selector, conflicts: true, fields: ['_id', '_conflicts'] })).docs, [{ _id: 'zoe', _conflicts }]);
    assert.deepEqual((await found(db, { selector, conflicts: true, fields: ['name'] })).docs, [{ name: 'Zoe' }]);
    // and looked for: by a member that is shown when it is asked for
    const some = { _conflicts: { $exists: true } };
    assert.deepEqual((await found(db, { selector: some, conflicts: true })).docs, [{ ...zoe, _conflicts }]);
    assert.deepEqual((await found(db, { selector: some })).docs, []);
    assert.deepEqual(ids(await found(db, { selector: { _rev: '1-ccc' } })), ['zoe']);
    assert.equal((await found(db, { selector: { _rev: { $regex: '^1-' }, _deleted: { $exists: false } } })).docs.length, 6);
    const [ann] = (await found(db, { selector: { name: 'Ann' }, conflicts: true })).docs;
    assert.equal(ann._conflicts, undefined);
    assert.equal((await couch('POST', `${db}/_explain`, { selector, conflicts: true })).json.opts.conflicts, true);
    // a header tells of others: of a document how many, of a list in how many rows
    for (const [method, path, told, body] of [
      ['GET', 'zoe', '2'], ['HEAD', 'zoe', '2'], ['GET', 'zoe?rev=1-aaa', '2'], ['GET', 'ann', undefined], ['GET', '_all_docs', '1'],
      ['POST', '_all_docs', '1', { keys: ['zoe', 'ann'] }], ['POST', '_find', '1', { selector }],
      ['POST', '_find', undefined, { selector: { name: 'Ann' } }],
    ])
      assert.equal((await couch(method, `${db}/${path}`, body)).headers['x-parley-conflicts'], told, `${method} ${path}`);
    const query = new URLSearchParams({ query: JSON.stringify({ $mango: { _rev: ann._rev } }) });
    const gone = await cluster.send('DELETE', `${db}?${query}`);
    assert.deepEqual([gone.status, gone.json.changes], [200, 1], gone.text);
    assert.deepEqual(ids(await found(db, { selector: { _id: { $lt: 'c' } } })), ['bob']);
  });

  test('indexes are made, listed, used, explained and dropped', async () => {
    const db = await people('indexes');
    const made = await couch('POST', `${db}/_index`, { index: { fields: ['age', 'name'] } });
    assert.equal(made.json.result, 'created', made.text);
    assert.match(made.json.id, /^_design\/[0-9a-f]{40}$/);
    const again = await couch('POST', `${db}/_index`, { index: { fields: ['age', 'name'] } });
    assert.deepEqual(again.json, { ...made.json, result: 'exists' });
    const named = await couch('POST', `${db}/_index`, { index: { fields: [{ name: 'desc' }] }, ddoc: 'mine', name: 'by-name', type: 'json' });
    assert.deepEqual(named.json, { result: 'created', id: '_design/mine', name: 'by-name' });
    const ddoc = (await couch('GET', `${db}/_design/mine`)).json;
    assert.equal(ddoc.language, 'query');
    assert.deepEqual(ddoc.views['by-name'], {
      map: { fields: { name: 'desc' }, partial_filter_selector: {} }, reduce: '_count', options: { def: { fields: [{ name: 'desc' }] } },
    });
    const list = (await couch('GET', `${db}/_index`)).json;
    assert.equal(list.total_rows, 3);
    assert.deepEqual(list.indexes[0], { ddoc: null, name: '_all_docs', type: 'special', def: { fields: [{ _id: 'asc' }] } });
    assert.deepEqual(list.indexes.find((index) => index.name === 'by-name').def, { fields: [{ name: 'desc' }] });

    const sorted = await found(db, { selector: { age: { $gt: null } }, sort: ['age', 'name'] });
    assert.deepEqual(ids(sorted), ['ann', 'bob', 'cid']);
    for (const sort of [undefined, ['age', 'name']])
      assert.deepEqual(ids(await found(db, { selector: { age: { $gte: null } }, sort })).sort(), ['ann', 'bob', 'cid', 'dee']);
    assert.equal(sorted.warning, undefined);
    assert.deepEqual(ids(await found(db, { selector: { name: { $exists: true } }, sort: [{ name: 'desc' }], limit: 2 })), ['eve', 'dee']);
    assert.deepEqual(ids(await found(db, { selector: {}, sort: [{ _id: 'desc' }], limit: 1 })), ['eve']);
    const used = await found(db, { selector: { age: 30 }, use_index: 'mine' });
    assert.match(used.warning, /^_design\/mine was not used because/);
    assert.equal((await found(db, { selector: { name: 'Ann' }, use_index: ['mine', 'by-name'] })).warning, undefined);

    const explained = (await couch('POST', `${db}/_explain`, { selector: { name: 'Ann' } })).json;
    assert.equal(explained.dbname, 'indexes');
    assert.deepEqual(explained.index, { ddoc: '_design/mine', name: 'by-name', type: 'json', partitioned: false, def: { fields: [{ name: 'desc' }] } });
    assert.equal((await couch('POST', `${db}/_explain`, { selector: { nothing: 1 } })).json.index.name, '_all_docs');

    assert.equal((await couch('DELETE', `${db}/_index/mine/json/by-name`)).status, 200);
    expectError(await couch('DELETE', `${db}/_index/_design%2Fmine/json/by-name`), 404, 'not_found', 'missing');
    assert.equal((await couch('DELETE', `${db}/_index/${made.json.id}/json/${made.json.name}`)).status, 200);
    assert.equal((await couch('GET', `${db}/_index`)).json.total_rows, 1);
    assert.equal((await couch('GET', `${db}/_design/mine`)).json.reason, 'deleted');
    expectError(await couch('POST', `${db}/_find`, { selector: { name: 'Ann' }, sort: ['name'] }), 400, 'no_usable_index',
      'No index exists for this sort, try indexing by the sort fields.');
  });

  test('an index that is made anew leaves nothing behind, nor do those that are dropped together', async () => {
    const db = await people('remade');
    const native = async () => (await cluster.get('/system.indexes')).json.filter((index) => index.collection === 'remade').length;
    const make = async (ddoc, name, fields) => {
      const made = await couch('POST', `${db}/_index`, { index: { fields }, ddoc, name });
      assert.equal(made.status, 200, made.text);
      return made.json.result;
    };
    assert.equal(await make('one', 'a', ['age']), 'created');
    assert.equal(await make('one', 'a', ['name', 'age']), 'created');
    assert.equal(await make('one', 'a', ['name', 'age']), 'exists');
    assert.equal(await native(), 1);
    assert.equal(await make('one', 'a', ['home\\.city']), 'created'); // no native index has this path
    assert.equal(await make('one', 'a', ['home\\.town']), 'created');
    assert.equal(await native(), 0);
    assert.deepEqual((await couch('GET', `${db}/_index`)).json.indexes[1].def, { fields: [{ 'home\\.town': 'asc' }] });
    assert.equal(await make('one', 'b', ['age']), 'created');
    assert.equal(await make('two', 'c', ['name']), 'created');
    assert.equal(await make('three', 'd', ['name']), 'created');
    const dropped = await couch('POST', `${db}/_index/_bulk_delete`, { docids: ['_design/one', 'two', 'nobody', 'x'], w: 3 });
    assert.equal(dropped.status, 200, dropped.text);
    assert.deepEqual(dropped.json, {
      success: [{ id: '_design/one', ok: true }, { id: '_design/two', ok: true }],
      fail: [{ id: '_design/nobody', error: 'not_found' }, { id: '_design/x', error: 'not_found' }],
    });
    assert.deepEqual((await couch('GET', `${db}/_index`)).json.indexes.map((index) => index.ddoc), [null, '_design/three']);
    assert.equal(await native(), 1);
    assert.equal((await couch('GET', `${db}/_design/x`)).status, 200);
    // the design documents themselves, of which one has two
    for (const [name, fields] of [['e', ['age']], ['f', ['name', 'age']]]) assert.equal(await make('four', name, fields), 'created');
    const rev = async (ddoc) => (await couch('GET', `${db}/_design/${ddoc}`)).json._rev;
    assert.equal((await couch('DELETE', `${db}/_design/three?rev=${await rev('three')}`)).status, 200);
    await until('the other two are left', 20000, async () => (await native()) === 2);
    const gone = { _id: '_design/four', _rev: await rev('four'), _deleted: true };
    assert.equal((await couch('POST', `${db}/_bulk_docs`, { docs: [gone] })).json[0].ok, true);
    await until('none is', 20000, async () => (await native()) === 0);
  });

  test('an index with a filter is used by who asks for it', async () => {
    const db = await people('partial');
    const partial_filter_selector = { name: { $in: ['Ann', 'Bob', 'Dee'] } };
    const index = { fields: ['age'], partial_filter_selector };
    const made = await couch('POST', `${db}/_index`, { index, ddoc: 'some', name: 'of-age' });
    assert.deepEqual(made.json, { result: 'created', id: '_design/some', name: 'of-age' }, made.text);
    assert.equal((await couch('POST', `${db}/_index`, { index, ddoc: 'some', name: 'of-age' })).json.result, 'exists');
    assert.deepEqual((await couch('GET', `${db}/_design/some`)).json.views['of-age'].map, { fields: { age: 'asc' }, partial_filter_selector });
    assert.deepEqual((await couch('GET', `${db}/_index`)).json.indexes[1].def, { fields: [{ age: 'asc' }], partial_filter_selector });

    const selector = { age: { $gt: null } };
    const without = await found(db, { selector });
    assert.deepEqual(ids(without), ['ann', 'bob', 'cid']);
    assert.equal(without.warning, WARNING);
    expectError(await couch('POST', `${db}/_find`, { selector, sort: ['age'] }), 400, 'no_usable_index',
      'No index exists for this sort, try indexing by the sort fields.');
    for (const use_index of ['some', '_design/some', ['some', 'of-age']]) {
      const used = await found(db, { selector, use_index, sort: [{ age: 'desc' }] });
      assert.deepEqual(ids(used), ['bob', 'ann']);
      assert.equal(used.warning, undefined);
    }
    const first = await found(db, { selector, use_index: 'some', limit: 1 });
    assert.deepEqual(ids(first), ['ann']);
    assert.deepEqual(ids(await found(db, { selector, use_index: 'some', limit: 1, bookmark: first.bookmark })), ['bob']);
    const explained = (await couch('POST', `${db}/_explain`, { selector, use_index: 'some' })).json;
    assert.deepEqual(explained.index.def.partial_filter_selector, partial_filter_selector);
    assert.match((await found(db, { selector: { name: 'Dee' }, use_index: 'some' })).warning, /_design\/some was not used/);

    const other = { fields: ['age'], partial_filter_selector: { name: 'Cid' } };
    assert.equal((await couch('POST', `${db}/_index`, { index: other, ddoc: 'some', name: 'cid' })).json.result, 'created');
    assert.deepEqual(ids(await found(db, { selector, use_index: ['some', 'cid'] })), ['cid']);
    assert.deepEqual(ids(await found(db, { selector, use_index: ['some', 'of-age'] })), ['ann', 'bob']);
    assert.equal((await couch('DELETE', `${db}/_index/some/json/of-age`)).status, 200);
    assert.match((await found(db, { selector, use_index: ['some', 'of-age'] })).warning, /some, of-age was not used/);
  });

  test('pages go on with the bookmark', async () => {
    const db = await people('pages');
    assert.equal((await couch('POST', `${db}/_index`, { index: { fields: ['name'] } })).json.result, 'created');
    for (const sort of [undefined, ['name'], [{ name: 'desc' }]]) {
      const all = ids(await found(db, { selector: { name: { $gt: '' } }, sort }));
      const seen = [];
      let bookmark;
      for (let page = 0; page < 4; page++) {
        const answer = await found(db, { selector: { name: { $gt: '' } }, sort, limit: 2, bookmark });
        seen.push(...ids(answer));
        bookmark = answer.bookmark;
      }
      assert.deepEqual(seen, all);
      assert.equal(seen.length, 5);
      assert.equal(bookmark, 'nil');
    }
    expectError(await couch('POST', `${db}/_find`, { selector: {}, bookmark: 'abc' }), 400, 'invalid_bookmark', 'Invalid bookmark value');
    assert.deepEqual((await found(db, { selector: {}, limit: 0 })).docs, []);
  });

  test('what is refused is refused in words of CouchDB', async () => {
    const db = await people('refused');
    const find = (body) => couch('POST', `${db}/_find`, body);
    expectError(await find({}), 400, 'missing_required_key', 'Missing required key: selector');
    expectError(await find({ selector: [] }), 400, 'invalid_selector_json', 'Selector must be a JSON object');
    expectError(await find({ selector: { $noor: [] } }), 400, 'invalid_operator', 'Invalid operator: $noor');
    expectError(await find({ selector: { a: { $in: 1 } } }), 400, 'bad_arg', 'Bad argument for operator $in: 1');
    expectError(await find({ selector: { $where: 'x' } }), 400, 'not_supported', 'Unsupported operator: $where');
    expectError(await find({ selector: {}, sort: [{ a: 'asc' }, { b: 'desc' }] }), 400, 'unsupported_mixed_sort',
      'Sorts currently only support a single direction for all fields.');
    assert.equal((await find({ selector: {}, sort: 'a' })).json.error, 'invalid_sort_json');
    assert.equal((await find({ selector: {}, limit: -1 })).json.error, 'invalid_non_neg_integer');
    assert.equal((await find({ selector: {}, fields: 5 })).json.error, 'invalid_fields_json');
    let deep = { a: 1 };
    for (let i = 0; i < 80; i++)
      deep = { $not: deep };
    assert.equal((await find({ selector: deep })).json.error, 'invalid_selector_json');
    expectError(await couch('POST', `${db}/_index`, { index: {} }), 400, 'missing_required_key', 'Missing required key: fields');
    expectError(await couch('POST', `${db}/_index`, { index: { fields: ['a'] }, ddoc: 'x' }), 400, 'invalid_ddoc_lang',
      'Existing design document has an invalid language.');
    expectError(await couch('POST', `${db}/_index/_bulk_delete`, {}), 400, 'missing_required_key', 'Missing required key: docids');
    const typed = (type) => couch('POST', `${db}/_index`, { index: { fields: ['a'] }, type });
    expectError(await typed('text'), 503, 'required index service unavailable', 'text');
    expectError(await typed('geo'), 400, 'invalid_index', 'Invalid type for index: geo');
    const partial = (filter) => couch('POST', `${db}/_index`, { index: { fields: ['a'], partial_filter_selector: filter } });
    expectError(await partial({ a: { $noor: 1 } }), 400, 'invalid_operator', 'Invalid operator: $noor');
    expectError(await partial([]), 400, 'invalid_selector_json', 'Selector must be a JSON object');
    expectError(await couch('POST', '/absent/_find', { selector: {} }), 404, 'not_found', 'Database does not exist.');
  });

  test('nano finds and makes indexes', async () => {
    await people('nano-find');
    const db = nano.use('nano-find');
    assert.equal((await db.createIndex({ index: { fields: ['age'] }, name: 'age' })).result, 'created');
    const answer = await db.find({ selector: { age: { $gt: 35, $lt: 60 } }, sort: [{ age: 'asc' }], fields: ['name', 'age'] });
    assert.deepEqual(answer.docs, [{ name: 'Bob', age: 41 }]);
  });
});
