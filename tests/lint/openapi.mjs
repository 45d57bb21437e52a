#!/usr/bin/env node
// Fails when docs/openapi.yaml is no sound OpenAPI description, or does not list exactly the routes of gateway/routes.def.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const DESCRIPTION = join(ROOT, 'docs/openapi.yaml');
const require = createRequire(join(ROOT, 'tests/e2e/package.json'));
const { createConfig, lint } = require('@redocly/openapi-core');
const { parse } = require('yaml');

const RULES = {
  // "system.nodes" and "_" are no names that a collection of documents may have: the first pattern that fits decides.
  'no-ambiguous-paths': 'off',
  // The example address is the development cluster's.
  'no-server-example.com': 'off',
  // A list of limits has nothing to refuse but the certificate; HTTP's own errors are told of once, in the beginning.
  'operation-4xx-response': 'error',
  // WebSockets are answered with 101.
  'operation-2xx-response': 'off',
  'operation-operationId': 'error',
  'no-unused-components': 'error',
  'no-invalid-media-type-examples': { severity: 'error', allowAdditionalProperties: true },
  'no-invalid-parameter-examples': 'off',
};

function routesOfCode() {
  const text = readFileSync(join(ROOT, 'gateway/routes.def'), 'utf8');
  const rows = [...text.matchAll(/^ROUTE\(NATIVE, HTTP_(\w+), "([^"]+)"/gm)];
  if (rows.length === 0) throw new Error('no routes found in gateway/routes.def');
  return new Set(rows.map(([, method, path]) => `${method} ${path}`));
}

function routesOfDescription() {
  const { paths } = parse(readFileSync(DESCRIPTION, 'utf8'));
  const methods = ['get', 'post', 'put', 'patch', 'delete'];
  const rows = Object.entries(paths).flatMap(([path, item]) => methods.filter((method) => item[method]).map((method) => [method, path]));
  return new Set(rows.map(([method, path]) => `${method.toUpperCase()} ${path}`));
}

async function problemsOfForm() {
  const config = await createConfig({ extends: ['recommended'], rules: RULES });
  const found = await lint({ ref: DESCRIPTION, config });
  return found.map((problem) => `${problem.location[0]?.pointer ?? ''}: ${problem.message} (${problem.ruleId})`);
}

function problemsOfRoutes() {
  const code = routesOfCode();
  const described = routesOfDescription();
  const missing = [...code].filter((route) => !described.has(route)).map((route) => `${route} is in gateway/routes.def only`);
  const extra = [...described].filter((route) => !code.has(route)).map((route) => `${route} is not in gateway/routes.def`);
  return [...missing, ...extra];
}

const problems = [...problemsOfRoutes(), ...(await problemsOfForm())];
for (const problem of problems) console.error(`docs/openapi.yaml: ${problem}`);
process.exit(problems.length ? 1 : 0);
