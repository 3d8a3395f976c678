// @salesforce/core, the library under the vendor's own command line, against the simulator. See scenario.mjs for how it is
// run. It keeps what it knows of a login in $HOME/.sfdx/USERNAME.json, with the tokens encrypted, so each scenario is a
// process of its own in the same home folder, as commands of a shell would be.
//
// Habits worth knowing, seen with 8.31.3, the newest version whose packages all run on node 20:
// - device flow: start and poll are multipart/form-data, the grant type is "device", the first poll comes at once;
// - saving a device login makes a refresh by itself and stores the *first* refresh token, so with rotation the login is
//   spent when it is saved, and the next refresh ends it. Version 9.4 stores the new one, but needs node 22;
// - JWT: `exp` is in milliseconds and `aud` ends with a slash; a refused assertion is sent again with other audiences, to
//   the vendor's real hosts too (loopback.mjs stops that);
// - each login and each refresh asks the API whether the org is a Dev Hub, with two slashes at the start of the path.

import './loopback.mjs';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { AuthInfo, Connection, DeviceOauthService, WebOAuthServer } from '@salesforce/core';
import { endSession, failure, run } from './scenario.mjs';

const soql = 'SELECT Id FROM Account';

const scenarios = {
  // The browser is a fetch that follows every redirect, the last of them to the library's own page.
  async web({ base, clientId }) {
    await projectWithPort(`${process.env.HOME}/project`);
    const server = await WebOAuthServer.create({ oauthConfig: { loginUrl: base, clientId } });
    await server.start();
    const saved = server.authorizeAndSave();
    const page = await fetch(server.getAuthorizationUrl());
    const auth = await saved;
    return { page: page.status, ...await describe(auth) };
  },

  async device({ base, clientId }) {
    const service = await DeviceOauthService.create({ clientId, loginUrl: base });
    const login = await service.requestDeviceLogin();
    const approval = await service.awaitDeviceApproval(login);
    const auth = await service.authorizeAndSave(approval);
    return { verificationUri: login.verification_uri, userCode: login.user_code, ...await describe(auth) };
  },

  async jwt({ base, clientId, username, privateKeyFile }) {
    const auth = await AuthInfo.create({ username, oauth2Options: { loginUrl: base, clientId, privateKeyFile } });
    await auth.save();
    return describe(auth);
  },

  // A later command: the login comes from the home folder, its access token is dead, the call must work all the same.
  async refresh({ base, username }) {
    const auth = await AuthInfo.create({ username });
    const conn = await Connection.create({ authInfo: auth });
    const old = conn.accessToken;
    await endSession(base, old);
    const err = await failure(conn.query(soql));
    const saved = await AuthInfo.create({ username });
    return { failure: err, replaced: conn.accessToken !== old, saved: saved.getFields(true).accessToken === conn.accessToken };
  },
};

// projectWithPort goes to a project whose callback port is free: the default one may not be.
async function projectWithPort(dir) {
  const probe = createServer();
  await new Promise((resolve) => { probe.listen(0, 'localhost', resolve); });
  const { port } = probe.address();
  await new Promise((resolve) => { probe.close(resolve); });
  mkdirSync(`${dir}/force-app`, { recursive: true });
  writeFileSync(`${dir}/sfdx-project.json`, JSON.stringify({ packageDirectories: [{ path: 'force-app', default: true }], oauthLocalPort: port }));
  process.chdir(dir);
}

async function describe(auth) {
  const { username, orgId, instanceUrl, isDevHub, orgEdition, instanceApiVersion } = auth.getFields();
  const conn = await Connection.create({ authInfo: auth });
  const { totalSize } = await conn.query(soql);
  return { username, organization: orgId, instanceUrl, isDevHub, orgEdition, apiVersion: instanceApiVersion, totalSize };
}

await run(scenarios);
