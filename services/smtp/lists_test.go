package smtp

import (
	"strings"
	"testing"
)

// A list that takes messages of few refuses the others while they are there to
// hear it; contacts and lists with members elsewhere go to the queue.
func TestLists(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		queue        string
	}{
		{"a stranger to a restricted list", toMX + "mx C: RCPT TO:<board@example.test>\nmx S: 550 5.7.1 You are not allowed to send to this list", ""},
		{"a stranger under an allowed address", `
			mx S: 220 …
			mx C: EHLO client.example
			mx S: …
			mx S: 250 LIMITS…
			mx C: MAIL FROM:<alice@example.test>
			mx S: 250 …
			mx C: RCPT TO:<board@example.test>
			mx S: 550 5.7.1 You are not allowed to send to this list`, ""},
		{"signed in", signedIn + "submissions C: RCPT TO:<board@example.test>\nsubmissions S: 250 …", ""},
		{"to a moderated list", toMX + "mx C: RCPT TO:<moderated@example.test>\nmx S: 250 …\n" + message + "mx S: 250 2.0.0 Queued as …", "moderated@example.test"},
		{"a moderator to the list", signedIn + "submissions C: RCPT TO:<moderated@example.test>\nsubmissions S: 250 …\n" + strings.ReplaceAll(message, "mx ", "submissions ") + "submissions S: 250 2.0.0 Delivered as …", ""},
		{"to a mailbox that redirects a copy", toMX + "mx C: RCPT TO:<copied@example.test>\nmx S: 250 …\n" + message + "mx S: 250 2.0.0 Queued as …", "copied@example.test"},
		{"a decision", toMX + "mx C: RCPT TO:<approve-token@example.test>\nmx S: 250 …\n" + message + "mx S: 250 2.0.0 Queued as …", "approve-token@example.test"},
		{"a decision that nobody waits for", toMX + "mx C: RCPT TO:<approve-other@example.test>\nmx S: 550 5.1.1 …", ""},
		{"to a contact", toMX + "mx C: RCPT TO:<joe@example.test>\nmx S: 250 …\n" + message + "mx S: 250 2.0.0 Queued as …", "joe@example.test"},
		{"to a list with members elsewhere", toMX + "mx C: RCPT TO:<mixed@example.test>\nmx S: 250 …\n" + message + "mx S: 250 2.0.0 Queued as …", "mixed@example.test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, addrs := open(t, nil)
			play(t, addrs, tt.script)
			var got []string
			for _, q := range w.queued() {
				got = append(got, q.To...)
			}
			if strings.Join(got, " ") != tt.queue {
				t.Errorf("queued for %q, want %q", got, tt.queue)
			}
		})
	}
}
