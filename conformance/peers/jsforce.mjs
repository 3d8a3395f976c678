// The refresh that a program with jsforce makes: read the file, ask for a new
// token, merge the answer into the file's object, write it back.
//   node jsforce.mjs FILE TOKEN-URL CLIENT-ID
// jsforce is the one that interop/ has installed (npm ci in interop/).

import '../../interop/clients/loopback.mjs'; // never the vendor's real hosts
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(new URL('../../interop/package.json', import.meta.url));
const jsforce = require('jsforce');

const [path, tokenServiceUrl, clientId] = process.argv.slice(2);
try {
  const file = JSON.parse(readFileSync(path, 'utf8'));
  const oauth2 = new jsforce.OAuth2({ authzServiceUrl: tokenServiceUrl, tokenServiceUrl, clientId }); // one alone is ignored
  const answer = await oauth2.refreshToken(file.refresh_token);
  writeFileSync(path, JSON.stringify({ ...file, ...answer }, null, 2));
  process.exit(0); // jsforce leaves timers behind
} catch (err) {
  process.stderr.write(`jsforce.mjs: ${err.message}\n`);
  process.exit(1);
}
