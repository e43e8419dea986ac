package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

func (b *suite) query(q store.Query) store.Found {
	b.Helper()
	f, err := b.Store.Query(b.Context(), b.me(), b.box, q)
	b.must(err)
	return f
}

// letter is a message of a small mailbox that questions are asked about.
func (b *suite) letter(folder store.FolderID, subject, from, to string, day int, flags store.Flags, keywords []string, fields ...string) store.ItemID {
	b.Helper()
	raw := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: Mon, %02d Nov 2026 10:00:00 +0000\r\nMessage-ID: <%s-%d@example.org>\r\n",
		from, to, subject, 30-day, strings.ReplaceAll(subject, " ", ""), day)
	for _, f := range fields {
		raw += f + "\r\n"
	}
	raw += "\r\nthe body of " + subject + "\r\n"
	m := b.message([]byte(raw))
	m.Folder, m.Flags, m.Keywords, m.Received = folder, flags, keywords, time.Date(2026, 11, day, 0, 0, 0, 0, time.UTC)
	return b.add(m).Entry.Item
}

func queries(t *testing.T, b *suite) {
	inbox, trash := b.folder(store.RoleInbox).ID, b.folder(store.RoleTrash).ID
	one := b.letter(inbox, "Zebra", "Ann <ann@example.org>", "Carl <carl@example.test>", 1, store.Seen, nil)
	two := b.letter(inbox, "Re: Apple", "bob@example.org", "Ann <ann@example.org>", 2, 0, []string{"$Label1"})
	three := b.letter(trash, "Re: Zebra", "Zoe <a@example.org>", "bob@example.org", 3, store.Flagged, nil, "In-Reply-To: <Zebra-1@example.org>")
	four := b.letter(inbox, "Middle", "carl@example.test", "dave@example.test", 4, store.Draft, nil, "Content-Type: multipart/mixed; boundary=x", "X-Other: y")
	hidden := b.letter(inbox, "hidden", "a@b.c", "a@b.c", 5, store.Deleted, nil)
	has := func(f store.Flags) store.Condition {
		return store.Condition{Test: store.TestMark, Mark: store.Mark{Flag: f}}
	}
	text := func(in store.Field, s string) store.Condition {
		return store.Condition{Test: store.TestText, In: in, Text: s}
	}
	in := func(f ...store.FolderID) store.Condition { return store.Condition{Test: store.TestFolder, Folders: f} }
	day := func(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }
	for _, tt := range []struct {
		name  string
		where store.Condition
		want  []store.ItemID
	}{
		{"folder", in(inbox), []store.ItemID{four, two, one}},
		{"no such folder", in(9999), nil},
		{"folders", in(inbox, trash), []store.ItemID{four, three, two, one}},
		{"other folder", store.Condition{Test: store.TestNotFolder, Folders: []store.FolderID{trash}}, []store.ItemID{four, two, one}},
		{"before", store.Condition{Test: store.TestBefore, Time: day(2)}, []store.ItemID{one}},
		{"after", store.Condition{Test: store.TestAfter, Time: day(2)}, []store.ItemID{four, three, two}},
		{"flag", has(store.Seen), []store.ItemID{one}},
		{"deleted", has(store.Deleted), nil},
		{"keyword", store.Condition{Test: store.TestMark, Mark: store.Mark{Keyword: "$label1"}}, []store.ItemID{two}},
		{"not", store.Condition{Op: store.OpNot, Of: []store.Condition{has(store.Seen), has(store.Draft)}}, []store.ItemID{three, two}},
		{"or", store.Condition{Op: store.OpOr, Of: []store.Condition{has(store.Seen), has(store.Draft)}}, []store.ItemID{four, one}},
		{"and", store.Condition{Op: store.OpAnd, Of: []store.Condition{in(inbox), {Op: store.OpNot, Of: []store.Condition{has(store.Seen)}}}}, []store.ItemID{four, two}},
		{"empty and", store.Condition{Op: store.OpAnd}, []store.ItemID{four, three, two, one}},
		{"empty or", store.Condition{Op: store.OpOr}, nil},
		{"some in thread", store.Condition{Test: store.TestSomeInThread, Mark: store.Mark{Flag: store.Flagged}}, []store.ItemID{three, one}},
		{"all in thread", store.Condition{Test: store.TestAllInThread, Mark: store.Mark{Flag: store.Seen}}, nil},
		{"none in thread", store.Condition{Op: store.OpNot, Of: []store.Condition{{Test: store.TestSomeInThread, Mark: store.Mark{Flag: store.Flagged}}}}, []store.ItemID{four, two}},
		{"anywhere", text(store.InAny, "ANN"), []store.ItemID{two, one}},
		{"from", text(store.InFrom, "ann"), []store.ItemID{one}},
		{"to", text(store.InTo, "ann"), []store.ItemID{two}},
		{"cc", text(store.InCc, "ann"), nil},
		{"subject", text(store.InSubject, "zebra"), []store.ItemID{three, one}},
		{"phrase", text(store.InBody, `"body of zebra"`), []store.ItemID{one}},
		{"two words", text(store.InAny, "carl zebra"), []store.ItemID{one}},
		{"header", store.Condition{Test: store.TestHeader, Header: "In-Reply-To"}, []store.ItemID{three}},
		{"header with text", store.Condition{Test: store.TestHeader, Header: "Message-ID", Text: "apple"}, []store.ItemID{two}},
		{"min size", store.Condition{Test: store.TestMinSize, Size: 1 << 20}, nil},
		{"max size", store.Condition{Test: store.TestMaxSize, Size: 1 << 20}, []store.ItemID{four, three, two, one}},
		{"attachment", store.Condition{Test: store.TestHasAttachment}, nil},
	} {
		newest := []store.Sort{{By: store.ByReceived, Desc: true}}
		got := b.query(store.Query{Where: &tt.where, Sort: newest, Total: true})
		if !slices.Equal(got.Items, tt.want) || got.Total != len(tt.want) {
			t.Errorf("%s: %v of %d, want %v", tt.name, got.Items, got.Total, tt.want)
		}
		match, err := b.Store.Matches(t.Context(), b.me(), b.box, &tt.where, []store.ItemID{one, two, three, four, hidden})
		want := slices.Sorted(slices.Values(tt.want))
		if err != nil || !slices.Equal(match, want) {
			t.Errorf("%s: matches %v, %v, want %v", tt.name, match, err, want)
		}
	}
	for _, tt := range []struct {
		name string
		sort []store.Sort
		want []store.ItemID
	}{
		{"none", nil, []store.ItemID{four, three, two, one}},
		{"received", []store.Sort{{By: store.ByReceived}}, []store.ItemID{one, two, three, four}},
		{"sent", []store.Sort{{By: store.BySent}}, []store.ItemID{four, three, two, one}},
		{"subject", []store.Sort{{By: store.BySubject}, {By: store.ByReceived}}, []store.ItemID{two, four, one, three}},
		{"subject, newest first", []store.Sort{{By: store.BySubject, Desc: true}, {By: store.ByReceived, Desc: true}}, []store.ItemID{three, one, four, two}},
		{"from", []store.Sort{{By: store.ByFrom}}, []store.ItemID{one, two, four, three}},
		{"to", []store.Sort{{By: store.ByTo}}, []store.ItemID{two, three, one, four}},
		{"mark", []store.Sort{{By: store.ByMark, Mark: store.Mark{Flag: store.Seen}, Desc: true}, {By: store.ByReceived}}, []store.ItemID{one, two, three, four}},
		{"some in thread", []store.Sort{{By: store.BySomeInThread, Mark: store.Mark{Flag: store.Flagged}, Desc: true}, {By: store.BySubject}, {By: store.ByReceived}}, []store.ItemID{one, three, two, four}},
		{"all in thread", []store.Sort{{By: store.ByAllInThread, Mark: store.Mark{Keyword: "$label1"}, Desc: true}}, []store.ItemID{two, four, three, one}},
	} {
		if got := b.query(store.Query{Sort: tt.sort, Total: true}); !slices.Equal(got.Items, tt.want) || got.Total != 4 {
			t.Errorf("sort by %s: %v of %d, want %v", tt.name, got.Items, got.Total, tt.want)
		}
	}
	for _, tt := range []struct {
		name string
		q    store.Query
		want []store.ItemID
		at   int
	}{
		{"window", store.Query{Position: 1, Limit: 2}, []store.ItemID{three, two}, 1},
		{"from the end", store.Query{Position: -2}, []store.ItemID{two, one}, 2},
		{"before the beginning", store.Query{Position: -20, Limit: 1}, []store.ItemID{four}, 0},
		{"beyond", store.Query{Position: 20}, nil, 20},
		{"anchor", store.Query{Anchor: two, Limit: 1, Position: 9}, []store.ItemID{two}, 2},
		{"before the anchor", store.Query{Anchor: two, AnchorOffset: -1}, []store.ItemID{three, two, one}, 1},
		{"far before it", store.Query{Anchor: two, AnchorOffset: -5, Limit: 1}, []store.ItemID{four}, 0},
		{"threads", store.Query{Collapse: true, Total: true}, []store.ItemID{four, three, two}, 0},
		{"threads, oldest first", store.Query{Collapse: true, Sort: []store.Sort{{By: store.ByReceived}}}, []store.ItemID{one, two, four}, 0},
		{"threads from the end", store.Query{Collapse: true, Position: -1}, []store.ItemID{two}, 2},
	} {
		got := b.query(tt.q)
		if !slices.Equal(got.Items, tt.want) || got.Position != tt.at || tt.q.Total && got.Total != 3 {
			t.Errorf("%s: %+v, want %v at %d", tt.name, got, tt.want, tt.at)
		}
	}
	_, err := b.Store.Query(t.Context(), b.me(), b.box, store.Query{Anchor: hidden})
	b.wantFault(err, fault.NotFound)
	_, err = b.Store.Query(t.Context(), b.me(), b.box, store.Query{Where: &store.Condition{Test: store.TestHeader, Header: "X-Other"}})
	b.wantFault(err, fault.Invalid)
	deep := store.Condition{}
	for range 40 {
		deep = store.Condition{Op: store.OpNot, Of: []store.Condition{deep}}
	}
	_, err = b.Store.Query(t.Context(), b.me(), b.box, store.Query{Where: &deep})
	b.wantFault(err, fault.Limit)
	_, err = b.Store.Query(t.Context(), Owner(99), b.box, store.Query{})
	b.wantFault(err, fault.NotFound)

	counts, err := b.Store.ThreadCounts(t.Context(), b.me(), b.box)
	b.must(err)
	if got := counts[inbox]; got != (store.ThreadCount{Items: 3, Unread: 1, Threads: 3, UnreadThreads: 1}) {
		t.Errorf("counts of the inbox %+v", got)
	}
	m, err := b.Store.Messages(t.Context(), b.me(), b.box, []store.ItemID{one})
	b.must(err)
	threads, seq, err := b.Store.Threads(t.Context(), b.me(), b.box, []store.ThreadID{4711, m[0].Thread})
	b.must(err)
	if now, err := b.Store.MailSeq(t.Context(), b.me(), b.box); err != nil || seq != now || len(threads[0]) != 0 || !slices.Equal(threads[1], []store.ItemID{one, three}) {
		t.Errorf("threads %v at %d (%d, %v)", threads, seq, now, err)
	}
}

