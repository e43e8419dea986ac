// Package tlsconf keeps certificates: those that the doors show to the world,
// and those by which the separate programs know each other.
//
// Its law: a door always has a certificate, self-signed until one is
// configured; a new file is taken up by itself, and a broken one never replaces
// one that works. On the links both sides show a certificate of the product's
// own authority, and names in it are roles, not machines. Private keys are
// readable by their owner only.
package tlsconf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"waypost/internal/fault"
)

const (
	// look is how often the files are looked at, at a handshake.
	look = 5 * time.Second
	// selfLife is as long as browsers and phones accept.
	selfLife = 397 * 24 * time.Hour
	renew    = 30 * 24 * time.Hour
)

// Options of the doors' certificate.
type Options struct {
	// Dir keeps the self-signed certificate (cert.pem, key.pem).
	Dir string
	// Cert and Key are the configured files; both empty for self-signed.
	Cert, Key string
	// Names are the host names that a self-signed certificate is for, besides
	// localhost; autodiscover.NAME is added for each.
	Names []string
	// MinVersion is "1.0" to "1.3"; "1.2" when empty. Below 1.2 the ciphers of
	// old phones are spoken too.
	MinVersion string
	// Log hears of files that cannot be used; slog.Default when nil.
	Log *slog.Logger
}

// Certificate is what the doors show. It is safe for concurrent use.
type Certificate struct {
	cert, key string
	min       uint16
	log       *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	looked  time.Time
	stamp   [2]time.Time
}

// Open reads the configured certificate, or makes and keeps a self-signed one.
func Open(o Options) (_ *Certificate, err error) {
	defer fault.Wrap(&err, "certificate of the doors")
	c := &Certificate{cert: o.Cert, key: o.Key, log: o.Log}
	if c.log == nil {
		c.log = slog.Default()
	}
	if c.min, err = version(o.MinVersion); err != nil {
		return nil, err
	}
	if c.cert == "" {
		c.cert, c.key = filepath.Join(o.Dir, "cert.pem"), filepath.Join(o.Dir, "key.pem")
		if err := keepSelfSigned(c.cert, c.key, hosts(o.Names), c.min < tls.VersionTLS12); err != nil {
			return nil, err
		}
	}
	c.stamp = stamp(c.cert, c.key)
	if c.current, err = load(c.cert, c.key); err != nil {
		return nil, err
	}
	c.looked = time.Now()
	return c, nil
}

func version(s string) (uint16, error) {
	switch s {
	case "1.0":
		return tls.VersionTLS10, nil
	case "1.1":
		return tls.VersionTLS11, nil
	case "", "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fault.New(fault.Invalid, "there is no TLS version %q", s)
}

// Server gives the settings for a door. Each call gives a value of its own, to
// which a protocol may add its NextProtos.
func (c *Certificate) Server() *tls.Config {
	cfg := &tls.Config{
		MinVersion:     c.min,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(), nil },
	}
	if c.min < tls.VersionTLS12 {
		for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			if !strings.Contains(s.Name, "RC4") && !strings.Contains(s.Name, "_CBC_SHA256") {
				cfg.CipherSuites = append(cfg.CipherSuites, s.ID)
			}
		}
	}
	return cfg
}

// Leaf is the certificate shown now, for waypost doctor.
func (c *Certificate) Leaf() *x509.Certificate { return c.get().Leaf }

// Files names the files in use.
func (c *Certificate) Files() (cert, key string) { return c.cert, c.key }

// get gives the certificate, and looks for a new one now and then.
func (c *Certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < look {
		return c.current
	}
	c.looked = time.Now()
	now := stamp(c.cert, c.key)
	if now == c.stamp {
		return c.current
	}
	fresh, err := load(c.cert, c.key)
	if err != nil {
		// Perhaps one of the two is not written yet: look again next time.
		c.log.Warn("new certificate cannot be used, the old one stays", slog.String("file", c.cert), slog.Any("fault", err))
		return c.current
	}
	c.log.Info("certificate read again", slog.String("file", c.cert), slog.Time("expires", fresh.Leaf.NotAfter))
	c.current, c.stamp = fresh, now
	return c.current
}

func stamp(files ...string) (at [2]time.Time) {
	for i, f := range files {
		if info, err := os.Stat(f); err == nil {
			at[i] = info.ModTime()
		}
	}
	return at
}

func load(cert, key string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fault.From(fault.Invalid, err, "certificate %s with key %s", cert, key)
	}
	return &pair, nil
}

// hosts lists the names and addresses of a self-signed certificate.
func hosts(names []string) []string {
	all := []string{"localhost", "127.0.0.1", "::1"}
	for _, n := range names {
		n = strings.ToLower(strings.TrimSuffix(n, "."))
		if n == "" || n == "localhost" {
			continue
		}
		all = append(all, n)
		if net.ParseIP(n) == nil && strings.Contains(n, ".") && !strings.HasPrefix(n, "autodiscover.") {
			all = append(all, "autodiscover."+n)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// keepSelfSigned makes a certificate unless there is one that still fits.
// Programs that share the folder may start at once: one of them makes it.
func keepSelfSigned(cert, key string, hosts []string, old bool) error {
	if err := os.MkdirAll(filepath.Dir(cert), 0o755); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(cert))
	if err != nil {
		return err
	}
	defer dir.Close() // gives the lock back
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir.Name(), err)
	}
	if pair, err := load(cert, key); err == nil {
		_, isRSA := pair.PrivateKey.(*rsa.PrivateKey)
		if time.Until(pair.Leaf.NotAfter) > renew && slices.Equal(names(pair.Leaf), hosts) && isRSA == old {
			return nil
		}
	}
	private, err := newKey(old)
	if err != nil {
		return err
	}
	t, err := template("Waypost, self-signed", hosts, selfLife)
	if err != nil {
		return err
	}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, t, t, private.Public(), private)
	if err != nil {
		return err
	}
	return writePair(cert, key, der, private)
}

func names(c *x509.Certificate) []string {
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	slices.Sort(all)
	return all
}

// newKey makes an ECDSA key, or an RSA one for peers too old for ECDSA.
func newKey(old bool) (crypto.Signer, error) {
	if old {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func template(name string, hosts []string, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(life), // clocks differ
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, BasicConstraintsValid: true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return t, nil
}

// writePair writes the key first: a certificate without its key is worse than
// the other way round, and get retries both.
func writePair(cert, key string, der []byte, private crypto.Signer) error {
	if err := os.MkdirAll(filepath.Dir(cert), 0o755); err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	if err := writePEM(key, "PRIVATE KEY", pkcs8, 0o600); err != nil {
		return err
	}
	return writePEM(cert, "CERTIFICATE", der, 0o644)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
