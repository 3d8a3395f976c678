// An authorization server nobody here wrote: node oidc-provider, certified, with its own in-memory adapter.
//
//   node server/oidc.mjs [--access-token-ttl SECONDS] [--refresh-token-ttl SECONDS] [--no-rotation]
//                        [--feature NAME]… [--client JSON] [--tls CERTIFICATE,KEY,AUTHORITY] [--documents JSON]
//
// Features are those of features.mjs; --client is laid over the metadata of the one client there is; --tls names three PEM
// files and asks callers for a certificate; --documents are what is to be found at URLs elsewhere. It listens on a free port of 127.0.0.1 and talks in JSON lines.
//
//   stdout  {"event":"ready", …}   once, with the endpoints and the client
//           {"event":"request", …} any request, answered: path, names of its parameters, how the client authenticated
//           {"event":"received"}   a token request came in
//           {"event":"token", …}   an answered token request: grant type, status, error, fingerprint of the refresh token sent
//           {"event":"revoked", …} a grant taken away whole, as reuse of a refresh token does
//   stdin   {"hold":true}          token requests are received, but handled only after {"hold":false}
//           {"deny":true}          the person says no from now on
//           {"drop":1}             the next answer is worked out, then the connection is cut instead: a lost reply
//
// It ends when stdin does, so it never outlives the test that started it. Tokens are named by fingerprint, never printed.
//
// Habits worth knowing, seen with 9.13.3:
// - every refresh replaces the refresh token, without a grace window. A spent one is answered with 400 invalid_grant, and
//   the whole grant goes: the newest refresh token and its access tokens die with it (RFC 9700 §4.14.2);
// - error_description is always "grant request is invalid", whatever the cause: only the server's log tells reuse from
//   an unknown token (`detail` of our token event);
// - a public client gets a refresh token for scope offline_access, and that scope only with prompt=consent;
// - "Unsupported runtime" on node 20 is a warning; it works.

