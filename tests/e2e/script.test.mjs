// Conflicts resolved by a script of the policy: what it may say, how it fails, and that nothing else is hurt.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { after, before, describe } from 'node:test';
import { check, startCluster, until } from './lib.mjs';

const DECIDED_MS = 20000;
let cluster;
const test = (what, body) => check(() => cluster, what, body);

const bare = (etag) => etag.replaceAll('"', '');

async function conflictOf(c, collection, id) {
  const { status, json } = await c.insist('GET', `/_/conflicts?collection=${collection}`);
  assert.equal(status, 200);
  return json.find((row) => row.id === id);
}

const resolved = (c, collection, id) => until(`${collection}/${id} is resolved`, DECIDED_MS, async () => {
  const row = await conflictOf(c, collection, id);
  return row?.state === 'resolved' && row;
});

const noted = (c, collection, id) => until(`${collection}/${id} has a reason`, DECIDED_MS, async () => {
  const row = await conflictOf(c, collection, id);
  return row?.state === 'open' && row.detail?.reason && row;
});

/** Two edits of one base; the second as a branch. */
async function diverge(c, path, base, online, offline) {
  const first = await c.put(path, base);
  assert.equal(first.status, 201, first.text);
  const second = await c.put(path, online, { 'If-Match': first.etag });
  assert.equal(second.status, 200, second.text);
  const third = await c.insist('PUT', `${path}?branch=true`, { body: offline, headers: { 'If-Match': first.etag } });
  return { first: bare(first.etag), online: bare(second.etag), offline: bare(third.etag) };
}

async function collection(c, name, script, policy = {}) {
  const source = typeof script === 'function' ? script.toString() : script;
  await c.collection(name, {
    mode: 'available', retainMs: 3600000, policy: { strategy: 'script', script: source, ...policy },
  });
}

/** Pids of the processes that the arbiter has started. */
function workers(c) {
  const parent = c.pid('arbiter-1');
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent;
    } catch {
      return false;
    }
  });
}

const counted = async (c, line) => Number((await c.metric('arbiter-1', line)) ?? 0);

