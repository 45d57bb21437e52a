// docs/openapi.yaml held to a running gateway: every operation is asked as its examples show and in ways that its schemas
// forbid; status, headers, media type and body of every answer must be as described.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import Ajv from 'ajv/dist/2020.js';
import WebSocket from 'ws';
import { parse } from 'yaml';
import { couchUrl } from './couch-lib.mjs';
import { ROOT, check, send, startCluster, until } from './lib.mjs';

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
const NOT_JSON = ['{', 'nul', '{"a":1}x'];
const STREAM = 'text/event-stream';
// Asked for only while something fails, or by none of the examples; each has a test of its own elsewhere.
const SEEN_ELSEWHERE = new Set(['202', '206']);

const description = parse(readFileSync(join(ROOT, 'docs/openapi.yaml'), 'utf8'));
const codes = new Set([...readFileSync(join(ROOT, 'docs/errors.md'), 'utf8').matchAll(/`([a-z0-9_]+)` \|/g)].map(([, code]) => code));
const ajv = new Ajv.default({ strict: false, allErrors: true });
ajv.addSchema(description, 'openapi');

// ---- the description ----

function resolve(node) {
  if (!node?.$ref) return node;
  return node.$ref.slice(2).split('/').reduce((at, name) => at[name.replaceAll('~1', '/').replaceAll('~0', '~')], description);
}

function operations() {
  return Object.entries(description.paths).flatMap(([path, item]) => METHODS.filter((method) => item[method]).map((method) => {
    const operation = item[method];
    const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map(resolve);
    const responses = Object.fromEntries(Object.entries(operation.responses).map(([status, response]) => [status, resolve(response)]));
    return { id: operation.operationId, path, method: method.toUpperCase(), parameters, responses, body: resolve(operation.requestBody) };
  }));
}

/** The schema's references are into the whole description, so it is compiled where it stands. */
const validators = new Map();
function validator(schema) {
  if (!validators.has(schema)) {
    const absolute = JSON.parse(JSON.stringify(schema), (key, value) => (key === '$ref' ? `openapi${value}` : value));
    validators.set(schema, ajv.compile(absolute));
  }
  return validators.get(schema);
}

function assertValid(schema, value, what) {
  const validate = validator(schema);
  assert.ok(validate(value), `${what}: ${ajv.errorsText(validate.errors)}\n${JSON.stringify(value).slice(0, 500)}`);
}

// ---- answers ----

function assertDescribed(operation, answer, what) {
  const response = operation.responses[answer.status];
  assert.ok(response, `${what}: status ${answer.status} is not described: ${answer.text}`);
  for (const [name, reference] of Object.entries(response.headers ?? {})) {
    const header = resolve(reference);
    const value = answer.headers[name.toLowerCase()];
    assert.ok(value !== undefined || !header.required, `${what}: ${answer.status} without ${name}`);
    if (value !== undefined) assertValid(header.schema, value, `${what}: header ${name}`);
  }
  if (!response.content) {
    assert.equal(answer.text, '', `${what}: no body is described`);
    return;
  }
  const type = answer.headers['content-type']?.split(';')[0];
  assert.ok(response.content[type], `${what}: media type ${type} is not described`);
  assertValid(response.content[type].schema, answer.json, `${what}: body`);
  if (answer.status >= 400) {
    assert.equal(answer.json.status, answer.status, what);
    assert.ok(codes.has(answer.json.code), `${what}: ${answer.json.code} does not stand in docs/errors.md`);
  }
}

// ---- requests ----

const example = (parameter) => parameter.example ?? parameter.examples?.default?.value;

function request(operation, { path = {}, query = {}, headers = {}, body, type } = {}) {
  const address = operation.path.replace(/{(\w+)}/g, (_, name) => {
    const parameter = operation.parameters.find((candidate) => candidate.in === 'path' && candidate.name === name);
    return encodeURIComponent(path[name] ?? example(parameter));
  });
  const search = new URLSearchParams(query).toString();
  return { path: search ? `${address}?${search}` : address, method: operation.method, headers: type ? { ...headers, 'Content-Type': type } : headers, body };
}

