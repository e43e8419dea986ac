package roles

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"waypost/internal/config"
	"waypost/internal/fault"
	"waypost/internal/tlsconf"
)

// tls gives the settings of the doors to the world.
func (p *Program) tls() (*tls.Config, error) {
	if p.certs == nil {
		c, err := tlsconf.Open(tlsconf.Options{
			Dir: filepath.Join(p.Config.Data, "tls"), Cert: p.Config.TLS.Cert, Key: p.Config.TLS.Key,
			Names: []string{p.Config.Hostname}, MinVersion: p.Config.TLS.MinVersion, Log: p.Log,
		})
		if err != nil {
			return nil, err
		}
		p.certs = c
	}
	return p.certs.Server(), nil
}

// role is the program's role: "waypost-smtp" is "smtp".
func (p *Program) role() string { return strings.TrimPrefix(p.Name, "waypost-") }

// errNoCertificate tells that no certificate for the links was made.
var errNoCertificate = errors.New("no certificate")

// link reads this program's certificate for the links.
func (p *Program) link() (*tlsconf.Link, error) {
	ca, cert, key := tlsconf.LinkFiles(filepath.Join(p.Config.Data, "links"), p.Name)
	for _, f := range []struct {
		to   *string
		conf string
	}{{&ca, p.Config.TLS.LinkCA}, {&cert, p.Config.TLS.LinkCert}, {&key, p.Config.TLS.LinkKey}} {
		if f.conf != "" {
			*f.to = f.conf
		}
	}
	l, err := tlsconf.OpenLink(ca, cert, key)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fault.From(fault.Invalid, errNoCertificate, "no certificate for the links between the programs; make them with: waypost links init --data %s", p.Config.Data)
	}
	return l, err
}

// linkServer is the TLS of an inner door: mutual, unless nobody but this machine
// reaches it and no certificate was made.
func (p *Program) linkServer(addr config.Address, roles ...string) (*tls.Config, error) {
	l, err := p.link()
	if err != nil {
		if errors.Is(err, errNoCertificate) && loopback(string(addr)) {
			return nil, nil
		}
		return nil, err
	}
	return l.Server(roles...), nil
}

// linkClient is the TLS towards a role at the addresses named, by the same rule.
func (p *Program) linkClient(role string, addrs ...string) (*tls.Config, error) {
	l, err := p.link()
	if err != nil {
		if !errors.Is(err, errNoCertificate) || slices.ContainsFunc(addrs, func(a string) bool { return !loopback(a) }) {
			return nil, err
		}
		return nil, nil
	}
	return l.Client(role), nil
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr == "" || addr == "off"
	}
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// storeServers gives the LMTP doors that deliver into a mailbox database.
func (p *Program) storeServers(home string) []string {
	if s := p.Config.Links.LMTPFor[home]; s != "" {
		return strings.Fields(s)
	}
	return p.Config.Links.LMTP
}

// sealer encrypts what only the administrator may read again, under a key of
// the data folder (AES-256-GCM).
func (p *Program) sealer() (func([]byte) ([]byte, error), error) {
	key, err := SealKey(p.Config.Data)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return func(b []byte) ([]byte, error) { return aead.Seal(nil, nil, b, nil), nil }, nil
}

// SealKey reads the key of sealed values, or makes it.
func SealKey(data string) ([]byte, error) {
	path := filepath.Join(data, "keys", "seal.key")
	if b, err := os.ReadFile(path); err == nil && len(b) == 32 {
		return b, nil
	} else if err == nil {
		return nil, fmt.Errorf("%s: not a key of 32 bytes", path)
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	tmp, err := os.CreateTemp(filepath.Dir(path), "seal.*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(key); err != nil {
		return nil, err
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return nil, err
	}
	// Link, not rename: of two processes that make it at once, one wins.
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	return os.ReadFile(path)
}
