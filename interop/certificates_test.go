package interop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certificates are PEM files: an authority, and a server and a client that it vouches for.
type certificates struct {
	authority, server, serverKey, client, clientKey string

	roots      *x509.CertPool
	clientCert *x509.Certificate
}

// clientName is what the authority says the client is (RFC 8705 §2.1.2, tls_client_auth_san_dns).
const clientName = "client.evergrant.test"

func newCertificates(t *testing.T) *certificates {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	c := &certificates{at("ca.pem"), at("server.pem"), at("server.key"), at("client.pem"), at("client.key"), x509.NewCertPool(), nil}
	root, rootKey := issue(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	writePEM(t, c.authority, "CERTIFICATE", root.Raw)
	c.roots.AddCert(root)
	server, serverKey := issue(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, root, rootKey)
	writePEM(t, c.server, "CERTIFICATE", server.Raw)
	writeKey(t, c.serverKey, serverKey)
	client, key := issue(t, &x509.Certificate{DNSNames: []string{clientName}}, root, rootKey)
	writePEM(t, c.client, "CERTIFICATE", client.Raw)
	writeKey(t, c.clientKey, key)
	c.clientCert = client
	return c
}

// issue signs a certificate; without an issuer it signs itself.
func issue(t *testing.T, c, issuer *x509.Certificate, issuerKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.Subject = pkix.Name{CommonName: fmt.Sprintf("evergrant interop %d", time.Now().UnixNano())} // of its own, or it would count as self-signed
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if issuer == nil {
		issuer, issuerKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, issuer, key.Public(), issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, key
}

func writeKey(t *testing.T, path string, key any) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, path, "PRIVATE KEY", der)
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