describe('scripts', () => {
  before(async () => {
    cluster = await startCluster('script');
    await cluster.collection('merge', { mode: 'available', retainMs: 3600000, policy: { strategy: 'merge' } });
  });
  after(() => cluster?.down());

  test('resolve: what it returns becomes the document, to the digit', async (c) => {
    await collection(c, 'books', (base, leaves) => {
      const versions = leaves.map((leaf) => leaf.document);
      const body = { ...versions[0] };
      body.read = [...new Set(versions.flatMap((version) => version.read))].sort();
      body.stock = versions.reduce((sum, version) => sum + version.stock - base.document.stock, base.document.stock);
      return { resolve: body };
    });
    const base = '{"title":"Emma","big":18446744073709551615,"exact":0.1234567890123456789,"one":1.0,"10":1,"2":2,' +
      '"read":["Ann"],"stock":10}';
    const edit = (read, stock) => base.replace('["Ann"]', JSON.stringify(read)).replace(':10}', `:${stock}}`);
    const headers = { 'Content-Type': 'application/json' };
    const first = await c.send('PUT', '/books/a', { body: Buffer.from(base), headers });
    assert.equal(first.status, 201, first.text);
    const second = await c.send('PUT', '/books/a',
      { body: Buffer.from(edit(['Ann', 'Bob'], 8)), headers: { ...headers, 'If-Match': first.etag } });
    assert.equal(second.status, 200, second.text);
    await c.insist('PUT', '/books/a?branch=true',
      { body: Buffer.from(edit(['Ann', 'Cy'], 13)), headers: { ...headers, 'If-Match': first.etag } });
    const row = await resolved(c, 'books', 'a');
    assert.equal(row.detail?.strategy ?? 'script', 'script');
    const { text, headers: got } = await c.get('/books/a');
    for (const part of ['"title":"Emma"', '"big":18446744073709551615', '"exact":0.1234567890123456789',
      '"read":["Ann","Bob","Cy"]', '"stock":11', '"10":1', '"2":2'])
      assert.ok(text.includes(part), `${part} in ${text}`);
    assert.equal(got['x-parley-conflicts'], undefined);
  });

  test('every member of a document is shown, and kept', async (c) => {
    await collection(c, 'members', (base, leaves) => ({ resolve: { ...leaves[0].document, base: base.document._rev } }));
    const own = { _id: 'mine', _rev: 'x', _deleted: true, _split: ['a'] };
    await diverge(c, '/members/a', own, { ...own, n: 1 }, { ...own, n: 2 });
    await resolved(c, 'members', 'a');
    const { json } = await c.get('/members/a');
    assert.deepEqual({ ...json, n: 0 }, { id: 'a', ...own, n: 0, base: 'x' });
  });

  test('a result with the id of another document is none', async (c) => {
    await collection(c, 'ids', '(base, leaves) => ({ resolve: { id: "other", n: leaves[0].document.n } })');
    await diverge(c, '/ids/a', { n: 0 }, { n: 1 }, { n: 2 });
    const row = await noted(c, 'ids', 'a');
    assert.deepEqual([row.detail.reason, row.detail.text], ['script_failed', 'resolve has another id']);
  });

  test('pick, delete and open', async (c) => {
    await collection(c, 'says', (base, leaves) => {
      if (leaves.some((leaf) => leaf.document.ask)) return { open: `ask ${base.document.id}` };
      if (leaves.every((leaf) => leaf.document.old)) return { delete: true };
      return { pick: leaves.find((leaf) => leaf.document.best).rev };
    });
    const made = await diverge(c, '/says/pick', { n: 0 }, { n: 1.0, best: true }, { n: 2 });
    await diverge(c, '/says/delete', { n: 0 }, { n: 1, old: true }, { n: 2, old: true });
    await diverge(c, '/says/open', { n: 0 }, { n: 1 }, { n: 2, ask: true });
    await resolved(c, 'says', 'pick');
    assert.equal((await c.get('/says/pick')).json.n, 1);
    assert.equal((await c.get(`/says/pick?rev=${made.online}`)).json.best, true);
    await resolved(c, 'says', 'delete');
    assert.equal((await c.get('/says/delete')).status, 404);
    const row = await noted(c, 'says', 'open');
    assert.deepEqual([row.detail.reason, row.detail.text], ['script_open', 'ask open']);
  });

  const failures = [
    ['loops', '() => { for (;;); }', /^time: /],
    ['throws', '() => { throw new TypeError("no"); }', /^threw: TypeError: no/],
    ['eats', '() => { const a = []; for (;;) a.push({ a: [1, 2, 3] }); }', /^memory: /],
    ['recurses', '() => { const f = () => 1 + f(); return f(); }', /^threw: RangeError/],
    ['says nothing', '() => 7', /must return/],
    ['says why by number', '() => ({ open: 5 })', /open must be a text/],
    ['asks the clock', '() => ({ resolve: { at: Date.now() } })', /^threw: TypeError/],
    ['asks a file', '() => require("fs")', /^threw: ReferenceError/],
    ['throws something hostile', '() => { throw { get message() { for (;;); } }; }', /^time: /],
    ['returns a cycle', '() => { const a = {}; a.a = a; return { resolve: a }; }', /^bad_result: /],
  ];
  test('one that fails leaves the conflict open, with the reason, and others are resolved meanwhile', async (c) => {
    for (const [i, [, source]] of failures.entries()) {
      await collection(c, `fails${i}`, source);
      await diverge(c, `/fails${i}/a`, { n: 0 }, { n: 1 }, { n: 2 });
      await diverge(c, `/merge/m${i}`, { a: 1, b: 1 }, { a: 2, b: 1 }, { a: 1, b: 2 });
    }
    for (const [i, [what, , reason]] of failures.entries()) {
      const row = await noted(c, `fails${i}`, 'a');
      assert.equal(row.detail.reason, 'script_failed', what);
      assert.match(row.detail.text, reason, what);
      const read = await c.get(`/fails${i}/a`);
      assert.equal(read.headers['x-parley-conflicts'], '1', what);
      await resolved(c, 'merge', `m${i}`);
    }
    assert.ok(await counted(c, 'parley_script_runs_total{result="time"}') >= 2);
    assert.ok(await counted(c, 'parley_script_runs_total{result="memory"}') >= 1);
    assert.ok(await counted(c, 'parley_conflicts_scripts_failed_total') >= failures.length);
    assert.equal((await c.get('/says/pick')).status, 200);
  });

  test('one that does not compile is refused when it is written, with its place', async (c) => {
    const policy = { strategy: 'script', script: '(base, leaves) => {' };
    const refuse = (method, path, body) => c.insist(method, path, { body }, [400]); // 503 while nobody has time to try it
    const put = await refuse('PUT', '/system.policies/books', policy);
    assert.deepEqual([put.status, put.json.code, put.json.place], [400, 'bad_parameter', '/script'], put.text);
    assert.match(put.json.detail, /SyntaxError/);
    const none = await refuse('PATCH', '/system.policies/books', { script: '{ no: "function" }' });
    assert.deepEqual([none.status, none.json.place], [400, '/script'], none.text);
    for (const [method, path] of [['POST', '/_/collections'], ['PATCH', '/_/collections/books']]) {
      const { status, json, text } = await refuse(method, path, { ...(method === 'POST' && { name: 'never' }), policy });
      assert.deepEqual([status, json.place], [400, '/policy/script'], text);
    }
    const long = await refuse('PUT', '/system.policies/books', { ...policy, script: `() => '${'x'.repeat(70000)}'` });
    assert.deepEqual([long.json.place, long.json.key, long.json.limit], ['policy', 'policy', 65536], long.text);
    assert.equal((await c.get('/system.policies/books')).json.version, 1);
  });

  test('one that comes to no end before it is a function is refused', async (c) => {
    const body = { strategy: 'script', script: '(() => { for (;;); })()' };
    const refused = await c.insist('PUT', '/system.policies/ids', { body }, [400], 60000);
    assert.equal(refused.json.place, '/script', refused.text);
  });

  test('other collections wait for one endless run, however many there are', async (c) => {
    const count = 20;
    await collection(c, 'endless', '() => { for (;;); }');
    await collection(c, 'quick', '(base, leaves) => ({ pick: leaves[0].rev })');
    for (let i = 0; i < count; i++) await diverge(c, `/endless/d${i}`, { n: 0 }, { n: 1 }, { n: 2 });
    await until('endless ones are at work', DECIDED_MS, async () => await counted(c, 'parley_script_running') > 0);
    await diverge(c, '/quick/a', { n: 0 }, { n: 1 }, { n: 2 });
    await resolved(c, 'quick', 'a');
    const { json } = await c.insist('GET', '/_/conflicts?collection=endless&state=open&limit=1000');
    assert.equal(json.length, count);
    assert.ok(json.filter((row) => row.detail).length < count, 'it has not waited for all of them');
    await c.insist('PUT', '/system.policies/endless', { body: { strategy: 'none' } });
  });

  test('a result with an attachment that no version has is a failure', async (c) => {
    const stub = `{ digest: "md5-x", length: 1, revpos: 1, content_type: "a/b", content: "${'0'.repeat(64)}" }`;
    const script = `() => ({ resolve: { _attachments: { a: ${stub} } } })`;
    await collection(c, 'attached', script);
    await diverge(c, '/attached/a', { n: 0 }, { n: 1 }, { n: 2 });
    const row = await noted(c, 'attached', 'a');
    const reason = ['script_failed', 'resolve has an attachment that no version has'];
    assert.deepEqual([row.detail.reason, row.detail.text], reason);
    const { json: [dry] } = await c.insist('POST', '/_/policies/_test', { body: { collection: 'attached' } });
    assert.deepEqual([dry.outcome, dry.detail.reason, dry.detail.text], ['open', ...reason]);
    await c.insist('PUT', '/system.policies/attached', { body: { strategy: 'script', script, fallback: 'newest' } });
    await resolved(c, 'attached', 'a');
    assert.equal((await c.get('/attached/a')).json.n, 2);
  });

  test('a dry run runs it', async (c) => {
    await c.collection('dry', { mode: 'available', policy: { strategy: 'none' } });
    await diverge(c, '/dry/a', { n: 0 }, { n: 1 }, { n: 2 });
    await diverge(c, '/dry/b', { n: 0 }, { n: 3 }, { n: 4 });
    const dry = async (script, more) => {
      const { ids, ...rest } = more ?? {};
      const policy = { strategy: 'script', script, ...rest };
      const { status, json, text } = await c.insist('POST', '/_/policies/_test', { body: { collection: 'dry', policy, ids } });
      assert.equal(status, 200, text);
      return json.sort((x, y) => (x.id < y.id ? -1 : 1));
    };
    const sums = await dry('(base, leaves) => ({ resolve: { n: leaves.reduce((sum, leaf) => sum + leaf.document.n, 0) } })');
    assert.deepEqual(sums.map((row) => [row.outcome, row.how, row.document.n]), [['resolved', 'script', 3], ['resolved', 'script', 7]]);
    const throws = await dry('() => { throw new Error("no"); }');
    assert.deepEqual(throws.map((row) => [row.outcome, row.detail.reason]), [['open', 'script_failed'], ['open', 'script_failed']]);
    const [first] = await dry('() => { throw new Error("no"); }', { fallback: 'newest' });
    assert.deepEqual([first.outcome, first.how, first.document.n], ['resolved', 'newest', 2]);
    const [both] = await dry('() => { throw new Error("no"); }', { strategy: 'merge', fallback: 'script' });
    assert.deepEqual([both.outcome, both.detail.reason, both.detail.fallbackFor], ['open', 'script_failed', 'paths']);
    for (let n = 0; n < 3; n++) {
      const [large] = await dry('() => ({ resolve: { text: "x".repeat(12e6) } })', { ids: ['a'] });
      assert.deepEqual([large.outcome, large.document?.text.length], ['resolved', 12e6], JSON.stringify(large.detail));
    }
    assert.equal((await c.get('/dry/a')).headers['x-parley-conflicts'], '1', 'nothing is changed');
  });

  test('one that fails is replaced by the fallback', async (c) => {
    await collection(c, 'falls', '() => { throw 1; }', { fallback: 'newest' });
    await diverge(c, '/falls/a', { n: 0 }, { n: 1 }, { n: 2 });
    await resolved(c, 'falls', 'a');
    assert.equal((await c.get('/falls/a')).json.n, 2);
  });

  test('a better script resolves what stayed open', async (c) => {
    const changed = await c.insist('PATCH', '/_/collections/fails0',
      { body: { policy: { strategy: 'script', script: '(base, leaves) => ({ pick: leaves[0].rev })' } } });
    assert.equal(changed.status, 200, changed.text);
    await resolved(c, 'fails0', 'a');
  });

  test('the worker can do nothing but work', async (c) => {
    const [pid] = await until('there is a worker', DECIDED_MS, () => {
      const found = workers(c);
      return found.length === 1 && found;
    });
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const field = (name) => status.match(new RegExp(`^${name}:\\s*(.*)$`, 'm'))[1];
    assert.equal(field('Seccomp'), '2');
    assert.equal(field('NoNewPrivs'), '1');
    assert.equal(field('Threads'), '1');
    for (const set of ['CapEff', 'CapPrm', 'CapBnd', 'CapInh', 'CapAmb']) assert.match(field(set), /^0+$/);
    assert.equal(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim(), '900');
    const limits = readFileSync(`/proc/${pid}/limits`, 'utf8');
    for (const limit of ['Max core file size', 'Max file size', 'Max processes', 'Max open files'])
      assert.match(limits, new RegExp(`${limit}\\s+0\\s+0`));
    const executable = readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')
      .filter((line) => / ..x. /.test(line) && !line.endsWith('[vsyscall]'));
    for (const line of executable)
      assert.match(line, / r-xp .*(\.so[.0-9]*|\/parley-script-worker|\[vdso\])$/, 'only what programs are made of');
    const open = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`)).slice(3);
    for (const target of open) assert.match(target, /^(anon_inode:|\/dev\/urandom|\/proc\/\d+\/statm)/);
  });

  test('a worker that is killed is replaced', async (c) => {
    const starts = await counted(c, 'parley_script_worker_starts_total');
    for (const pid of workers(c)) process.kill(pid, 'SIGKILL');
    await diverge(c, '/books/b', { read: [], stock: 1 }, { read: ['x'], stock: 1 }, { read: ['y'], stock: 1 });
    await resolved(c, 'books', 'b');
    assert.ok(await counted(c, 'parley_script_worker_starts_total') > starts);
  });

  test('workers end with their arbiter', async (c) => {
    const pids = workers(c);
    assert.ok(pids.length > 0);
    c.killNow('arbiter-1');
    await until('they are gone', DECIDED_MS, () => pids.every((pid) => {
      try {
        return readFileSync(`/proc/${pid}/status`, 'utf8').match(/^State:\s*Z/m);
      } catch {
        return true;
      }
    }));
  });
});
