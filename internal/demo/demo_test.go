package demo

import (
	"bytes"
	"net/mail"
	"testing"
	"time"
)

func TestMessagesAreManyWholeAndRepeatable(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	all := Messages(now)
	if len(all) < 250 || len(all) > 600 {
		t.Errorf("%d messages, want a few hundred", len(all))
	}
	boxes := map[string]int{}
	for _, m := range all {
		boxes[m.To]++
		msg, err := mail.ReadMessage(bytes.NewReader(m.Body))
		if err != nil {
			t.Fatalf("message for %s: %v\n%s", m.To, err, m.Body)
		}
		if _, err := msg.Header.Date(); err != nil {
			t.Errorf("date: %v", err)
		}
		if _, err := mail.ParseAddress(msg.Header.Get("From")); err != nil {
			t.Errorf("from %q: %v", msg.Header.Get("From"), err)
		}
		if m.Received.After(now) {
			t.Errorf("received %v in the future", m.Received)
		}
		if bytes.Contains(bytes.ReplaceAll(m.Body, []byte("\r\n"), nil), []byte("\n")) {
			t.Error("bare LF")
		}
	}
	for _, p := range People() {
		if boxes[p.Local] < 20 {
			t.Errorf("%s has %d messages", p.Local, boxes[p.Local])
		}
	}
	again := Messages(now)
	for i := range all {
		if !bytes.Equal(all[i].Body, again[i].Body) {
			t.Fatalf("message %d differs the second time", i)
		}
	}
}
