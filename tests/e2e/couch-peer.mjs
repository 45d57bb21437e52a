// Another server that speaks CouchDB's HTTP API: PouchDB Server as it comes from npm.
import { once } from 'node:events';
import express from 'express';
import expressPouch from 'express-pouchdb';
import memory from 'pouchdb-adapter-memory';
import PouchDB from 'pouchdb-core';
import replication from 'pouchdb-replication';

/** In memory; keeps what it is sent as Authorization. */
export async function startPeer(routes = []) {
  const Pouch = PouchDB.plugin(memory).plugin(replication).defaults({ adapter: 'memory', prefix: 'peer/' });
  const app = express();
  const seen = [];
  app.use((request, _, next) => {
    seen.push({ url: request.url, authorization: request.headers.authorization });
    next();
  });
  const mode = { mode: 'minimumForPouchDB', overrideMode: { include: routes } };
  app.use('/', expressPouch(Pouch, { ...mode, inMemoryConfig: true, logPath: '/dev/null' }));
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  // It forgets the timer of a feed whose client went before the feed began to wait, which would keep the process alive.
  const { setInterval } = globalThis;
  globalThis.setInterval = (...args) => setInterval(...args).unref();
  const close = () => {
    globalThis.setInterval = setInterval;
    server.close();
    server.closeAllConnections();
  };
  return { Pouch, seen, host: `127.0.0.1:${port}`, url: `http://127.0.0.1:${port}`, close };
}