// mailFollower keeps the ids of all visible messages and conversations by
// MailChanges alone.
type mailFollower struct {
	b       *suite
	at      store.MailPosition
	items   map[store.ItemID]bool
	threads map[store.ThreadID]bool
	moved   bool                  // on its way
	shown   map[store.ItemID]bool // those whose mark as deleted was taken off: they may be told as new again
}

// step reads one page and checks what may be checked on the way.
func (f *mailFollower) step(limit int) {
	f.b.Helper()
	c, err := f.b.Store.MailChanges(f.b.Context(), f.b.me(), f.b.box, f.at, limit)
	f.b.must(err)
	if n := len(c.Created) + len(c.Updated) + len(c.Destroyed); n > limit {
		f.b.Errorf("a page of %d has %d changes", limit, n)
	}
	for _, id := range c.Created {
		if f.items[id] && !f.moved && !f.shown[id] {
			f.b.Errorf("%v is told as new twice", id)
		}
		f.items[id] = true
	}
	for _, id := range c.Updated {
		f.items[id] = true // its mark as deleted may have been taken off
	}
	for _, id := range c.Destroyed {
		delete(f.items, id)
	}
	for _, id := range c.CreatedThreads {
		f.threads[id] = true
	}
	for _, id := range c.UpdatedThreads {
		f.threads[id] = true
	}
	for _, id := range c.DestroyedThreads {
		delete(f.threads, id)
	}
	f.at, f.moved = c.Position, c.More
}