/** The body of the first example, where there must be one. */
function bodies(operation) {
  return Object.entries(operation.body?.content ?? {}).flatMap(([type, media]) =>
    Object.entries(media.examples ?? {}).map(([name, { value }]) => ({ name, type, body: JSON.stringify(value), schema: media.schema })));
}

/** An answer that has no end, or a WebSocket. */
const onlyStreams = ({ responses }) => '101' in responses
  || Object.values(responses).some(({ content = {} }) => content[STREAM] && Object.keys(content).length === 1);

function validRequests(operation) {
  const [first, ...others] = bodies(operation);
  const base = first ? { body: first.body, type: first.type } : {};
  const requests = [{ what: 'as its first example', ...base }];
  for (const { name, type, body } of others) requests.push({ what: `body ${name}`, type, body });
  for (const parameter of operation.parameters) {
    if (parameter.in === 'path' || example(parameter) === undefined) continue;
    const part = parameter.in === 'query' ? 'query' : 'headers';
    requests.push({ what: `with ${parameter.name}`, ...base, [part]: { [parameter.name]: String(example(parameter)) } });
  }
  return requests;
}

/** Values that the schema forbids: another type, and what its words exclude. */
function wrongValues(reference) {
  const schema = resolve(reference);
  const ofType = { object: [[], 5, 'x'], array: [{}, 5, 'x'], integer: ['x', 1.5, [], -1], string: [5, {}, []], boolean: [5, 'x'] };
  const wrong = [...(ofType[schema.type] ?? [])];
  if (schema.enum) wrong.push('nonsense', 5);
  if (schema.minimum !== undefined) wrong.push(schema.minimum - 1);
  if (schema.maximum !== undefined) wrong.push(schema.maximum + 1);
  if (schema.maxItems !== undefined && schema.type === 'array') wrong.push(Array(schema.maxItems + 1).fill('asc(a)'));
  if (schema.type === 'array' && schema.items) wrong.push([5], [null]);
  return wrong.filter((value) => !validator(schema)(value));
}

function wrongBodies(operation) {
  const [first] = bodies(operation);
  if (!first) return [];
  const { schema: reference, type } = first;
  const schema = resolve(reference);
  const good = JSON.parse(first.body);
  const texts = ['', ...NOT_JSON].map((body) => ({ what: `body ${body || 'empty'}`, body, type }));
  const values = [null, 5, 'text', ...wrongValues(reference)];
  for (const [name, member] of Object.entries(schema.properties ?? {}))
    for (const value of wrongValues(member)) values.push({ ...good, [name]: value });
  if (schema.additionalProperties === false) values.push({ ...good, nonsense: 1 });
  for (const name of schema.required ?? []) values.push(Object.fromEntries(Object.entries(good).filter(([key]) => key !== name)));
  const refused = values.filter((value) => !validator(reference)(value)).map((value) => ({ body: JSON.stringify(value), type }));
  return [...texts, ...refused.map((wrong) => ({ what: `body ${wrong.body.slice(0, 60)}`, ...wrong }))];
}

function wrongParameters(operation) {
  const [first] = bodies(operation);
  const base = first ? { body: first.body, type: first.type } : {};
  const requests = [];
  const add = (parameter, value) => {
    const part = { path: 'path', query: 'query', header: 'headers' }[parameter.in];
    requests.push({ what: `${parameter.name}=${value.slice(0, 40)}`, ...base, [part]: { [parameter.name]: value } });
  };
  for (const parameter of operation.parameters) {
    const json = parameter.content?.['application/json'];
    const schema = resolve(json?.schema ?? parameter.schema);
    if (json) for (const text of NOT_JSON) add(parameter, text);
    if (json) for (const value of wrongValues(schema)) add(parameter, JSON.stringify(value));
    if (!json && schema.enum && parameter.in === 'query') add(parameter, 'nonsense');
    if (parameter.in === 'path' && schema.pattern) add(parameter, 'under_score');
    if (parameter.in === 'path' && schema.maxLength) add(parameter, 'x'.repeat(schema.maxLength + 1));
    if (parameter.in === 'header' && schema.const) add(parameter, 'nonsense');
    if (parameter.name === 'If-Match') add(parameter, '"nonsense"');
    if (parameter.name === 'Idempotency-Key') add(parameter, 'x'.repeat(schema.maxLength + 1));
    if (parameter.name === 'rev') add(parameter, 'nonsense');
    if (parameter.name === 'cursor') add(parameter, '!!');
  }
  return requests;
}

