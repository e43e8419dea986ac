package postgres_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/authn"
	"waypost/directory/postgres"
	"waypost/directory/tree"
	"waypost/internal/pgtest"
	"waypost/migrations"
)

// TestAtOnce holds the counter row until many callers wait, so that one
// transaction does what they all want: each hears of its own entry, has its own
// line in the audit log, and another process sees the same.
func TestAtOnce(t *testing.T) {
	dburl := pgtest.New(t, migrations.Directory)
	s, _ := process(t, dburl, authn.NewHasher(cheap))
	other, _ := process(t, dburl, authn.NewHasher(cheap))
	ctx := t.Context()
	if _, err := s.AddDomain(ctx, system, "a.test"); err != nil {
		t.Fatal(err)
	}
	tr := s.Tree()
	top := name(t, "OU=Top,DC=a,DC=test")
	child := func(n int) tree.DN {
		return top.Child(tree.RDN{{Attribute: "cn", Value: fmt.Sprintf("c%02d", n)}})
	}
	mail := func(n int) []tree.Attribute {
		return append(class("contact"), tree.Attribute{Name: "mail", Values: []string{fmt.Sprintf("c%02d@a.test", n)}})
	}
	if _, err := tr.AddEntry(ctx, system, top, class("organizationalUnit"), tree.Options{}); err != nil {
		t.Fatal(err)
	}
	for n := range 10 {
		if _, err := tr.AddEntry(ctx, system, child(n), mail(n), tree.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	group := name(t, "CN=g,OU=Top,DC=a,DC=test")
	members := append(class("group"), tree.Attribute{Name: "member", Values: []string{child(9).String()}})
	if _, err := tr.AddEntry(ctx, system, group, members, tree.Options{}); err != nil {
		t.Fatal(err)
	}

	lock, err := pgx.Connect(ctx, dburl)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close(ctx)
	hold := func() (release func()) {
		tx, err := lock.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, `SELECT FROM directory.forest FOR UPDATE`); err != nil {
			t.Fatal(err)
		}
		return func() {
			time.Sleep(300 * time.Millisecond) // until all wait
			if err := tx.Commit(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	type result struct {
		what string
		done tree.Written
		err  error
	}
	var mu sync.Mutex
	got := map[string]result{}
	var wg sync.WaitGroup
	do := func(what string, fn func() (tree.Written, error)) {
		wg.Go(func() {
			done, err := fn()
			mu.Lock()
			defer mu.Unlock()
			got[what] = result{what, done, err}
		})
	}
	add := func(what string, dn tree.DN, attrs []tree.Attribute) {
		do(what, func() (tree.Written, error) { return tr.AddEntry(ctx, system, dn, attrs, tree.Options{From: what}) })
	}
	remove := func(what string, dn tree.DN, o tree.Options) {
		o.From = what
		do(what, func() (tree.Written, error) { return tr.DeleteEntry(ctx, system, dn, o) })
	}
	release := hold()
	// The first goes alone and waits for the row; the rest waits for it.
	add("add 20", child(20), mail(20))
	time.Sleep(100 * time.Millisecond)
	for n := 21; n < 30; n++ {
		add(fmt.Sprintf("add %d", n), child(n), mail(n))
	}
	add("same name", child(3), mail(40))
	add("same mail", child(41), mail(4))
	add("twice a", child(42), mail(42))
	add("twice b", child(42), mail(43))
	add("no parent", name(t, "CN=x,OU=None,DC=a,DC=test"), mail(44))
	for n := range 6 {
		remove(fmt.Sprintf("remove %d", n), child(n), tree.Options{})
	}
	remove("remove 9, a member", child(9), tree.Options{})
	remove("not empty", top, tree.Options{})
	remove("not there", child(77), tree.Options{})
	remove("twice c", child(8), tree.Options{})
	remove("twice d", child(8), tree.Options{})
	never, err := tree.ParseFilter("(cn=somebody else)")
	if err != nil {
		t.Fatal(err)
	}
	remove("asserted", child(7), tree.Options{Assert: never})
	release()
	wg.Wait()

	const done = tree.Code(0)
	code := func(what string) tree.Code {
		var r *tree.Refusal
		switch err := got[what].err; {
		case err == nil:
			return done
		case errors.As(err, &r):
			return r.Code
		default:
			t.Errorf("%s: %v", what, err)
			return -1
		}
	}
	usns := map[directory.USN]string{}
	for what, r := range got {
		if r.err == nil {
			if was := usns[r.done.USN]; was != "" || r.done.USN == 0 {
				t.Errorf("%s and %s have the USN %d", what, was, r.done.USN)
			}
			usns[r.done.USN] = what
		}
	}
	for n := 20; n < 30; n++ {
		if c := code(fmt.Sprintf("add %d", n)); c != done {
			t.Errorf("add %d: %d", n, c)
		}
	}
	for n := range 6 {
		if c := code(fmt.Sprintf("remove %d", n)); c != done {
			t.Errorf("remove %d: %d", n, c)
		}
	}
	for what, want := range map[string]tree.Code{
		"same name": tree.ResultEntryAlreadyExists, "no parent": tree.ResultNoSuchObject, "remove 9, a member": done,
		"not empty": tree.ResultNotAllowedOnNonLeaf, "not there": tree.ResultNoSuchObject, "asserted": tree.ResultAssertionFailed,
	} {
		if c := code(what); c != want {
			t.Errorf("%s: %d, want %d", what, c, want)
		}
	}
	if code("same mail") == done {
		t.Error("an address is there twice")
	}
	for _, pair := range [][2]string{{"twice a", "twice b"}, {"twice c", "twice d"}} {
		if a, b := code(pair[0]), code(pair[1]); (a == done) == (b == done) {
			t.Errorf("%s and %s: %d and %d, want that one is done", pair[0], pair[1], a, b)
		}
	}

	// A domain is no entry like others: then each goes alone, with the same outcome.
	release = hold()
	add("add 50", child(50), mail(50))
	time.Sleep(100 * time.Millisecond)
	add("add 51", child(51), mail(51))
	add("add 52", child(51), mail(52))
	remove("remove 20", child(20), tree.Options{})
	remove("domain", name(t, "DC=a,DC=test"), tree.Options{})
	release()
	wg.Wait()
	if c := code("domain"); c != tree.ResultNotAllowedOnNonLeaf {
		t.Errorf("a domain that is used: %d", c)
	}
	for _, what := range []string{"add 50", "remove 20"} {
		if c := code(what); c != done {
			t.Errorf("%s: %d", what, c)
		}
	}
	if (code("add 51") == done) == (code("add 52") == done) {
		t.Error("one name, two entries: want that one is done")
	}

	lines, err := s.Audit(ctx, system, directory.AuditQuery{Limit: 200})
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]int{}
	for _, l := range lines {
		told[l.From]++
	}
	for what := range got {
		want := 0
		if got[what].err == nil {
			want = 1
		}
		if told[what] != want {
			t.Errorf("%s has %d lines in the audit log, want %d", what, told[what], want)
		}
	}
	checkSound(t, s)
	catchUp(t, other, s)
	checkSound(t, other)
	for _, at := range []*postgres.Store{s, other} {
		err := at.Tree().Search(ctx, system, &tree.Query{Base: group, Scope: tree.Base, Attributes: []string{"member"}}, func(e *tree.Entry) error {
			if len(e.Get("member")) != 0 {
				t.Errorf("the group has %q, want no member", e.Get("member"))
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
