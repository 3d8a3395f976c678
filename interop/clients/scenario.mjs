// How a client script is run: `node clients/NAME.mjs SCENARIO`, with the simulator's address and the client's registration
// as JSON in the environment variable INPUT. What the scenario returns is printed as JSON on stdout, for the Go test; the
// simulator's ledger is the other half of the evidence. A scenario that throws ends with exit code 1.

export async function run(scenarios) {
  const name = process.argv[2];
  if (!Object.hasOwn(scenarios, name)) throw new Error(`no scenario ${name}; there are: ${Object.keys(scenarios).join(', ')}`);
  const outcome = await scenarios[name](JSON.parse(process.env.INPUT));
  // Both libraries leave timers and sockets behind, so the end is explicit.
  process.stdout.write(JSON.stringify(outcome), () => process.exit(0));
}

// failure is what a caller of the library can branch on.
export async function failure(promise) {
  try {
    await promise;
    return null;
  } catch (err) {
    return { name: err.name, message: err.message };
  }
}

// approve plays the person in front of the browser: it asks for the page and follows nothing. The simulator approves
// without a question and answers with the redirect that carries the code.
export async function approve(url) {
  const page = await fetch(url, { redirect: 'manual' });
  const location = page.headers.get('location');
  if (!location) throw new Error(`no redirect from the authorization endpoint: ${page.status} ${await page.text()}`);
  return new URL(location).searchParams;
}

// endSession makes an access token invalid, as its expiry would: the next API call with it gets a 401.
export async function endSession(base, accessToken) {
  const answer = await fetch(`${base}/services/oauth2/revoke`, { method: 'POST', body: new URLSearchParams({ token: accessToken }) });
  if (!answer.ok) throw new Error(`revoking the access token: ${answer.status}`);
}
