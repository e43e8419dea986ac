package ldap

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"waypost/directory/schema"
)

// follow reads what a persistent search sends, as short words.
func follow(t *testing.T, r goldap.Response) <-chan string {
	t.Helper()
	words := make(chan string, 100)
	go func() {
		defer close(words)
		for r.Next() {
			word := ""
			if e := r.Entry(); e != nil {
				word, _, _ = strings.Cut(e.DN, ",")
			}
			for _, c := range r.Controls() {
				switch c := c.(type) {
				case *goldap.ControlSyncState:
					word += fmt.Sprintf(" state %d %s", c.State, c.Cookie)
				case *goldap.ControlSyncInfo:
					switch c.Value {
					case goldap.SyncInfoRefreshDelete:
						word += fmt.Sprintf("deletes told %s", c.RefreshDelete.Cookie)
					case goldap.SyncInfoRefreshPresent:
						word += fmt.Sprintf("all told %s", c.RefreshPresent.Cookie)
					case goldap.SyncInfoSyncIdSet:
						word += fmt.Sprintf("gone %v %s", c.SyncIdSet.SyncUUIDs, c.SyncIdSet.Cookie)
					}
				case *goldap.ControlSyncDone:
					word += fmt.Sprintf("done %s %v", c.Cookie, c.RefreshDeletes)
				}
			}
			words <- word
		}
		if err := r.Err(); err != nil {
			words <- codeOf(err).String()
		}
	}()
	return words
}

func next(t *testing.T, words <-chan string, want string) {
	t.Helper()
	select {
	case got, ok := <-words:
		if !ok {
			got = "the end"
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("nothing comes, want %q", want)
	}
}

func TestSyncRefreshAndPersist(t *testing.T) {
	w := start(t)
	c := w.in(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	usn := func() string { return fmt.Sprintf("usn=%d", w.tree.USN()) }
	at := usn()
	words := follow(t, c.Syncrepl(ctx, find("(objectClass=person)", "cn"), 10, goldap.SyncRequestModeRefreshAndPersist, nil, false))
	next(t, words, "CN=ann state 1 ")
	next(t, words, "CN=bob state 1 ")
	next(t, words, "all told "+at)
	id := w.tree.put("CN=new,OU=People,DC=example,DC=test", "cn", "new", "objectClass", "person")
	next(t, words, "CN=new state 1 "+usn())
	mod := goldap.NewModifyRequest("CN=new,OU=People,DC=example,DC=test", nil)
	mod.Replace("sn", []string{"x"})
	if err := c.Modify(mod); err != nil {
		t.Fatal(err)
	}
	next(t, words, "CN=new state 2 "+usn())
	w.tree.put("CN=other,OU=Groups,DC=example,DC=test", "cn", "other", "objectClass", "group") // not in the content
	drainOther(t, words)
	if err := c.Del(goldap.NewDelRequest("CN=new,OU=People,DC=example,DC=test", nil)); err != nil {
		t.Fatal(err)
	}
	next(t, words, fmt.Sprintf("gone [%s] %s", schema.FormatGUID(guidOf(id)), usn()))
	cancel()

	// Later, from a cookie, once.
	d := w.in(t)
	bob := w.accounts.people[1].who.ID
	from := usn()
	w.tree.put("CN=late,OU=People,DC=example,DC=test", "cn", "late", "objectClass", "person")
	if err := d.Del(goldap.NewDelRequest("CN=bob,OU=People,DC=example,DC=test", nil)); err != nil {
		t.Fatal(err)
	}
	words = follow(t, d.Syncrepl(t.Context(), find("(objectClass=person)", "cn"), 10, goldap.SyncRequestModeRefreshOnly, []byte(from), false))
	next(t, words, "CN=late state 1 ")
	next(t, words, fmt.Sprintf("gone [%s] ", schema.FormatGUID(guidOf(bob))))
	next(t, words, "done "+usn()+" true")

	w.tree.oldest = w.tree.USN()
	words = follow(t, w.in(t).Syncrepl(t.Context(), find("(objectClass=person)", "cn"), 10, goldap.SyncRequestModeRefreshOnly, []byte("usn=2"), false))
	next(t, words, "e-syncRefreshRequired")
	words = follow(t, w.in(t).Syncrepl(t.Context(), find("(objectClass=person)", "cn"), 10, goldap.SyncRequestModeRefreshOnly, []byte("usn=2"), true))
	next(t, words, "CN=ann state 1 ")
	words = follow(t, w.in(t).Syncrepl(t.Context(), find("(objectClass=person)", "cn"), 10, goldap.SyncRequestModeRefreshOnly, []byte("csn=what"), false))
	next(t, words, "e-syncRefreshRequired")
}

func drainOther(t *testing.T, words <-chan string) {
	t.Helper()
	select {
	case got := <-words:
		if !strings.HasPrefix(got, "gone") { // something changed that is not in the content
			t.Errorf("got %q", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing comes")
	}
}