import { createHash, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { features } from './features.mjs';

// The library prints notices with console.info; stdout is ours alone.
console.info = console.warn;
const { Provider } = await import('oidc-provider');

const { values: options } = parseArgs({
  options: {
    'access-token-ttl': { type: 'string', default: '3600' },
    'refresh-token-ttl': { type: 'string', default: '86400' },
    'no-rotation': { type: 'boolean', default: false },
    feature: { type: 'string', multiple: true, default: [] },
    client: { type: 'string', default: '{}' },
    tls: { type: 'string' },
    documents: { type: 'string', default: '{}' },
  },
});

const account = 'ada';
const client = {
  client_id: 'evergrant-public',
  token_endpoint_auth_method: 'none', // a public client: RFC 6749 §2.1
  application_type: 'native', // a loopback redirect on any port: RFC 8252 §7.3
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  redirect_uris: ['http://127.0.0.1/callback'],
  id_token_signed_response_alg: 'ES256',
  ...JSON.parse(options.client),
};

const documents = JSON.parse(options.documents);
const signed = (alg) => alg?.startsWith('RS') || alg?.startsWith('PS')
  ? generateKeyPairSync('rsa', { modulusLength: 2048 })
  : generateKeyPairSync('ed25519');

const say = (event, fields) => process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
const fingerprint = (token) => token && createHash('sha256').update(token).digest('hex').slice(0, 16);

// The issuer is part of every token, so the port has to be known before the provider exists.
const server = options.tls ? secureServer(options.tls.split(',')) : createServer();
await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
const issuer = `${options.tls ? 'https' : 'http'}://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: options.feature.includes('registration') ? [] : [client],
  clientDefaults: { id_token_signed_response_alg: 'ES256', authorization_signed_response_alg: 'ES256' },
  clientAuthMethods: [
    'none', 'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt',
    ...(options.feature.includes('mtls') ? ['tls_client_auth', 'self_signed_tls_client_auth'] : []),
  ],
  jwks: {
    keys: [generateKeyPairSync('ec', { namedCurve: 'P-256' }), signed(client.id_token_signed_response_alg)].map((pair) => pair.privateKey.export({ format: 'jwk' })),
  },
  fetch: (url, init) => (Object.hasOwn(documents, url) ? Response.json(documents[url]) : globalThis.fetch(url, init)),
  cookies: { keys: ['only for this process'] },
  scopes: ['openid', 'offline_access', ...(options.feature.includes('resources') ? ['read'] : [])],
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  rotateRefreshToken: !options['no-rotation'],
  ttl: {
    AccessToken: Number(options['access-token-ttl']),
    RefreshToken: Number(options['refresh-token-ttl']),
    AuthorizationCode: 60,
    IdToken: 3600,
    Grant: 86400,
    Session: 86400,
    Interaction: 600,
  },
  features: features(options.feature),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
});

provider.use(record);
provider.use(signIn);
provider.use(faults);
provider.on('grant.success', (ctx) => tokenEvent(ctx));
provider.on('grant.error', (ctx, err) => tokenEvent(ctx, err));
provider.on('grant.revoked', (ctx, grant) => say('revoked', { grant: fingerprint(grant) }));
provider.on('server_error', (ctx, err) => say('server_error', { detail: String(err) }));

server.on('request', provider.callback());
say('ready', {
  issuer,
  authorization_endpoint: `${issuer}/auth`,
  token_endpoint: `${issuer}/token`,
  client_id: client.client_id,
  redirect_uri: client.redirect_uris[0],
});

function tokenEvent(ctx, err) {
  const params = ctx.oidc?.params ?? ctx.oidc?.body ?? {};
  say('token', {
    grant_type: params.grant_type,
    refresh_token: fingerprint(params.refresh_token),
    status: ctx.status,
    error: err?.message,
    detail: err?.error_detail,
  });
}

function secureServer([cert, key, ca]) {
  const pem = (file) => readFileSync(file);
  return createSecureServer({ cert: pem(cert), key: pem(key), ca: pem(ca), requestCert: true, rejectUnauthorized: false });
}

// record tells how a request was made, without a value of it.
async function record(ctx, next) {
  await next();
  say('request', {
    path: ctx.path,
    method: ctx.method,
    status: ctx.status,
    params: Object.keys({ ...ctx.query, ...ctx.oidc?.body }).sort(),
    client_auth: ctx.oidc?.client?.clientAuthMethod,
    dpop: Boolean(ctx.get('DPoP')),
    scheme: ctx.get('Authorization').split(' ')[0],
    error: ctx.body?.error,
    detail: ctx.body?.error_description,
  });
}

// signIn plays the person: whoever is asked to log in is `account`, whoever is asked for consent says yes to everything.
// The browser is the Go test: an HTTP client with a cookie jar that follows the redirects.
async function signIn(ctx, next) {
  if (!ctx.path.startsWith('/interaction/')) return next();
  const { prompt, params, session } = await provider.interactionDetails(ctx.req, ctx.res);
  if (deny) {
    ctx.respond = false;
    return provider.interactionFinished(ctx.req, ctx.res, { error: 'access_denied', error_description: 'the person said no' });
  }
  const result = prompt.name === 'login'
    ? { login: { accountId: account } }
    : { consent: { grantId: await consent(session.accountId, params) } };
  ctx.respond = false; // interactionFinished answers by itself
  return provider.interactionFinished(ctx.req, ctx.res, result);
}

async function consent(accountId, { client_id: clientId, scope = '', resource = [], authorization_details: details }) {
  const grant = new provider.Grant({ accountId, clientId });
  grant.addOIDCScope(scope);
  for (const r of [resource].flat()) grant.addResourceScope(r, scope);
  for (const d of JSON.parse(details ?? '[]')) grant.addRar(d);
  return grant.save();
}

let gate = Promise.resolve();
let openGate = () => {};
let drops = 0;
let deny = false;

async function faults(ctx, next) {
  if (ctx.path !== '/token') return next();
  say('received');
  await gate;
  await next();
  if (drops > 0) {
    drops -= 1;
    ctx.respond = false;
    ctx.req.socket.destroy();
  }
  return undefined;
}

function command({ hold, drop, deny: denied }) {
  if (denied !== undefined) deny = denied;
  if (hold === true) gate = new Promise((resolve) => { openGate = resolve; });
  if (hold === false) openGate();
  if (drop) drops += drop;
  say('command', { hold, drop });
}

createInterface({ input: process.stdin })
  .on('line', (line) => command(JSON.parse(line)))
  .on('close', () => process.exit(0));
