// jsforce, the widely used JavaScript client, against the simulator. See scenario.mjs for how it is run.
//
// Habits worth knowing, seen with 3.10.16:
// - PKCE: sends code_challenge without code_challenge_method, and a verifier of 171 characters (RFC 7636 §4.1 allows 128);
//   it sends the verifier again with every later token request, refreshes included;
// - any 401 of the API makes it refresh and send the call again, without a limit;
// - calls of one Connection that fail at the same time share one refresh;
// - a rotated refresh token is dropped: it goes on with the first one, so the second refresh is a reuse;
// - an OAuth error becomes an Error whose name is `error` and whose message is `error_description`; a failed refresh
//   behind an API call loses the name.

import './loopback.mjs';
import { createSign } from 'node:crypto';
import jsforce from 'jsforce';
import { approve, endSession, failure, run } from './scenario.mjs';

const soql = 'SELECT Id FROM Account';

const scenarios = {
  // Code flow with PKCE, then what a program does first.
  async login(input) {
    const conn = await login(input);
    const user = await conn.identity();
    const { totalSize, records } = await conn.query(soql);
    return {
      organization: conn.userInfo.organizationId,
      user: conn.userInfo.id,
      username: user.username,
      instanceURL: conn.instanceUrl,
      totalSize,
      records: records.length,
    };
  },

  // The access token dies; the next call gets a 401, refreshes and is sent again. Any number of calls at once.
  async refresh(input) {
    const conn = await login(input);
    const refreshes = [];
    conn.on('refresh', (accessToken) => refreshes.push(accessToken));
    const old = conn.accessToken;
    await endSession(input.base, old);
    const answers = await Promise.all(Array.from({ length: input.calls }, () => conn.query(soql)));
    return { answers: answers.length, refreshes: refreshes.length, replaced: conn.accessToken !== old && conn.accessToken === refreshes[0] };
  },

  // Two refreshes in a row. With rotation the second one sends the first refresh token again.
  async refreshTwice(input) {
    const conn = await login(input);
    const failures = [];
    for (let i = 0; i < 2; i += 1) {
      await endSession(input.base, conn.accessToken);
      failures.push(await failure(conn.query(soql)));
    }
    return { failures };
  },

  async clientCredentials({ base, clientId, clientSecret }) {
    const conn = new jsforce.Connection({ oauth2: { loginUrl: base, clientId, clientSecret } });
    await conn.authorize({ grant_type: 'client_credentials' });
    return { organization: conn.userInfo.organizationId, refreshToken: Boolean(conn.refreshToken), totalSize: (await conn.query(soql)).totalSize };
  },

  async jwt({ base, clientId, username, privateKey }) {
    const conn = new jsforce.Connection({ oauth2: { loginUrl: base } });
    const claims = { iss: clientId, sub: username, aud: base, exp: Math.floor(Date.now() / 1000) + 180 };
    await conn.authorize({ grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion: sign(claims, privateKey) });
    return { organization: conn.userInfo.organizationId, refreshToken: Boolean(conn.refreshToken), totalSize: (await conn.query(soql)).totalSize };
  },

  // A grant that somebody else obtained: its access token dies, and the call refreshes.
  async adopt({ base, clientId, accessToken, refreshToken }) {
    const conn = new jsforce.Connection({ oauth2: { loginUrl: base, clientId }, instanceUrl: base, accessToken, refreshToken });
    await endSession(base, accessToken);
    const { totalSize } = await conn.query(soql);
    return { totalSize, replaced: conn.accessToken !== accessToken };
  },

  // logout(true) revokes the refresh token, which takes the access token with it.
  async revoke(input) {
    const conn = await login(input);
    const { oauth2, accessToken, refreshToken } = conn;
    await conn.logout(true);
    return {
      again: await failure(oauth2.revokeToken(refreshToken)),
      refresh: await failure(oauth2.refreshToken(refreshToken)),
      call: await failure(new jsforce.Connection({ instanceUrl: input.base, accessToken }).query(soql)),
    };
  },

  // What each refusal looks like to a program. The test has prepared the simulator to refuse the first refresh as busy.
  async errors(input) {
    const conn = await login(input);
    const { oauth2, refreshToken } = conn;
    const stranger = new jsforce.OAuth2({ loginUrl: input.base, clientId: 'nobody' });
    return {
      busy: await failure(oauth2.refreshToken(refreshToken)),
      unknownToken: await failure(oauth2.refreshToken('5Aep861neverIssued')),
      unknownClient: await failure(stranger.refreshToken(refreshToken)),
      badCode: await failure(oauth2.requestToken('aPrxNeverIssued')),
      afterwards: await failure(oauth2.refreshToken(refreshToken)),
    };
  },
};

async function login({ base, clientId, redirectUri }) {
  const oauth2 = new jsforce.OAuth2({ loginUrl: base, clientId, redirectUri, useVerifier: true });
  const answer = await approve(oauth2.getAuthorizationUrl({ scope: 'api id web refresh_token', state: 'xyz' }));
  if (answer.get('state') !== 'xyz') throw new Error(`state came back as ${answer.get('state')}`);
  const conn = new jsforce.Connection({ oauth2 });
  await conn.authorize(answer.get('code'));
  return conn;
}

// sign makes a JWT with RS256 (RFC 7515 §3.1).
function sign(claims, privateKey) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const input = `${part({ alg: 'RS256' })}.${part(claims)}`;
  return `${input}.${createSign('RSA-SHA256').update(input).sign(privateKey, 'base64url')}`;
}

await run(scenarios);
