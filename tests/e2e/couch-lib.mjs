// What tests of the CouchDB dialect share.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';

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
    assert.ok([201, 202].includes(made.status), made.text); // 202: a slow machine
    return path;
  };
  return { couch, database };
}

/** The dialect over plain HTTP, as another server: `pass` sees each request before it goes on to a gateway, may change its headers, or
 * hold it, and says after how many bytes its answer breaks off. */
export async function startFront(cluster, pass, gateway = () => 1) {
  const server = http.createServer(async (request, response) => {
    let left = await pass(request);
    const { method, headers } = request;
    const onward = https.request(couchUrl(cluster, request.url, gateway()), { agent: cluster.agent, method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.on('data', (data) => {
        left -= data.length;
        if (left < 0) response.destroy();
      });
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${server.address().port}`, close };
}
