package postgres

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/internal/mail"
	"waypost/store"
)

// Threads. A message joins the thread of a message that it names (References,
// In-Reply-To, nearest first) or that named it (a late original joins its
// replies), else, when its subject shows a reply, that of a message with the
// same base subject within 30 days that shares a participant besides the
// mailbox's owner. Otherwise its own item id names a new thread. Threads never
// merge: the first to claim a message identifier keeps it.

const (
	subjectWindow = 30 * 24 * time.Hour
	maxRefs       = 32 // identifiers of one message that are looked up and kept
	maxPeople     = 32 // participants of one message that are kept
	// subjectDepth is how many messages of one subject are looked at, newest first.
	subjectDepth = 20
)

// threadKeys is what a message is threaded by.
type threadKeys struct {
	own     int64   // hash of its Message-ID; 0: none
	refs    []int64 // nearest first
	subject int64   // hash of the base subject; 0: none
	reply   bool    // the subject has a reply prefix
	people  []int64 // hashes of the participants, without the owner
}

func hash64(kind byte, text string) int64 {
	h := sha256.New()
	h.Write([]byte{kind})
	h.Write([]byte(text))
	n := int64(binary.BigEndian.Uint64(h.Sum(nil)))
	if n == 0 {
		n = 1
	}
	return n
}

func keysOf(s *mail.Summary, owner string) (k threadKeys) {
	if own := mail.MessageIDs(s.MessageID); len(own) > 0 {
		k.own = hash64('i', own[0])
	}
	add := func(id string) {
		if key := hash64('i', id); len(k.refs) < maxRefs && key != k.own && !slices.Contains(k.refs, key) {
			k.refs = append(k.refs, key)
		}
	}
	for _, id := range slices.Backward(s.References) {
		if len(k.refs) == maxRefs-1 {
			break
		}
		add(id)
	}
	for _, id := range mail.MessageIDs(s.InReplyTo) {
		add(id)
	}
	if len(s.References) > 0 {
		add(s.References[0]) // the first message of a long thread
	}
	base, reply := mail.BaseSubject(s.Subject)
	if base != "" {
		k.subject, k.reply = hash64('s', fold(base)), reply
	}
	owner = strings.ToLower(owner)
	for _, list := range [][]mail.Address{s.From, s.ReplyTo, s.To, s.Cc} {
		for _, a := range list {
			addr := strings.ToLower(a.Addr())
			if addr == "" || addr == owner || len(k.people) >= maxPeople {
				continue
			}
			if p := hash64('p', addr); !slices.Contains(k.people, p) {
				k.people = append(k.people, p)
			}
		}
	}
	return k
}

// threads answers which thread a message belongs to, from one look-up for a
// whole transaction and what the transaction itself has added.
type threads struct {
	byID      map[int64]store.ThreadID
	bySubject map[int64][]subjectRow // newest first
}

type subjectRow struct {
	thread   store.ThreadID
	received time.Time
	people   []int64
}

// wanted gives what must be looked up for messages: identifiers, subjects.
func (t *threads) wanted(all []*threadKeys) (byID, subjects []int64) {
	t.byID, t.bySubject = make(map[int64]store.ThreadID), make(map[int64][]subjectRow)
	byID = []int64{}
	for _, k := range all {
		if k.own != 0 {
			byID = append(byID, k.own)
		}
		byID = append(byID, k.refs...)
		if k.reply && k.subject != 0 && len(k.people) > 0 {
			subjects = append(subjects, k.subject)
		}
	}
	slices.Sort(subjects)
	return byID, slices.Compact(subjects)
}

// queueSubjects looks up the newest messages with these base subjects.
func (p *adder) queueSubjects(b *pgx.Batch, boxes, subjects []int64) {
	if len(subjects) == 0 {
		return
	}
	b.Queue(`
		select k.mailbox, k.key, t.thread, t.received, t.people from unnest($1::bigint[], $2::bigint[]) as k (mailbox, key)
		cross join lateral (
			select thread, received, people from mail.thread_key
			where mailbox = k.mailbox and key = k.key and item > 0 order by item desc limit $3) t`,
		boxes, subjects, subjectDepth).
		Query(func(rows pgx.Rows) error {
			defer rows.Close()
			for rows.Next() {
				var box, key int64
				var r subjectRow
				if err := rows.Scan(&box, &key, &r.thread, &r.received, &r.people); err != nil {
					return err
				}
				t := &p.box(store.MailboxID(box)).threads
				t.bySubject[key] = append(t.bySubject[key], r)
			}
			return rows.Err()
		})
}

// find gives the message's thread, 0 for a new one.
func (t *threads) find(k *threadKeys, received time.Time) store.ThreadID {
	for _, ref := range k.refs {
		if id, ok := t.byID[ref]; ok {
			return id
		}
	}
	if id, ok := t.byID[k.own]; ok && k.own != 0 {
		return id
	}
	if !k.reply || k.subject == 0 {
		return 0
	}
	for _, r := range t.bySubject[k.subject] {
		if received.Sub(r.received).Abs() <= subjectWindow && slices.ContainsFunc(r.people, func(p int64) bool {
			return slices.Contains(k.people, p)
		}) {
			return r.thread
		}
	}
	return 0
}

// join records that the message item belongs to thread.
func (t *threads) join(k *threadKeys, item store.ItemID, thread store.ThreadID, received time.Time, add func(key int64, item store.ItemID, people []int64)) {
	claim := func(key int64) {
		if _, taken := t.byID[key]; key != 0 && !taken {
			t.byID[key] = thread
			add(key, 0, nil)
		}
	}
	claim(k.own)
	for _, ref := range k.refs {
		claim(ref)
	}
	if k.subject != 0 && len(k.people) > 0 {
		add(k.subject, item, k.people)
		t.bySubject[k.subject] = append([]subjectRow{{thread, received, k.people}}, t.bySubject[k.subject]...)
	}
}
