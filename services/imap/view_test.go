package imap

import (
	"testing"
	"unsafe"

	"github.com/emersion/go-imap/v2"

	"waypost/store"
)

func TestRowSize(t *testing.T) {
	if got := unsafe.Sizeof(row{}); got != 24 {
		t.Errorf("a row has %d bytes, the law of the package says 24", got)
	}
	all := store.Flags(0)
	for _, s := range systemFlags {
		all |= s.flag
	}
	if all&gone != 0 || all > 1<<15 {
		t.Errorf("the store's flags %b do not fit beside gone", all)
	}
}

func TestSpans(t *testing.T) {
	v := &view{exists: 4}
	for _, uid := range []store.UID{2, 3, 7, 9, 12} { // the last is not told yet
		v.rows = append(v.rows, row{uid: uid})
	}
	tests := []struct {
		set  imap.NumSet
		want []span
		bad  bool
	}{
		{set: imap.SeqSet{{Start: 1, Stop: 2}}, want: []span{{0, 2}}},
		{set: imap.SeqSet{{Start: 2, Stop: 0}}, want: []span{{1, 4}}},
		{set: imap.SeqSet{{Start: 0, Stop: 0}}, want: []span{{3, 4}}},
		{set: imap.SeqSet{{Start: 1, Stop: 1}, {Start: 3, Stop: 3}}, want: []span{{0, 1}, {2, 3}}},
		{set: imap.SeqSet{{Start: 5, Stop: 5}}, bad: true},
		{set: imap.UIDSet{{Start: 3, Stop: 8}}, want: []span{{1, 3}}},
		{set: imap.UIDSet{{Start: 100, Stop: 0}}, want: []span{{3, 4}}},
		{set: imap.UIDSet{{Start: 1, Stop: 4294967295}}, want: []span{{0, 4}}},
		{set: imap.UIDSet{{Start: 12, Stop: 12}}},
		{set: imap.UIDSet{{Start: 4, Stop: 6}}},
		{set: imap.SearchRes(), want: []span{{2, 3}}},
	}
	for _, tt := range tests {
		got, err := v.spans(tt.set, savedResult{imap.UIDSet{{Start: 7, Stop: 7}}})
		if (err != nil) != tt.bad {
			t.Errorf("spans(%v): %v", tt.set, err)
		}
		if len(got) != len(tt.want) {
			t.Errorf("spans(%v) = %v, want %v", tt.set, got, tt.want)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("spans(%v) = %v, want %v", tt.set, got, tt.want)
			}
		}
	}
}

func TestKeywordsAreInterned(t *testing.T) {
	var w wordTable
	a, b, again := w.intern([]string{"Work"}), w.intern([]string{"a", "b"}), w.intern([]string{"Work"})
	if a == b || a != again || w.intern(nil) != 0 {
		t.Errorf("intern: %d, %d, %d", a, b, again)
	}
	if got := w.spelling("wORK"); got != "Work" {
		t.Errorf("spelling = %q", got)
	}
	c := w.clone()
	c.intern([]string{"new"})
	if len(w.names) != 3 || len(c.names) != 4 {
		t.Errorf("a clone shares its words: %v, %v", w.names, c.names)
	}
}

func TestViewCacheIsBounded(t *testing.T) {
	vc := newViewCache(1000)
	for i := range 100 {
		vc.put(viewKey{box: store.MailboxID(i)}, &view{rows: make([]row, 100), pos: store.Position{Seq: 1}})
	}
	if vc.rows > 1000 || len(vc.byID) != vc.lru.Len() || vc.get(viewKey{box: 99}) == nil || vc.get(viewKey{box: 0}) != nil {
		t.Errorf("%d rows in %d views", vc.rows, len(vc.byID))
	}
	vc.put(viewKey{box: 99}, &view{rows: make([]row, 1), pos: store.Position{Seq: 0}})
	if len(vc.get(viewKey{box: 99}).rows) != 100 {
		t.Error("an older view replaced a newer one")
	}
}