// mailChanges: followers that replay pages of any size end with what a full read
// gives, over many states.
func mailChanges(t *testing.T, b *suite) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	folders := []store.FolderID{b.folder(store.RoleInbox).ID, b.folder(store.RoleTrash).ID}
	all := []*mailFollower{}
	shown := map[store.ItemID]bool{}
	for range 3 {
		all = append(all, &mailFollower{b: b, shown: shown, items: map[store.ItemID]bool{}, threads: map[store.ThreadID]bool{}})
	}
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	var subjects []string
	for i := range rounds {
		b.disturbMail(r, &folders, &subjects, shown, i)
		for _, f := range all {
			if r.IntN(3) > 0 {
				continue
			}
			f.step(1 + r.IntN(4))
			if r.IntN(3) > 0 {
				continue
			}
			for f.moved {
				f.step(1 + r.IntN(20))
			}
			f.check()
		}
	}
	for _, f := range all {
		for f.step(7); f.moved; {
			f.step(7)
		}
		f.check()
	}
	_, err := b.Store.MailChanges(t.Context(), b.me(), b.box, store.MailPosition{Base: 1 << 40}, 10)
	b.wantFault(err, fault.Resync)
	b.must(b.Purge(time.Now().Add(200 * 24 * time.Hour)))
	_, err = b.Store.MailChanges(t.Context(), b.me(), b.box, store.MailPosition{Base: 2}, 10)
	b.wantFault(err, fault.Resync)
}

