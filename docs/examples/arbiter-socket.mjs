#!/usr/bin/env node
// A client that decides conflicts over one WebSocket: they come as they arise, answers go back the same way. The rule is to
// take what readers see now; put yours into `decide`. It needs the package ws (npm install ws) where it is started:
//
//   PARLEY_URL=https://localhost:8443 PARLEY_CA=keys/ca.crt PARLEY_CERT=keys/decider.crt PARLEY_KEY=keys/decider.key \
//     node arbiter-socket.mjs [COLLECTION...]
//
// The certificate's subject must have OU=arbiter (deploy/make-keys makes "decider" so).
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const WebSocket = createRequire(`${process.cwd()}/`)('ws');
const LEASE_MS = 30000; // renewed at half time while one is decided
const PAUSE_MS = 500;

const url = new URL('/_/arbiter/_socket', process.env.PARLEY_URL || 'https://localhost:8443').href.replace('https:', 'wss:');
const file = (name) => readFileSync(process.env[name]);
const tls = { ca: file('PARLEY_CA'), cert: file('PARLEY_CERT'), key: file('PARLEY_KEY') };
const collections = process.argv.slice(2);

/** One of { pick: rev }, { document: {...} }, { delete: true }, { defer: milliseconds }, { release: true }. */
async function decide({ versions }) {
  return { pick: versions[0].rev };
}

function connect() {
  const socket = new WebSocket(url, tls);
  const send = (frame) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(frame));
  socket.on('open', () => send({ ref: 'listen', listen: { collections, credit: 8, leaseMs: LEASE_MS } }));
  socket.on('message', async (data) => {
    const { conflict, ref, status, body } = JSON.parse(data);
    if (!conflict) {
      if (status === 200 && ref !== 'listen') console.log(`decided ${ref}`);
      else if (status !== 200) console.log(`${ref}: ${body.code}`); // not decided: it comes again, if it is still there
      return;
    }
    const { lease, collection, id } = conflict;
    const renewing = setInterval(() => send({ ref: 'renew', lease, renew: {} }), LEASE_MS / 2);
    const answer = await decide(conflict).catch((error) => (console.log(error), { release: true }));
    clearInterval(renewing);
    send({ ref: `${collection}/${id}`, lease, answer });
  });
  socket.on('error', (error) => console.log(error.message));
  socket.on('close', () => setTimeout(connect, PAUSE_MS)); // what was out is offered again, to anybody
}
connect();
