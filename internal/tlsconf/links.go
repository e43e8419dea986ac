package tlsconf

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"waypost/internal/fault"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	linkLife      = 2 * 365 * 24 * time.Hour
)

// Roles are the programs that know each other by certificate.
func Roles() []string {
	return []string{"waypost-smtp", "waypost-store", "waypost-directory", "waypost-frontend", "waypost"}
}

// Authority signs the certificates of the links: ca.pem and ca.key in its
// folder. Programs need ca.pem and their own pair only; ca.key may be kept
// elsewhere once all are made.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

// OpenAuthority reads the authority in dir or makes it.
func OpenAuthority(dir string) (_ *Authority, err error) {
	defer fault.Wrap(&err, "authority of the links in %s", dir)
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	_, err = os.Stat(certFile)
	if errors.Is(err, os.ErrNotExist) {
		err = makeAuthority(certFile, keyFile)
	}
	if err != nil {
		return nil, err
	}
	pair, err := load(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, fault.New(fault.Invalid, "%s is not a certificate authority", certFile)
	}
	return &Authority{dir: dir, cert: pair.Leaf, key: key}, nil
}

func makeAuthority(certFile, keyFile string) error {
	key, err := newKey(false)
	if err != nil {
		return err
	}
	t, err := template("Waypost links", nil, authorityLife)
	if err != nil {
		return err
	}
	t.IsCA, t.MaxPathLenZero = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	return writePair(certFile, keyFile, der, key)
}

// LinkFiles names the files of a role in dir.
func LinkFiles(dir, role string) (ca, cert, key string) {
	return filepath.Join(dir, "ca.pem"), filepath.Join(dir, role+".pem"), filepath.Join(dir, role+".key")
}

// Issue makes role.pem and role.key beside ca.pem, unless they are there and
// good for a month more.
func (a *Authority) Issue(role string) (err error) {
	defer fault.Wrap(&err, "certificate of %s", role)
	if !slices.Contains(Roles(), role) {
		return fault.New(fault.Invalid, "there is no role %q", role)
	}
	_, cert, key := LinkFiles(a.dir, role)
	if pair, err := load(cert, key); err == nil && time.Until(pair.Leaf.NotAfter) > renew && pair.Leaf.CheckSignatureFrom(a.cert) == nil {
		return nil
	}
	private, err := newKey(false)
	if err != nil {
		return err
	}
	t, err := template(role, []string{role}, linkLife)
	if err != nil {
		return err
	}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, private.Public(), a.key)
	if err != nil {
		return err
	}
	return writePair(cert, key, der, private)
}

// Link is one program's side of the links.
type Link struct {
	own  *Certificate
	pool *x509.CertPool
}

// OpenLink reads the authority's certificate and the program's own pair. The
// pair is read again when it changes.
func OpenLink(ca, cert, key string) (_ *Link, err error) {
	defer fault.Wrap(&err, "certificates of the links")
	text, err := os.ReadFile(ca)
	if err != nil {
		return nil, fault.From(fault.Invalid, err, "the authority's certificate cannot be read")
	}
	l := &Link{pool: x509.NewCertPool()}
	if !l.pool.AppendCertsFromPEM(text) {
		return nil, fault.New(fault.Invalid, "%s holds no certificate", ca)
	}
	l.own, err = Open(Options{Cert: cert, Key: key, MinVersion: "1.3"})
	return l, err
}

// Server accepts only peers of the same authority that play one of the roles.
func (l *Link) Server(roles ...string) *tls.Config {
	cfg := l.own.Server()
	cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, l.pool
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		if role := PeerRole(s); !slices.Contains(roles, role) {
			return fault.New(fault.Denied, "the role %q may not call here", role)
		}
		return nil
	}
	return cfg
}

// Client connects only to a peer of the same authority that plays role, on
// whatever machine.
func (l *Link) Client(role string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: l.pool, ServerName: role,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return l.own.get(), nil },
	}
}

// PeerRole is the role in the verified certificate of the peer, or "".
func PeerRole(s tls.ConnectionState) string {
	if len(s.VerifiedChains) == 0 || len(s.PeerCertificates) == 0 {
		return ""
	}
	return s.PeerCertificates[0].Subject.CommonName
}