// check compares with a full read; nothing changes meanwhile.
func (f *mailFollower) check() {
	f.b.Helper()
	want := map[store.ItemID]bool{}
	for at := 0; ; at += 1000 {
		found := f.b.query(store.Query{Position: at, Limit: 1000})
		for _, id := range found.Items {
			want[id] = true
		}
		if len(found.Items) < 1000 {
			break
		}
	}
	same(f.b, "messages", f.items, want)
	threads := map[store.ThreadID]bool{}
	ids := make([]store.ItemID, 0, len(want))
	for id := range want {
		ids = append(ids, id)
	}
	for len(ids) > 0 {
		page := ids[:min(500, len(ids))]
		ids = ids[len(page):]
		list, err := f.b.Store.Messages(f.b.Context(), f.b.me(), f.b.box, page)
		f.b.must(err)
		for _, m := range list {
			threads[m.Thread] = true
		}
	}
	same(f.b, "threads", f.threads, threads)
}

func same[T ~int64](b *suite, what string, got, want map[T]bool) {
	b.Helper()
	var wrong []string
	for id := range got {
		if !want[id] {
			wrong = append(wrong, fmt.Sprintf("%d is kept", id))
		}
	}
	for id := range want {
		if !got[id] {
			wrong = append(wrong, fmt.Sprintf("%d is missing", id))
		}
	}
	if len(wrong) > 0 {
		sort.Strings(wrong)
		b.Fatalf("%s: %v", what, wrong)
	}
}

// disturbMail makes one random change to mail, its folders or what was deleted.
func (b *suite) disturbMail(r *rand.Rand, folders *[]store.FolderID, subjects *[]string, shown map[store.ItemID]bool, i int) {
	ctx := b.Context()
	list := *folders
	folder, to := list[r.IntN(len(list))], list[r.IntN(len(list))]
	_, entries, err := b.Store.Entries(ctx, b.me(), b.box, folder, 0, 1000)
	b.must(err)
	var items []store.ItemID
	for _, e := range entries {
		if r.IntN(4) == 0 && len(items) < 5 {
			items = append(items, e.Item)
		}
	}
	switch n := r.IntN(12); {
	case n < 4:
		fields := []string{fmt.Sprintf("Message-ID: <%d@example.org>", i)}
		if n := len(*subjects); n > 0 && r.IntN(2) == 0 {
			fields = append(fields, "In-Reply-To: "+(*subjects)[r.IntN(n)])
		}
		*subjects = append(*subjects, fmt.Sprintf("<%d@example.org>", i))
		m := b.message(Text(fmt.Sprint("m", i), "x", fields...))
		m.Folder = folder
		b.add(m)
	case n < 6:
		_, err = b.Store.Flag(ctx, b.me(), b.box, store.FlagChange{Folder: folder, Items: items, Set: store.Flags(r.IntN(16)), Clear: store.Flags(r.IntN(16))})
		for _, item := range items {
			shown[item] = true
		}
	case n < 8:
		_, err = b.Store.Move(ctx, b.me(), b.box, 0, items, to)
	case n < 9:
		_, err = b.Store.Copy(ctx, b.me(), b.box, folder, items, to)
	case n < 10:
		_, _, err = b.Store.Delete(ctx, b.me(), b.box, folder, items, false)
	case n < 11:
		rec, recErr := b.Store.Recoverables(ctx, b.me(), b.box, 0, 1000)
		b.must(recErr)
		if len(rec) > 0 {
			err = b.Store.Restore(ctx, b.me(), b.box, []store.ItemID{rec[r.IntN(len(rec))].Item}, 0)
		}
	case len(list) > 3 && r.IntN(2) == 0:
		err = b.Store.DeleteFolder(ctx, b.me(), b.box, list[len(list)-1], true)
		*folders = list[:len(list)-1]
	default:
		*folders = append(list, b.create(0, fmt.Sprint("folder", i)).ID)
	}
	b.must(err)
}

