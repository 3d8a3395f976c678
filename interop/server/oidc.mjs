// An authorization server nobody here wrote: node oidc-provider, certified, with its own in-memory adapter.
//
//   node server/oidc.mjs [--access-token-ttl SECONDS] [--refresh-token-ttl SECONDS] [--no-rotation]
//
// It listens on a free port of 127.0.0.1 and talks in JSON lines.
//
//   stdout  {"event":"ready", …}   once, with the endpoints and the client
//           {"event":"received"}   a token request came in
//           {"event":"token", …}   an answered token request: grant type, status, error, fingerprint of the refresh token sent
//           {"event":"revoked", …} a grant taken away whole, as reuse of a refresh token does
//   stdin   {"hold":true}          token requests are received, but handled only after {"hold":false}
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
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

// The library prints notices with console.info; stdout is ours alone.
console.info = console.warn;
const { Provider } = await import('oidc-provider');

const { values: options } = parseArgs({
  options: {
    'access-token-ttl': { type: 'string', default: '3600' },
    'refresh-token-ttl': { type: 'string', default: '86400' },
    'no-rotation': { type: 'boolean', default: false },
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
};

const say = (event, fields) => process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
const fingerprint = (token) => token && createHash('sha256').update(token).digest('hex').slice(0, 16);

// The issuer is part of every token, so the port has to be known before the provider exists.
const server = createServer();
await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [client],
  jwks: { keys: [generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })] },
  cookies: { keys: ['only for this process'] },
  scopes: ['openid', 'offline_access'],
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
  features: { devInteractions: { enabled: false } },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
});

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

// signIn plays the person: whoever is asked to log in is `account`, whoever is asked for consent says yes to everything.
// The browser is the Go test: an HTTP client with a cookie jar that follows the redirects.
async function signIn(ctx, next) {
  if (!ctx.path.startsWith('/interaction/')) return next();
  const { prompt, params, session } = await provider.interactionDetails(ctx.req, ctx.res);
  const result = prompt.name === 'login'
    ? { login: { accountId: account } }
    : { consent: { grantId: await consent(session.accountId, params) } };
  ctx.respond = false; // interactionFinished answers by itself
  return provider.interactionFinished(ctx.req, ctx.res, result);
}

async function consent(accountId, { client_id: clientId, scope }) {
  const grant = new provider.Grant({ accountId, clientId });
  grant.addOIDCScope(scope);
  return grant.save();
}

let gate = Promise.resolve();
let openGate = () => {};
let drops = 0;

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

function command({ hold, drop }) {
  if (hold === true) gate = new Promise((resolve) => { openGate = resolve; });
  if (hold === false) openGate();
  if (drop) drops += drop;
  say('command', { hold, drop });
}

createInterface({ input: process.stdin })
  .on('line', (line) => command(JSON.parse(line)))
  .on('close', () => process.exit(0));
