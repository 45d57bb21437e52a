// What tests of the CouchDB dialect share.

/** The dialect's port of the first gateway, from the cluster's base. */
const COUCH_PORT_OFFSET = -1459;

export const couchUrl = (cluster, path = '', gateway = 1) =>
  new URL(path, `https://localhost:${cluster.base + COUCH_PORT_OFFSET + (gateway - 1) * 10}`);