// ---- the tests ----

/** Two documents of one parent, and nobody to merge them: a conflict to look at. */
async function conflicting(c) {
  await c.collection('contested', { policy: { strategy: 'none' } });
  const { etag } = await c.insist('PUT', '/contested/one', { body: { n: 0 } });
  await c.put('/contested/one', { n: 1 }, { 'If-Match': etag });
  await c.put('/contested/one?branch=true', { n: 2 }, { 'If-Match': etag });
  return { path: { id: 'contested/one' } };
}

/** A conflict that was resolved by hand: the resolution's id. */
async function resolution(c) {
  await conflicting(c);
  const { json } = await c.get('/_/conflicts/contested/one');
  const body = { leaves: json.leaves, pick: json.leaves[0] };
  return (await c.insist('POST', '/_/conflicts/contested/one/resolve', { body })).json.resolutionId;
}

/** Two documents of one id, as clients of the other dialect bring them. */
async function collided(c) {
  await c.collection('collided', { policy: { strategy: 'none' } });
  const docs = [{ _id: 'two', _rev: '1-a', n: 1 }, { _id: 'two', _rev: '1-b', n: 2 }];
  const { status, text } = await c.sendTo(couchUrl(c, '/collided/_bulk_docs'), { method: 'POST', body: { docs, new_edits: false } });
  assert.equal(status, 201, text);
}

/** A conflict of its own, taken by a client that decides. */
async function leased(c, agent) {
  const path = `/external/${Math.random()}`;
  const { etag } = await c.insist('PUT', path, { body: { n: 0 } });
  await c.insist('PUT', path, { body: { n: 1 }, headers: { 'If-Match': etag } });
  await c.insist('PUT', `${path}?branch=true`, { body: { n: 2 }, headers: { 'If-Match': etag } });
  const { json } = await c.insist('POST', '/_/arbiter/_take', { agent, body: { waitMs: 10000 } });
  return { path: { name: json[0].lease } };
}

async function locked(c) {
  const { json } = await c.insist('POST', '/_/locks', { body: ['prepared'], headers: { 'Idempotency-Key': `prepared-${Math.random()}` } });
  return json.id;
}

/** One that a client has set. */
async function checkpoint(c) {
  await c.insist('PUT', '/_/checkpoints/books/phone-7', { body: { position: await c.position('books') } });
}