func uploads(t *testing.T, b *suite) {
	blob, _, err := Upload(t.Context(), b.Store, strings.NewReader("hello"))
	b.must(err)
	u, err := b.Store.AddUpload(t.Context(), b.me(), b.box, blob, "text/plain")
	b.must(err)
	got, c, err := b.Store.Upload(t.Context(), b.me(), b.box, u.ID)
	b.must(err)
	data := make([]byte, c.Size())
	_, err = c.ReadAt(data, 0)
	b.must(err)
	if got != u || string(data) != "hello" || u.Type != "text/plain" || u.Size != 5 {
		t.Errorf("upload %+v %q, want %+v", got, data, u)
	}
	_, _, err = b.Store.Upload(t.Context(), b.me(), b.box, u.ID+1)
	b.wantFault(err, fault.NotFound)
	_, _, err = b.Store.Upload(t.Context(), directory.System("x"), b.box, u.ID)
	b.wantFault(err, fault.NotFound) // only who brought it sees it
	_, err = b.Store.AddUpload(t.Context(), Owner(99), b.box, blob, "")
	b.wantFault(err, fault.NotFound)
	_, err = b.Store.AddUpload(t.Context(), b.me(), b.box, blob, strings.Repeat("x", 300))
	b.wantFault(err, fault.Invalid)
	// Large content, which is written before it is referred to.
	large, _, err := Upload(t.Context(), b.Store, strings.NewReader(strings.Repeat("0123456789", 50_000)))
	b.must(err)
	u, err = b.Store.AddUpload(t.Context(), b.me(), b.box, large, "")
	b.must(err)
	b.must(b.Purge(time.Now().Add(23 * time.Hour)))
	_, c, err = b.Store.Upload(t.Context(), b.me(), b.box, u.ID)
	b.must(err)
	if _, err := c.ReadAt(data, 400_000); err != nil || string(data) != "01234" {
		t.Errorf("read %q, %v", data, err)
	}
	b.must(b.Purge(time.Now().Add(25 * time.Hour)))
	_, _, err = b.Store.Upload(t.Context(), b.me(), b.box, u.ID)
	b.wantFault(err, fault.NotFound)
}

func submissions(t *testing.T, b *suite) {
	m := b.message(Text("out", "x"))
	send := func(key string, when time.Time) store.Sent {
		t.Helper()
		sent, err := b.Store.Send(t.Context(), b.me(), b.box, store.Outgoing{
			Key: key, From: "a@example.test", Recipients: []string{"b@example.org", "c@example.org"}, Blob: m.Blob, Summary: m.Summary,
			NotBefore: when, Track: &store.Track{Item: 12, Thread: 13, Identity: "I1", Params: []byte(`{"x":1}`)},
		})
		b.must(err)
		return sent
	}
	later := time.Now().Add(time.Hour)
	one, two := send("1", time.Time{}), send("2", later)
	if again := send("2", later); !again.Repeated || again.Submission != two.Submission || one.Submission == 0 {
		t.Errorf("sent %+v, again %+v", two, again)
	}
	list, at, err := b.Store.Submissions(t.Context(), b.me(), b.box)
	b.must(err)
	if len(list) != 2 || list[0].ID != two.Submission || list[0].Item != 12 || list[0].Thread != 13 || string(list[0].Params) != `{"x": 1}` ||
		len(list[0].Recipients) != 2 || list[1].Pending(time.Now()) || !list[0].Pending(time.Now()) || at != list[0].Changed {
		t.Fatalf("submissions %+v at %d", list, at)
	}
	b.wantFault(b.Store.CancelSubmission(t.Context(), b.me(), b.box, one.Submission), fault.Conflict)
	b.wantFault(b.Store.CancelSubmission(t.Context(), b.me(), b.box, 999), fault.NotFound)
	b.must(b.Store.CancelSubmission(t.Context(), b.me(), b.box, two.Submission))
	b.must(b.Store.ForgetSubmission(t.Context(), b.me(), b.box, one.Submission))
	b.wantFault(b.Store.ForgetSubmission(t.Context(), b.me(), b.box, one.Submission), fault.NotFound)
	c, err := b.Store.SubmissionChanges(t.Context(), b.me(), b.box, at)
	b.must(err)
	if len(c.Changed) != 1 || !c.Changed[0].Canceled || !slices.Equal(c.Gone, []int64{one.Submission}) || c.At <= at {
		t.Errorf("changes %+v", c)
	}
	out, err := b.Outbox()
	b.must(err)
	if len(out) != 1 {
		t.Errorf("the outbox has %+v, want the message that was sent at once", out)
	}
	_, err = b.Store.SubmissionChanges(t.Context(), b.me(), b.box, c.At+1)
	b.wantFault(err, fault.Resync)
}
