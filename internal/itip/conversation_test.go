package itip

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/internal/ical"
)

var update = flag.Bool("update", false, "write what is answered into the conversations")

// A conversation is a file of steps. What a step says and what its copies are
// afterwards stands below it, each line after "> "; everything in it is exact.
//
//	== alice puts              the whole event follows
//	== alice sets [instance]   properties that take the place of those of their names
//	== alice invites bob optional · uninvites bob [instance] · cancels instance · removes
//	== alice as dave sets …    a delegate acts
//	== bob answers ACCEPTED [instance] [words] · bob proposes from to
//	== alice declines bob's    proposal
//	== deliver [again|back]    what was sent goes to its recipients; once more; the last first
//	== quiet alice             her program tells others itself
//	== mail from zoe to bob    a calendar follows, as it came
//	== show bob
type talk struct {
	t       *testing.T
	now     time.Time
	copies  map[string][]byte
	flight  []Message
	before  []Message
	out     *bytes.Buffer
	aliases map[string][]string
	quiet   string
	members map[string][]Person
}

var everybody = map[string]Person{
	"alice": {"alice@example.test", "Alice Archer"},
	"bob":   {"bob@example.test", "Bob Brandt"},
	"carol": {"carol@example.test", "Carol Chen"},
	"dave":  {"dave@example.test", "Dave Díaz"},
	"room1": {"room1@example.test", "Room 1"},
	"zoe":   {"zoe@other.example", "Zoe"},
	// Of RFC 5546 section 4.
	"a": {"a@example.com", "A"},
	"b": {"b@example.com", "B"},
	"c": {"c@example.com", "C"},
	"d": {"d@example.com", "Hal"},
	"e": {"e@example.com", "E"},
	"f": {"f@example.com", "F"},
}

func (k *talk) side(name string) Side {
	p, ok := everybody[name]
	if !ok {
		k.t.Fatalf("who is %s?", name)
	}
	return Side{Address: p.Address, Name: p.Name, Aliases: k.aliases[name], Now: k.now, Members: k.members}
}

func nameOf(address string) string {
	for name, p := range everybody {
		if strings.EqualFold(p.Address, address) {
			return name
		}
	}
	return ""
}

func (k *talk) apply(name string, r Result, err error) {
	if err != nil {
		fmt.Fprintf(k.out, "> refused: %v\n", err)
		return
	}
	switch {
	case r.Remove:
		delete(k.copies, name)
	case r.Text != nil:
		k.copies[name] = r.Text
	}
	for _, m := range r.Messages {
		var to []string
		for _, p := range m.To {
			to = append(to, p.Address)
		}
		fmt.Fprintf(k.out, "> %s from %s", m.Method, m.From.Address)
		if m.Sender != "" {
			fmt.Fprintf(k.out, " by %s", m.Sender)
		}
		fmt.Fprintf(k.out, " to %s: %s\n", strings.Join(to, " "), m.Subject())
		k.dump(m.Calendar)
	}
	k.flight = append(k.flight, r.Messages...)
}

func (k *talk) dump(c *ical.Component) {
	for _, child := range c.Children {
		if !child.Is("VTIMEZONE") {
			for line := range strings.SplitSeq(strings.TrimSpace(unfold(child.String())), "\r\n") {
				fmt.Fprintf(k.out, ">   %s\n", line)
			}
		}
	}
}

func unfold(s string) string { return strings.ReplaceAll(s, "\r\n ", "") }

func wrap(body string) []byte {
	return []byte("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//\r\n" + strings.ReplaceAll(body, "\n", "\r\n") + "END:VCALENDAR\r\n")
}

func (k *talk) deliver(m Message, again bool) {
	text := m.Calendar.Append(nil)
	for _, p := range m.To {
		name := nameOf(p.Address)
		if name == "" {
			for n, list := range k.aliases {
				if slices.Contains(list, p.Address) {
					name = n
				}
			}
		}
		if name == "" {
			continue
		}
		in, err := ReadIncoming(text, m.Method)
		if err != nil {
			k.t.Fatal(err)
		}
		in.From = []string{m.From.Address}
		if m.Sender != "" {
			in.From = append(in.From, m.Sender)
		}
		r, err := k.side(name).Receive(k.copies[name], in)
		if again && r.Text != nil {
			k.t.Errorf("%s came to %s once more and changed something (%s)", m.Method, name, r.Why)
		}
		fmt.Fprintf(k.out, "> %s got %s: %s\n", name, m.Method, r.Why)
		k.apply(name, r, err)
	}
}

