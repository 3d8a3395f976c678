// Import this first: it keeps a client on the loopback interface. The clients know the vendor's real hosts by heart; when
// a login fails, @salesforce/core tries the next host with the same signed assertion. A test must never do that.

import { Socket } from 'node:net';

const connect = Socket.prototype.connect;

Socket.prototype.connect = function connectLoopback(...args) {
  const [options] = Array.isArray(args[0]) ? args[0] : args; // node hands an array where it has read the arguments already
  const host = options?.host ?? 'localhost';
  if (!['127.0.0.1', '::1', 'localhost'].includes(host)) {
    process.stderr.write(`stopped: the client tried to reach ${host}; only the loopback interface is allowed\n`);
    process.exit(9);
  }
  return connect.apply(this, args);
};
