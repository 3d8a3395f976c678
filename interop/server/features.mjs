// The features of oidc-provider that a login can meet, by the names under which the tests switch them on.

import { randomBytes } from 'node:crypto';

const api = (resource) => ({ scope: 'read write', audience: resource, accessTokenFormat: 'opaque', accessTokenTTL: 600 });
const peer = (ctx) => ctx.socket.getPeerX509Certificate?.();

// Each gives what is merged into `features` of the configuration.
const table = {
  device: () => ({ deviceFlow: { enabled: true } }),
  'par-required': () => ({ pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: true } }),
  'jar-required': () => ({ requestObjects: { enabled: true, requireSignedRequestObject: true } }),
  'dpop-nonce': () => ({ dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true } }),
  jarm: () => ({ jwtResponseModes: { enabled: true } }),
  revocation: () => ({ revocation: { enabled: true, allowedPolicy: (ctx, client, token) => token.clientId === client.clientId } }),
  introspection: () => ({ introspection: { enabled: true, allowedPolicy: (ctx, client, token) => token.clientId === client.clientId } }),
  registration: () => ({ registration: { enabled: true } }),
  // The documents are those of --documents.
  'client-documents': () => ({ clientIdMetadataDocument: { enabled: true, ack: 'draft-02', allowFetch: () => true, allowClient: () => true } }),
  'client-credentials': () => ({ clientCredentials: { enabled: true } }),
  resources: () => ({
    resourceIndicators: { enabled: true, defaultResource: () => undefined, useGrantedResource: () => false, getResourceServerInfo: (ctx, resource) => api(resource) },
  }),
  // Rich authorization requests: what was asked for is granted, and said in each answer.
  details: () => ({
    richAuthorizationRequests: {
      enabled: true,
      types: { payment: { validate: () => undefined } },
      authorizationDetailsForGrantSource: (ctx) => ctx.oidc.entities.AuthorizationCode?.rar ?? JSON.parse(ctx.oidc.params.authorization_details ?? 'null') ?? undefined,
      authorizationDetailsForAccessToken: (ctx, token, source) => source.rar,
      authorizationDetailsForIntrospection: (ctx, token) => token.rar,
    },
  }),
  mtls: () => ({
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      selfSignedTlsClientAuth: true,
      tlsClientAuth: true,
      getCertificate: peer,
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) => property === 'tls_client_auth_san_dns' && peer(ctx).subjectAltName === `DNS:${expected}`,
    },
  }),
};

export function features(names) {
  const chosen = names.map((name) => {
    if (!Object.hasOwn(table, name)) throw new Error(`no feature ${name}; there are: ${Object.keys(table).join(', ')}`);
    return table[name]();
  });
  return Object.assign({ devInteractions: { enabled: false } }, ...chosen);
}
