package imap

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/mail"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/internal/wiretest"
	"waypost/migrations"
	"waypost/store"
	"waypost/store/postgres"
)

// The real store's methods are the ones this door asks for.
var _ Mailboxes = (*postgres.Store)(nil)

func openPostgres(t testing.TB) *postgres.Store {
	t.Helper()
	db, err := pgdb.Open(t.Context(), pgtest.New(t, migrations.Mail), pgdb.Options{Name: "imap"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s, err := postgres.New(map[string]*pgdb.DB{postgres.DefaultHome: db}, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// deliverTo adds a message to an inbox of any store.
func deliverTo(t testing.TB, m Mailboxes, p directory.Principal, text string) {
	t.Helper()
	w, err := m.NewBlob(t.Context(), p.HomeMDB)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	b, err := w.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum, err := mail.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Add(t.Context(), p, p.Mailbox, store.NewMessage{
		Blob: b, Summary: sum, Prefix: []byte("Return-Path: <sender@example.test>\r\n"),
		Received: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
	}); err != nil {
		t.Fatal(err)
	}
}

// The conversations hold with the real store too, but for those that name what
// only the store in memory numbers or forgets.
func TestConversationsWithPostgres(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	s := openPostgres(t)
	for i, file := range files {
		if strings.HasSuffix(file, ".mem.txt") {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			lines, err := wiretest.Read(file)
			if err != nil {
				t.Fatal(err)
			}
			t.Parallel()
			cfg := testConfig()
			cfg.MaxAppend = 1 << 20
			near := open(t, cfg, s, nil, nil)
			far := open(t, cfg, s, nil, func(l net.Listener) net.Listener { return farListener{l} })
			// Everybody has a mailbox of their own in each conversation.
			near.accounts.base = store.MailboxID(100 * (i + 1))
			far.accounts.base = near.accounts.base
			ann, _ := near.accounts.person("ann")
			bob, _ := near.accounts.person("bob")
			for _, who := range []directory.Principal{ann, bob} {
				if _, err := s.Mailbox(t.Context(), who, who.Mailbox); err != nil {
					t.Fatal(err)
				}
			}
			for _, text := range seedMail {
				deliverTo(t, s, bob, text)
			}
			wiretest.Play(t, lines, wiretest.Peer{
				Dial: func(t testing.TB, name string) net.Conn {
					switch name {
					case "far":
						return far.dial(t)
					case "mta":
						return deliverer(t, s, ann, nil)
					}
					return near.dial(t)
				},
				TLS: func(nc net.Conn) net.Conn { return tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) },
			})
		})
	}
}
