package relay_test

import (
	"slices"
	"strings"
	"testing"
)

// A message to a contact, or to a list with one in it, goes on to the address
// elsewhere.
func TestForward(t *testing.T) {
	h := newHop(t, nil)
	l := newLab(t, routes(h, "there.test"))
	l.run()
	l.put("1", "bob@example.test", "joe@example.test")
	l.put("2", "bob@example.test", "mixed@example.test", "joe@example.test")
	l.until("empty queue", l.empty)
	want := "bob@example.test > joe@there.test\n" + sentMessage
	if got := h.messages(); !slices.Equal(got, []string{want, want}) {
		t.Errorf("sent %q, want twice %q", got, want)
	}
	if box := l.box("alice"); len(box) != 1 {
		t.Errorf("alice has %q", box)
	}
	if box := l.box("bob"); len(box) != 0 {
		t.Errorf("bob is told %q", box)
	}
}

// A list's restrictions hold for what comes by way of the queue, too, and the
// sender hears of it.
func TestRestrictedList(t *testing.T) {
	l := newLab(t, nil)
	l.run()
	l.put("1", "alice@example.test", "board@example.test")
	l.put("2", "bob@example.test", "board@example.test")
	l.until("empty queue", l.empty)
	if got := l.box("away"); len(got) != 1 {
		t.Errorf("the list's member has %q", got)
	}
	if got := l.box("bob"); len(got) != 1 || !strings.Contains(got[0], "550 5.7.1 You are not allowed to send to this list") {
		t.Errorf("bob is told %q", got)
	}
}

// Mail for a mailbox that redirects goes there alone, or there too, once.
func TestRedirect(t *testing.T) {
	for _, to := range [][]string{{"redirected@example.test", "copied@example.test"}, {"redirects@example.test"}, {"copied@example.test", "redirects@example.test", "redirected@example.test"}} {
		h := newHop(t, nil)
		l := newLab(t, routes(h, "there.test"))
		l.run()
		l.put("1", "bob@example.test", to...)
		l.until("empty queue", l.empty)
		if got := h.messages(); len(got) != 1 || got[0] != "bob@example.test > joe@there.test\n"+sentMessage {
			t.Errorf("to %v: sent %q", to, got)
		}
		if len(l.box("erin")) != 1 || len(l.box("copied")) != 1 || len(l.box("redirected"))+len(l.box("bob")) != 0 {
			t.Errorf("to %v: erin has %q, copied %q, bob %q", to, l.box("erin"), l.box("copied"), l.box("bob"))
		}
	}
}