func (k *talk) step(head, body string) {
	words := strings.Fields(head)
	k.now = k.now.Add(time.Minute)
	switch words[0] {
	case "aliases":
		k.aliases[words[1]] = words[2:]
		return
	case "group":
		for _, n := range words[2:] {
			k.members[words[1]] = append(k.members[words[1]], everybody[n])
		}
		return
	case "quiet": // whose program tells others itself
		k.quiet = words[1]
		return
	case "now": // it is another time
		k.now, _ = time.Parse(utcForm, words[1])
		return
	case "deliver":
		list, again := k.flight, false
		switch {
		case len(words) > 1 && words[1] == "again":
			list, again = k.before, true
		case len(words) > 1 && words[1] == "back":
			list = slices.Clone(list)
			slices.Reverse(list)
		}
		if !again {
			k.before, k.flight = slices.Clone(list), nil
		}
		for _, m := range list {
			k.deliver(m, again)
		}
		return
	case "lose":
		k.flight = nil
		return
	case "mail":
		in, err := ReadIncoming([]byte(strings.ReplaceAll(body, "\n", "\r\n")), "")
		if err != nil {
			fmt.Fprintf(k.out, "> refused: %v\n", err)
			return
		}
		in.From = []string{words[2]}
		r, err := k.side(words[4]).Receive(k.copies[words[4]], in)
		fmt.Fprintf(k.out, "> %s got %s: %s\n", words[4], in.Method, r.Why)
		k.apply(words[4], r, err)
		return
	case "show":
		text := k.copies[words[1]]
		if text == nil {
			fmt.Fprintln(k.out, "> nothing")
			return
		}
		root, _, err := ical.Parse(text, ical.Object)
		if err != nil {
			k.t.Fatal(err)
		}
		k.dump(root.Children[0])
		return
	}
	name := words[0]
	s := k.side(name)
	s.Quiet = k.quiet == name
	if words[1] == "as" {
		s.SentBy = everybody[words[2]].Address
		words = append(words[:1], words[3:]...)
	}
	old := k.copies[name]
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	change := func(edit func(e *series)) {
		e, err := s.open(old)
		if err != nil || e == nil {
			k.t.Fatalf("%s has nothing: %v", name, err)
		}
		e = e.clone(s)
		edit(e)
		r, err := s.Change(old, e.text())
		k.apply(name, r, err)
		if again, err := s.Change(k.copies[name], k.copies[name]); err != nil || len(again.Messages) > 0 || !bytes.Equal(again.Text, k.copies[name]) {
			k.t.Errorf("%s: saying the same again says %d messages, %v, or changes the text", head, len(again.Messages), err)
		}
	}
	part := func(e *series, id string) *ical.Component {
		if c := e.parts[id]; c != nil {
			return c
		}
		c, err := e.instance(id)
		if err != nil {
			k.t.Fatalf("%s: %v", head, err)
		}
		e.put(id, c)
		return c
	}
	switch words[1] {
	case "puts":
		r, err := s.Change(old, wrap(body))
		k.apply(name, r, err)
	case "repeats":
		r, err := s.Change(old, old)
		k.apply(name, r, err)
	case "sets":
		change(func(e *series) {
			c := part(e, arg(2))
			root, _, err := ical.Parse([]byte("BEGIN:VEVENT\n"+body+"END:VEVENT\n"), ical.Object)
			if err != nil {
				k.t.Fatal(err)
			}
			for _, p := range root.Children[0].Properties {
				if p.Is("ATTENDEE") {
					have := s.attendee(c, ical.ParsePerson(p).Address)
					*have = *p
					continue
				}
				c.Put(p)
			}
			c.Children = append(c.Children, root.Children[0].Children...)
		})
	case "invites", "uninvites":
		change(func(e *series) {
			if words[1] == "uninvites" {
				if arg(3) != "" {
					part(e, arg(3)).RemoveAttendee(everybody[words[2]].Address)
					return
				}
				for _, c := range e.parts {
					c.RemoveAttendee(everybody[words[2]].Address)
				}
				return
			}
			who := ical.Person{Address: words[2]}
			if p, ok := everybody[words[2]]; ok {
				who.Address, who.Name = p.Address, p.Name
			}
			if arg(3) != "" {
				part(e, arg(3)).SetAttendee(who)
				return
			}
			for _, id := range e.order {
				if e.parts[id].Attendee(who.Address) == nil {
					e.parts[id].SetAttendee(who)
				}
			}
		})
	case "cancels":
		change(func(e *series) { e.exclude(words[2]) })
	case "removes":
		r, err := s.Change(old, nil)
		k.apply(name, r, err)
	case "answers", "proposes":
		a := Answer{Status: arg(2)}
		if words[1] == "proposes" {
			a.Status = Tentative
			a.From, _ = time.Parse(utcForm, words[2])
			a.To, _ = time.Parse(utcForm, words[3])
		} else if arg(3) != "" {
			a.At, _ = time.Parse(utcForm, words[3])
		}
		a.Comment = strings.TrimSpace(body)
		r, err := s.Answer(old, a)
		k.apply(name, r, err)
	case "declines":
		r, err := s.DeclineProposal(old, everybody[words[2]].Address)
		k.apply(name, r, err)
	default:
		k.t.Fatalf("what is %q?", head)
	}
}

func TestConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no conversations", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := converse(t, string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want := strings.Split(string(text), "\n")
			for i, line := range strings.Split(got, "\n") {
				if i >= len(want) || want[i] != line {
					w := "the end"
					if i < len(want) {
						w = want[i]
					}
					t.Fatalf("%s:%d\n got %s\nwant %s", file, i+1, line, w)
				}
			}
			if n := strings.Count(got, "\n"); n+1 != len(want) {
				t.Fatalf("%s ends after %d lines, want %d", file, n, len(want)-1)
			}
		})
	}
}

func converse(t *testing.T, text string) string {
	k := &talk{
		t: t, now: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC), copies: map[string][]byte{}, out: &bytes.Buffer{},
		aliases: map[string][]string{}, members: map[string][]Person{},
	}
	var head, body string
	flush := func() {
		if head != "" {
			k.step(head, body)
		}
		head, body = "", ""
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "> ") || strings.TrimSpace(line) == ">" {
			continue
		}
		if h, ok := strings.CutPrefix(line, "== "); ok || line == "\n" || strings.HasPrefix(line, "#") {
			flush()
			head = strings.TrimSpace(h)
			if !ok {
				head = ""
			}
		} else if head != "" {
			body += line
		}
		k.out.WriteString(line)
	}
	flush()
	return k.out.String()
}
