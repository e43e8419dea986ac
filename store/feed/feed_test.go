package feed

import (
	"testing"
	"time"
)

func woken(w *Watcher) bool {
	select {
	case <-w.C():
		return true
	default:
		return false
	}
}

func TestAnnounce(t *testing.T) {
	var h Hub
	h.Announce(1, 5) // nobody waits
	a, b, other := h.Watch(1), h.Watch(1), h.Watch(2)
	defer other.Close()
	h.Announce(1, 6)
	if !woken(a) || !woken(b) || woken(other) {
		t.Fatal("exactly the watchers of the mailbox must wake")
	}
	h.Announce(1, 6)
	h.Announce(1, 5)
	if woken(a) {
		t.Error("woken again for a change that it was woken for")
	}
	h.Announce(1, 7)
	h.Announce(1, 8)
	if !woken(a) || woken(a) {
		t.Error("announcements that nobody looked at in between must merge into one")
	}
	a.Close()
	a.Close()
	h.Announce(1, 9)
	if woken(a) || !woken(b) {
		t.Error("a closed watcher was woken, or the other one was not")
	}
	b.Close()
	if got := h.Awaited(); len(got) != 1 || got[0] != 2 {
		t.Errorf("Awaited = %v, want [2]", got)
	}
}

func TestWakeIsQuick(t *testing.T) {
	var h Hub
	w := h.Watch(1)
	defer w.Close()
	start := time.Now()
	go h.Announce(1, 1)
	<-w.C()
	if d := time.Since(start); d > 10*time.Millisecond {
		t.Errorf("woken after %v", d)
	}
}

func BenchmarkWatch(b *testing.B) {
	var h Hub
	b.ReportAllocs()
	for range b.N {
		h.Watch(1).Close()
	}
}
