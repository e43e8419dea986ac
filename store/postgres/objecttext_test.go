package postgres

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/store"
	"waypost/store/storetest"
)

// TestObjectTexts: a text is read as it was written wherever it stands, while
// edits make it small and large in turn; a small one that is a content, as all
// once were, is read and edited too.
func TestObjectTexts(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t, migrations.Mail), Options{ContentCache: -1, MessageCache: -1})
	var p store.Put
	var want []byte
	put := func(n int) {
		t.Helper()
		var err error
		text := storetest.Event("u", "size", ":20261124T100000Z", "DESCRIPTION:"+strings.Repeat("x", n))
		if p, err = s.PutObject(t.Context(), me, box, store.PutObject{Role: store.RoleCalendar, UID: "u", Edit: storetest.SetText(text)}); err != nil {
			t.Fatal(err)
		}
		want = p.Object.Text
		if got := objectOf(t, s, p.Entry.Item); got == nil || !bytes.Equal(got.Text, want) || got.Size != int64(len(want)) {
			t.Fatalf("with a description of %d bytes another text is read", n)
		}
	}
	stands := func(rows, contents int) {
		t.Helper()
		if n := count(t, s, "mail.object where text is not null"); n != rows {
			t.Errorf("%d texts stand in their rows, want %d", n, rows)
		}
		if n := count(t, s, "mail.blob where part = 0"); n != contents {
			t.Errorf("%d contents, want %d", n, contents)
		}
	}
	put(100)
	stands(1, 0)
	put(smallText)
	stands(0, 1)
	put(200)
	stands(1, 1)
	purge(t, s, 25*time.Hour)
	stands(1, 0)

	hash := sha256.Sum256(want)
	if _, err := s.homes[DefaultHome].db.Exec(t.Context(), `with content as (
			insert into mail.blob (hash, part, size, data) values ($1, 0, $2, $3))
		update mail.object set blob = $1, text = null`, hash[:], int64(len(want)), pack(want)); err != nil {
		t.Fatal(err)
	}
	if got := objectOf(t, s, p.Entry.Item); got == nil || !bytes.Equal(got.Text, want) {
		t.Fatal("a small text that is a content is read otherwise")
	}
	other, err := s.CreateFolder(t.Context(), me, box, store.Folder{Name: "Other", Class: store.ClassCalendar})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // copied as a content, then as a row
		res, err := s.Copy(t.Context(), me, box, p.Entry.Folder, []store.ItemID{p.Entry.Item}, other.ID)
		if err != nil {
			t.Fatal(err)
		}
		copied := res.Placed[0].To
		if got := objectOf(t, s, copied); got == nil || !bytes.Equal(got.Text, want) {
			t.Fatal("the copy has another text")
		}
		if _, err := s.RemoveObject(t.Context(), me, box, store.RemoveObject{Folder: other.ID, Item: copied}); err != nil {
			t.Fatal(err)
		}
		put(300)
	}
	purge(t, s, 1000*day)
	purge(t, s, 1002*day)
	stands(1, 0)
}