/** What has to be there before an operation can be asked as its example says; gives what must be put into the request. */
const prepared = {
  deleteLock: async (c) => ({ path: { name: await locked(c) } }),
  async renewLock(c) {
    const name = await locked(c);
    return { path: { name }, after: () => c.send('DELETE', `/_/locks/${name}`) };
  },
  async getLock(c) {
    const id = await locked(c);
    return { path: { id }, after: () => c.send('DELETE', `/_/locks/${id}`) };
  },
  async createLock(c) {
    return { after: async (answer) => c.send('DELETE', `/_/locks/${answer.json.id}`) };
  },
  async getNotify(c) {
    const pattern = `prepared-${Math.random()}`;
    const socket = new WebSocket(c.url('/').href.replace('https:', 'wss:'), c.tls);
    socket.on('open', () => socket.send(JSON.stringify([1, 'NOTIFY', pattern])));
    const listed = async () => (await c.get('/system.notifys')).json.find((row) => row.notifyPath === pattern);
    const { id } = await until('the pattern is listed', 10000, listed);
    return { path: { id }, after: () => socket.terminate() };
  },
  async updateNode(c) {
    const name = 'storage-1';
    return { path: { name }, after: () => c.insist('PATCH', `/_/nodes/${name}`, { body: { drain: false } }) };
  },
  getSystemConflict: conflicting,
  async getConflict(c) {
    await conflicting(c);
    return { path: { collection: 'contested', id: 'one' } };
  },
  async resolveConflict(c) {
    await conflicting(c);
    const { json } = await c.get('/_/conflicts/contested/one');
    return { path: { collection: 'contested', id: 'one' }, body: JSON.stringify({ leaves: json.leaves, pick: json.leaves[0] }) };
  },
  async undoResolution(c) {
    return { path: { collection: 'contested', id: 'one' }, body: JSON.stringify({ resolutionId: await resolution(c) }) };
  },
  async getResolution(c) {
    await resolution(c);
    const { json } = await c.get('/system.resolutions?limit=1');
    return { path: { id: json[0].id } };
  },
  async getSystemIndex(c) {
    await c.insist('POST', '/_/collections/books/indexes', { body: { name: 'listed', fields: ['y'] } });
    return { path: { id: 'books/listed' } };
  },
  async rewriteReferences(c) {
    await collided(c);
    const { json } = await c.get('/_/conflicts/collided/two');
    if (json.leaves) await c.insist('POST', '/_/conflicts/collided/two/resolve', { body: { leaves: json.leaves, split: true } });
    return { path: { collection: 'collided', id: 'two' } };
  },
  setCheckpoint: async (c) => ({ body: JSON.stringify({ position: await c.position('books') }) }),
  getCheckpoint: checkpoint,
  dropCheckpoint: checkpoint,
  async getCheckpointRow(c) {
    await checkpoint(c);
    return { path: { id: 'books/phone-7' } };
  },
  async deleteIndex(c) {
    await c.insist('POST', '/_/collections/books/indexes', { body: { name: 'prepared', fields: ['x'] } });
    return { path: { name: 'prepared' } };
  },
};

const EMMA = { title: 'Emma', year: 1815, tags: ['novel'], author: { name: 'Jane Austen' } };

/** Of all paths that fit: "/{collection}/{id}" fits where "/{collection}/_query" does. */
function methodsOf(address) {
  const system = /^\/(_|system\.[a-z]+)(\/|$)/.test(address);
  const fits = (path) => {
    if (system && path.startsWith('/{')) return false;
    return new RegExp(`^${path.replaceAll('.', '\\.').replace(/{\w+}/g, '[^/]+')}$`).test(address);
  };
  return METHODS.filter((method) => Object.entries(description.paths).some(([path, item]) => item[method] && fits(path)))
    .map((method) => method.toUpperCase());
}

