package postgres

import (
	"context"
	"log/slog"
	"reflect"
	"testing"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
)

// TestMemoryIsTheTables asks memory and tables the same.
func TestMemoryIsTheTables(t *testing.T) {
	ctx := t.Context()
	log := slog.New(slog.DiscardHandler)
	db, err := pgdb.Open(ctx, pgtest.New(t, migrations.Directory), pgdb.Options{Log: log, MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := Open(ctx, db, Options{Log: log, Hash: func(context.Context, string, string) (string, error) { return "x", nil }})
	if err != nil {
		t.Fatal(err)
	}
	as := directory.System("test")
	for _, name := range []string{"example.test", "sub.example.test"} {
		if _, err := s.AddDomain(ctx, as, name); err != nil {
			t.Fatal(err)
		}
	}
	name := func(text string) tree.DN {
		dn, err := tree.ParseDN(text)
		if err != nil {
			t.Fatal(err)
		}
		return dn
	}
	const base, sub = "DC=example,DC=test", "DC=sub,DC=example,DC=test"
	for _, e := range []struct{ dn, class, mail string }{
		{"OU=Staff," + base, "organizationalUnit", ""},
		{"CN=Ann  Bee,OU=Staff," + base, "user", "ann@example.test"},
		{"CN=Gone,OU=Staff," + base, "user", "gone@example.test"},
		{"CN=Über,CN=Users," + sub, "user", "ueber@sub.example.test"},
	} {
		list := []tree.Attribute{{Name: "objectClass", Values: []string{e.class}}}
		if e.mail != "" {
			list = append(list, tree.Attribute{Name: "mail", Values: []string{e.mail}}, tree.Attribute{Name: "userPrincipalName", Values: []string{e.mail}})
		}
		if _, err := s.AddEntry(ctx, as, name(e.dn), list, tree.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	gone, _, _ := s.index.Load().Resolve(name("CN=Gone,OU=Staff," + base))
	if _, err := s.DeleteEntry(ctx, as, name("CN=Gone,OU=Staff,"+base), tree.Options{}); err != nil {
		t.Fatal(err)
	}
	buried, _ := s.index.Load().DN(gone)
	dns := []tree.DN{
		name(base), name(sub), name("DC=none," + base), name("CN=x,DC=none," + base), name("DC=test"), name("CN=a,DC=other,DC=test"),
		{},
		name("OU=Staff," + base), name("ou=STAFF," + base), name("CN=ann bee,OU=Staff," + base), name("CN=x,CN=ann bee,OU=Staff," + base),
		name("CN=Gone,OU=Staff," + base), buried, append(name("CN=below"), buried...), name("CN=a,CN=b,OU=None," + base),
		name("CN=über,CN=Users," + sub), name("CN=default,CN=Mailbox Databases,CN=Waypost,CN=Services,CN=Configuration," + base),
		name("CN=User,CN=Schema,CN=Configuration," + base), name("CN=Schema,CN=Configuration," + base), name("CN=Deleted Objects," + base),
	}
	var kinds []int16
	var texts []string
	for _, text := range []string{"ann@example.test", "gone@example.test", "ueber@sub.example.test", "example.test", "domain admins", "none"} {
		for kind := nameAddress; kind <= nameDomain; kind++ {
			kinds, texts = append(kinds, int16(kind)), append(texts, text)
		}
	}
	err = s.write(ctx, actor{as: as, op: "test"}, func(ctx context.Context, w *writing) error {
		m := w.memory()
		if m == nil {
			t.Error("nobody else wrote, and memory is not good")
			return nil
		}
		got, ok, err := m.spots(ctx, dns)
		if err != nil || !ok {
			t.Error(ok, err)
			return err
		}
		want, err := w.resolve(ctx, dns...)
		if err != nil {
			return err
		}
		for i := range dns {
			want[i].sid = nil // memory does not tell it
			if got[i].deleted {
				want[i].rdn = "" // nor this
			}
			if len(want[i].domSID) == 0 {
				want[i].domSID = nil
			}
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("%s: memory says %+v, the tables %+v", dns[i], got[i], want[i])
			}
		}
		taken, err := w.whose(ctx, kinds, texts)
		if err != nil {
			return err
		}
		if got := m.whose(kinds, texts); len(got) < 4 || !reflect.DeepEqual(got, taken) {
			t.Errorf("names: memory says %v, the tables %v", got, taken)
		}
		if spots, _, err := w.survey(ctx, []tree.DN{name("<WKGUID=a9d1ca15768811d1aded00c04fd8d5cd," + base + ">")}, nil, nil); err != nil || spots[0].rdn != "Users" {
			t.Errorf("a special form leads to %+v, %v", spots, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(ctx, `UPDATE directory.forest SET usn = usn + 1`); err != nil {
		t.Fatal(err)
	}
	err = s.write(ctx, actor{as: as, op: "test"}, func(_ context.Context, w *writing) error {
		if w.memory() != nil {
			t.Error("somebody else wrote, and memory is taken for good")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
