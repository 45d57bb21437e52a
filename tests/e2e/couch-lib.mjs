// What tests of the CouchDB dialect share.
import assert from 'node:assert/strict';

/** The dialect's port of the first gateway, from the cluster's base. */
const COUCH_PORT_OFFSET = -1459;

export const couchUrl = (cluster, path = '', gateway = 1) =>
  new URL(path, `https://localhost:${cluster.base + COUCH_PORT_OFFSET + (gateway - 1) * 10}`);

export function expectError(answer, status, error, reason) {
  assert.equal(answer.status, status, answer.text);
  assert.deepEqual(answer.json, { error, reason });
}

/** Requests to the cluster that there is by then: couch(method, path, { body, headers, gateway }), and a database made anew. */
export function couchClient(cluster) {
  const couch = (method, path, { gateway = 1, ...options } = {}) =>
    cluster().sendTo(couchUrl(cluster(), path, gateway), { method, ...options });
  const database = async (name) => {
    const path = `/${encodeURIComponent(name)}`;
    await couch('DELETE', path);
    const made = await couch('PUT', path);
    assert.equal(made.status, 201, made.text);
    return path;
  };
  return { couch, database };
}
