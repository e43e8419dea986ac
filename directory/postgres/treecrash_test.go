package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory/authn"
	"waypost/directory/postgres"
	"waypost/directory/tree"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
)

func name(t testing.TB, s string) tree.DN {
	t.Helper()
	dn, err := tree.ParseDN(s)
	if err != nil {
		t.Fatal(err)
	}
	return dn
}

func class(c string) []tree.Attribute {
	return []tree.Attribute{{Name: "objectClass", Values: []string{c}}}
}

// killer ends all connections to the test's database but its own.
func killer(t testing.TB, dburl string) (kill func() int) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dburl)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return func() (n int) {
		err := c.QueryRow(t.Context(), `
			SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`).Scan(&n)
		if err != nil {
			t.Error(err)
		}
		return n
	}
}

// TestCrashInTreeDelete: the connections are cut in the middle of the removal of
// a subtree. What is left is sound, and asking again removes it.
func TestCrashInTreeDelete(t *testing.T) {
	dburl := pgtest.New(t, migrations.Directory)
	s, _ := process(t, dburl, authn.NewHasher(cheap))
	ctx := t.Context()
	if _, err := s.AddDomain(ctx, system, "a.test"); err != nil {
		t.Fatal(err)
	}
	tr := s.Tree()
	top := name(t, "OU=Top,DC=a,DC=test")
	list := []postgres.NewEntry{{DN: top, Attributes: class("organizationalUnit")}}
	for i := range 30 {
		ou := top.Child(tree.RDN{{Attribute: "ou", Value: fmt.Sprint(i)}})
		list = append(list, postgres.NewEntry{DN: ou, Attributes: class("organizationalUnit")})
		for k := range 40 {
			list = append(list, postgres.NewEntry{DN: ou.Child(tree.RDN{{Attribute: "cn", Value: fmt.Sprint(k)}}), Attributes: class("contact")})
		}
	}
	added, err := s.AddEntries(ctx, system, list, tree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range added {
		if a.Err != nil {
			t.Fatalf("%s: %v", list[i].DN, a.Err)
		}
	}
	left := func() (n int) {
		t.Helper()
		q := &tree.Query{Base: name(t, "DC=a,DC=test"), Scope: tree.Sub, Filter: &tree.Filter{Op: tree.Equal, Attribute: "objectClass", Value: "contact"}, Attributes: []string{"1.1"}}
		if err := tr.Search(ctx, system, q, func(*tree.Entry) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	kill := killer(t, dburl)
	ended, end := context.WithCancel(ctx)
	defer end()
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		for left() > 900 { // some transactions are through
			time.Sleep(time.Millisecond)
		}
		kill()
		end() // and the one who asked is gone
	}()
	_, err = tr.DeleteEntry(ended, system, top, tree.Options{Tree: true})
	<-cut
	t.Logf("the removal ended with %v, %d of 1200 left", err, left())
	if n := left(); n == 0 || err == nil {
		t.Errorf("cut off, %d entries are left, %v: want some and an error", n, err)
	} else {
		if k := fault.Of(err); k != fault.Unavailable {
			t.Errorf("cut off, the removal ended with %v", err)
		}
		checkSound(t, s)
		for {
			if _, err = tr.DeleteEntry(ctx, system, top, tree.Options{Tree: true}); fault.Of(err) != fault.Unavailable || err == nil {
				break
			}
		}
	}
	if err != nil && fault.Of(err) != fault.NotFound {
		t.Errorf("asked again: %v", err)
	}
	if n := left(); n != 0 {
		t.Errorf("%d entries are left", n)
	}
	checkSound(t, s)
}

// TestKilledBackends: connections are cut again and again under writes of every
// kind. Who was answered well finds what he wrote; all is sound.
func TestKilledBackends(t *testing.T) {
	dburl := pgtest.New(t, migrations.Directory)
	s, _ := process(t, dburl, authn.NewHasher(cheap))
	ctx := t.Context()
	if _, err := s.AddDomain(ctx, system, "a.test"); err != nil {
		t.Fatal(err)
	}
	tr := s.Tree()
	kill := killer(t, dburl)
	stop := make(chan struct{})
	var killing, writing sync.WaitGroup
	killing.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
				kill()
			}
		}
	})
	const workers, each = 8, 10
	failed := 0
	var mu sync.Mutex
	for w := range workers {
		writing.Go(func() {
			for i := range each {
				dn := name(t, fmt.Sprintf("CN=W%d-%d,CN=Users,DC=a,DC=test", w, i))
				steps := []func() error{
					func() error { _, err := tr.AddEntry(ctx, system, dn, class("user"), tree.Options{}); return err },
					func() error {
						_, err := tr.ModifyEntry(ctx, system, dn, []tree.Modification{{Op: tree.ModReplace, Name: "title", Values: []string{"T"}}}, tree.Options{})
						return err
					},
					func() error {
						_, err := tr.MoveEntry(ctx, system, dn, dn[0], true, ptr(name(t, "DC=a,DC=test")), tree.Options{})
						return err
					},
				}
				for n, step := range steps {
					err := step()
					if err == nil {
						continue
					}
					mu.Lock()
					failed++
					mu.Unlock()
					if k := fault.Of(err); k != fault.Unavailable && !errors.Is(err, pgdb.ErrCommitUnknown) {
						t.Errorf("step %d of %s: %v", n, dn, err)
					}
					break // what the outcome is, Check tells
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	killing.Wait()
	t.Logf("%d of %d were cut off", failed, workers*each)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := s.Check(ctx); err == nil || time.Now().After(deadline) {
			break
		}
	}
	checkSound(t, s)
	// The process is well again.
	if _, err := tr.AddEntry(ctx, system, name(t, "CN=After,CN=Users,DC=a,DC=test"), class("user"), tree.Options{}); err != nil {
		t.Error(err)
	}
	checkSound(t, s)
}

func ptr[T any](v T) *T { return &v }

// TestPurge: what was removed is gone for good after 180 days, in every process.
func TestPurge(t *testing.T) {
	dburl := pgtest.New(t, migrations.Directory)
	h := authn.NewHasher(cheap)
	s, _ := process(t, dburl, h)
	other, _ := process(t, dburl, h)
	ctx := t.Context()
	if _, err := s.AddDomain(ctx, system, "a.test"); err != nil {
		t.Fatal(err)
	}
	tr := s.Tree()
	dn := name(t, "CN=Old,CN=Users,DC=a,DC=test")
	if _, err := tr.AddEntry(ctx, system, dn, class("user"), tree.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.DeleteEntry(ctx, system, dn, tree.Options{}); err != nil {
		t.Fatal(err)
	}
	graves := func(s *postgres.Store) (n int) {
		q := &tree.Query{
			Base: name(t, "DC=a,DC=test"), Scope: tree.Sub, Deleted: true,
			Filter: &tree.Filter{Op: tree.Equal, Attribute: "isDeleted", Value: "TRUE"},
		}
		if err := s.Tree().Search(ctx, system, q, func(*tree.Entry) error { n++; return nil }); err != nil {
			t.Error(err)
		}
		return n
	}
	if err := postgres.Prune(s, ctx); err != nil {
		t.Fatal(err)
	}
	if n := graves(s); n != 1 {
		t.Fatalf("there are %d tombstones, want 1", n)
	}
	db, err := pgdb.Open(ctx, dburl, pgdb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(ctx, `UPDATE directory.object SET deleted = now() - interval '181 days' WHERE deleted IS NOT NULL`); err != nil {
		t.Fatal(err)
	}
	if err := postgres.Prune(s, ctx); err != nil {
		t.Fatal(err)
	}
	if n := graves(s); n != 0 {
		t.Errorf("there are %d tombstones after 181 days", n)
	}
	catchUp(t, other, s) // it may not have heard of the domain yet
	for deadline := time.Now().Add(10 * time.Second); graves(other) != 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the other process has the tombstone still")
		}
	}
	checkSound(t, s)
}

// TestLargeGroup: members come and go at two processes at once; each has them as
// the tables do, whatever it read of them.
func TestLargeGroup(t *testing.T) {
	dburl := pgtest.New(t, migrations.Directory)
	h := authn.NewHasher(cheap)
	a, _ := process(t, dburl, h)
	b, _ := process(t, dburl, h)
	ctx := t.Context()
	if _, err := a.AddDomain(ctx, system, "a.test"); err != nil {
		t.Fatal(err)
	}
	const people = 40
	var list []postgres.NewEntry
	for i := range people {
		list = append(list, postgres.NewEntry{DN: name(t, fmt.Sprintf("CN=P%d,CN=Users,DC=a,DC=test", i)), Attributes: class("contact")})
	}
	for i := range 3 {
		list = append(list, postgres.NewEntry{DN: name(t, fmt.Sprintf("CN=G%d,CN=Users,DC=a,DC=test", i)), Attributes: class("group")})
	}
	if _, err := a.AddEntries(ctx, system, list, tree.Options{}); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	for w, s := range []*postgres.Store{a, a, b, b} {
		r := rand.New(rand.NewPCG(seed, uint64(w)))
		wg.Go(func() {
			for range 60 {
				g := name(t, fmt.Sprintf("CN=G%d,CN=Users,DC=a,DC=test", r.IntN(3)))
				p := fmt.Sprintf("CN=P%d,CN=Users,DC=a,DC=test", r.IntN(people))
				var err error
				switch r.IntN(8) {
				case 0, 1, 2:
					_, err = s.Tree().ModifyEntry(ctx, system, g, []tree.Modification{{Op: tree.ModAdd, Name: "member", Values: []string{p}}}, tree.Options{Permissive: true})
				case 3, 4:
					_, err = s.Tree().ModifyEntry(ctx, system, g, []tree.Modification{{Op: tree.ModDelete, Name: "member", Values: []string{p}}}, tree.Options{Permissive: true})
				case 5:
					_, err = s.Tree().ModifyEntry(ctx, system, g, []tree.Modification{{Op: tree.ModReplace, Name: "managedBy", Values: []string{p}}}, tree.Options{})
				case 6:
					_, err = s.Tree().DeleteEntry(ctx, system, name(t, p), tree.Options{})
				case 7:
					_, err = s.Tree().AddEntry(ctx, system, name(t, p), class("contact"), tree.Options{})
				}
				switch fault.Of(err) {
				case fault.Invalid, fault.NotFound, fault.Exists:
				default:
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for _, s := range []*postgres.Store{a, b} {
		eventually(t, func() bool { return s.USN() == max(a.USN(), b.USN()) })
		checkSound(t, s)
	}
}

func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 10 seconds")
		}
	}
}

// TestAddEntriesTellsEach: what is refused leaves nothing, the others stay; a
// schema, a domain and what leans on them come in one call.
func TestAddEntriesTellsEach(t *testing.T) {
	s, _ := process(t, pgtest.New(t, migrations.Directory), authn.NewHasher(cheap))
	ctx := t.Context()
	entry := func(dn string, pairs ...string) postgres.NewEntry {
		e := postgres.NewEntry{DN: name(t, dn)}
		for i := 0; i < len(pairs); i += 2 {
			e.Attributes = append(e.Attributes, tree.Attribute{Name: pairs[i], Values: []string{pairs[i+1]}})
		}
		return e
	}
	list := []postgres.NewEntry{
		entry("DC=a,DC=test", "objectClass", "domainDNS"),
		entry("CN=Shoe-Size,CN=Schema,CN=Configuration,DC=a,DC=test", "objectClass", "attributeSchema", "lDAPDisplayName", "shoeSize",
			"attributeID", "1.3.6.1.4.1.99999.1", "attributeSyntax", "2.5.5.9", "oMSyntax", "2", "isSingleValued", "TRUE"),
		entry("CN=Runner,CN=Schema,CN=Configuration,DC=a,DC=test", "objectClass", "classSchema", "lDAPDisplayName", "runner", "governsID", "1.3.6.1.4.1.99999.2",
			"objectClassCategory", "1", "subClassOf", "contact", "mayContain", "shoeSize", "possSuperiors", "organizationalUnit"),
		entry("OU=U,DC=a,DC=test", "objectClass", "organizationalUnit"),
		entry("CN=A,OU=U,DC=a,DC=test", "objectClass", "runner", "shoeSize", "42"),
		entry("CN=B,OU=U,DC=a,DC=test", "objectClass", "user", "mail", "b@a.test", "manager", "CN=C,OU=U,DC=a,DC=test"),
		entry("CN=C,OU=U,DC=a,DC=test", "objectClass", "user", "mail", "B@a.test"),
		entry("CN=D,OU=U,DC=a,DC=test", "objectClass", "user", "userPassword", "a good password 1"),
		entry("CN=D,OU=U,DC=a,DC=test", "objectClass", "user"),
		entry("CN=E,OU=None,DC=a,DC=test", "objectClass", "user"),
		entry("CN=F,OU=U,DC=a,DC=test", "objectClass", "user", "hatSize", "7"),
		entry("CN=G,OU=U,DC=a,DC=test", "objectClass", "group", "member", "CN=D,OU=U,DC=a,DC=test"),
	}
	added, err := s.AddEntries(ctx, system, list, tree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []tree.Code{0, 0, 0, 0, 0, tree.ResultConstraintViolation, tree.ResultConstraintViolation, 0, tree.ResultEntryAlreadyExists, tree.ResultNoSuchObject, tree.ResultUndefinedType, 0}
	for i, a := range added {
		var r *tree.Refusal
		code := tree.Code(0)
		if errors.As(a.Err, &r) {
			code = r.Code
		}
		// The manager of one has its address and is refused, so it leans on nothing.
		if code != want[i] || (a.ID == 0) != (a.Err != nil) {
			t.Errorf("%s: %v, want code %d", list[i].DN, a.Err, want[i])
		}
	}
	checkSound(t, s)
}