describe('openapi.yaml', () => {
  let cluster;
  let decider; // has the role that some operations need
  const seen = new Map();
  const test = (what, body) => check(() => cluster, what, body);

  async function ask(operation, details) {
    const { path, ...options } = request(operation, details);
    const agent = path.startsWith('/_/arbiter') ? decider : cluster.agent;
    const answer = await send(cluster.url(path), { agent, ...options });
    const what = `${options.method} ${path} (${details.what})`;
    assertDescribed(operation, answer, what);
    if (!seen.has(operation.id)) seen.set(operation.id, new Set());
    seen.get(operation.id).add(String(answer.status));
    return { answer, what };
  }

  before(async () => {
    cluster = await startCluster('openapi', { gateways: 1 });
    await cluster.collection('books');
    await cluster.collection('external', { mode: 'available', policy: { strategy: 'external' } });
    const pem = (file) => readFileSync(join(cluster.dir, 'keys', file));
    decider = new Agent({ keepAlive: true, ca: pem('ca.crt'), cert: pem('decider.crt'), key: pem('decider.key') });
    prepared.renewConflictLease = prepared.answerConflict = (c) => leased(c, decider);
  });
  after(() => {
    decider?.destroy();
    return cluster?.down();
  });

  for (const operation of operations()) {
    test(`${operation.method} ${operation.path}: valid requests`, async (c) => {
      if (onlyStreams(operation)) return;
      for (const details of validRequests(operation)) {
        await c.insist('PUT', '/books/emma', { body: EMMA });
        const { after: clean, ...extra } = (await prepared[operation.id]?.(c)) ?? {};
        const { answer, what } = await ask(operation, { ...details, ...extra });
        assert.ok(answer.status < 400, `${what}: ${answer.status} ${answer.text}`);
        await clean?.(answer);
      }
    });

    test(`${operation.method} ${operation.path}: invalid requests`, async (c) => {
      for (const details of [...wrongParameters(operation), ...wrongBodies(operation)]) {
        const { answer, what } = await ask(operation, details);
        assert.ok(answer.status >= 400 && answer.status < 500, `${what}: ${answer.status} ${answer.text}`);
      }
      assert.equal((await c.get('/')).status, 200, 'the gateway is well');
    });

    test(`${operation.method} ${operation.path}: without a certificate`, async (c) => {
      const { path, ...options } = request(operation, validRequests(operation)[0]);
      const answer = await send(c.url(path), { tls: { ca: c.tls.ca }, ...options });
      assert.equal(answer.status, 403, answer.text);
      assertDescribed(operation, answer, `${operation.id} without a certificate`);
    });
  }

  test('methods that a path does not take: 405 with those that it takes', async (c) => {
    for (const path of Object.keys(description.paths)) {
      const [operation] = operations().filter((candidate) => candidate.path === path);
      const address = request(operation, {}).path;
      const taken = methodsOf(address);
      for (const method of METHODS.map((name) => name.toUpperCase()).filter((name) => !taken.includes(name))) {
        const answer = await c.send(method, address, { body: '{}' });
        assert.equal(answer.status, 405, `${method} ${address}: ${answer.text}`);
        assert.equal(answer.json.code, 'method_not_allowed');
        const allowed = answer.headers.allow.split(', ').filter((name) => !['HEAD', 'OPTIONS'].includes(name));
        assert.deepEqual(allowed.sort(), [...taken].sort(), address);
      }
      const options = await c.send('OPTIONS', address);
      assert.equal(options.status, 204, address);
    }
  });

  test('creation, revisions and conditions: the answers that need a story', async () => {
    const byId = Object.fromEntries(operations().map((operation) => [operation.id, operation]));
    const step = async (id, details, status) => {
      const { answer, what } = await ask(byId[id], { what: `expects ${status}`, type: 'application/json', ...details });
      assert.equal(answer.status, status, `${what}: ${answer.text}`);
      return answer;
    };
    const path = { id: 'story' };
    const made = await step('putDocument', { path, body: '{"n":1}', headers: { 'If-None-Match': '*' } }, 201);
    await step('putDocument', { path, body: '{"n":1}', headers: { 'If-None-Match': '*' } }, 412);
    const changed = await step('putDocument', { path, body: '{"n":2}', headers: { 'If-Match': made.etag } }, 200);
    await step('putDocument', { path, body: '{"n":3}', headers: { 'If-Match': made.etag } }, 409);
    await step('patchDocument', { path, body: '{"n":3}', headers: { 'If-Match': made.etag } }, 409);
    await step('deleteDocument', { path, headers: { 'If-Match': made.etag } }, 409);
    await step('getDocument', { path, headers: { 'If-None-Match': changed.etag } }, 304);
    await step('createDocuments', { body: '{"id":"story"}' }, 409);
    await step('deleteDocument', { path }, 200);
    for (const id of ['getDocument', 'deleteDocument']) await step(id, { path }, 404);
    await step('patchDocument', { path, body: '{}' }, 404);
    await step('createCollection', { body: '{"name":"books"}' }, 200);
    await step('createIndex', { body: '{"name":"by-year","fields":["year"]}' }, 200);
    await step('createIndex', { body: '{"name":"by-year","fields":["title"]}' }, 409);
    for (const id of ['listIndexes', 'createIndex']) await step(id, { path: { collection: 'nowhere' }, body: '{"name":"x","fields":["x"]}' }, 404);
    await step('deleteIndex', { path: { name: 'nothing' } }, 404);
    await step('createCollection', { body: '{"name":"books","shards":7}' }, 409);
    await step('updateCollection', { path: { name: 'nowhere' }, body: '{}' }, 404);
  });

  test('every success that is described was seen', () => {
    for (const operation of operations()) {
      const described = Object.keys(operation.responses).filter((status) => status < '400' && !SEEN_ELSEWHERE.has(status));
      if (onlyStreams(operation)) continue;
      for (const status of described) assert.ok(seen.get(operation.id)?.has(status), `${operation.id}: ${status} was never seen`);
    }
  });
});
