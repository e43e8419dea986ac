package jmap

import (
	"cmp"
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/store"
)

// maxKeywords is the store's limit of keywords on one message.
const maxKeywords = 64

// readKeywords reads the property keywords.
func readKeywords(v any) (flags store.Flags, keywords []string, err error) {
	o, ok := v.(object)
	if !ok {
		return 0, nil, invalidProperties("keywords is an object", "keywords")
	}
	for k, on := range o {
		if on != true || !isKeyword(k) {
			return 0, nil, invalidProperties("a keyword is of printable ASCII, and true", "keywords")
		}
		if m := markOf(k); m.Flag != 0 {
			flags |= m.Flag
		} else {
			keywords = append(keywords, m.Keyword)
		}
	}
	slices.Sort(keywords)
	if keywords = slices.Compact(keywords); len(keywords) > maxKeywords {
		return 0, nil, &setError{kind: "tooManyKeywords"}
	}
	return flags, keywords, nil
}

// readMailboxIDs reads the property mailboxIds: a message is in one folder.
func (c *call) readMailboxIDs(ctx context.Context, v any) (store.FolderID, error) {
	o, ok := v.(object)
	if !ok || len(o) == 0 {
		return 0, invalidProperties("a message is in a mailbox", "mailboxIds")
	}
	if len(o) > 1 {
		return 0, &setError{kind: "tooManyMailboxes", text: "a message is in one mailbox"}
	}
	for id, on := range o {
		id, err := c.reference(id)
		if err != nil {
			return 0, err
		}
		f, ok := store.ParseFolderID(id)
		if !ok || on != true {
			return 0, invalidProperties("there is no such mailbox", "mailboxIds")
		}
		folder, err := c.store.Folder(ctx, c.who, c.box, f)
		if err != nil && fault.Of(err) != fault.NotFound {
			return 0, err
		}
		if err != nil || folder.Class != store.ClassMail {
			return 0, invalidProperties("there is no such mailbox", "mailboxIds")
		}
		return f, nil
	}
	return 0, nil
}

// updateEmails changes keywords and mailboxes: messages with the same change are
// changed together. One that changes both is moved first, for that may be refused,
// and marked where it is then.
func updateEmails(ctx context.Context, c *call, list []*update) {
	type marks struct {
		from     store.FolderID
		flags    store.Flags
		keywords string
	}
	flagged := map[marks][]*update{}
	moved := map[store.FolderID][]*update{}
	folders := map[string]store.FolderID{} // already looked up
	for _, u := range list {
		if ids, ok := u.changes["mailboxIds"]; ok {
			key, _ := encodeJSON(ids)
			to, known := folders[string(key)]
			if !known {
				if to, u.err = c.readMailboxIDs(ctx, ids); u.err != nil {
					continue
				}
				folders[string(key)] = to
			}
			moved[to] = append(moved[to], u)
		}
		if v, ok := u.changes["keywords"]; ok {
			flags, keywords, err := readKeywords(v)
			if u.err = err; err != nil {
				continue
			}
			m := marks{folderOf(u.now), flags, strings.Join(keywords, " ")}
			flagged[m] = append(flagged[m], u)
		}
	}
	good := func(us []*update) (items []store.ItemID) {
		for _, u := range us {
			if id, ok := store.ParseItemID(u.id); ok && u.err == nil {
				items = append(items, id)
			}
		}
		return items
	}
	fail := func(us []*update, err error) {
		for _, u := range us {
			if u.err == nil {
				u.err = err
			}
		}
	}
	for to, us := range moved {
		if items := good(us); len(items) > 0 {
			res, err := c.store.Move(ctx, c.who, c.box, 0, items, to)
			fail(us, err)
			for _, p := range res.Placed {
				if p.Absent {
					fail(slices.DeleteFunc(slices.Clone(us), func(u *update) bool { return u.id != p.Item.String() }), &setError{kind: "notFound"})
				}
			}
		}
	}
	var all store.Flags
	for _, k := range keywordFlags {
		all |= k.flag
	}
	for m, us := range flagged {
		// What was moved is marked where it is now.
		for to, part := range byTarget(us, m.from, moved) {
			items := good(part)
			if len(items) == 0 {
				continue
			}
			res, err := c.store.Flag(ctx, c.who, c.box, store.FlagChange{
				Folder: to, Items: items, Clear: all, Set: m.flags, Replace: true, Add: strings.Fields(m.keywords),
			})
			fail(part, err)
			there := map[string]bool{}
			for _, e := range res.Entries {
				there[e.Item.String()] = true
			}
			fail(slices.DeleteFunc(slices.Clone(part), func(u *update) bool { return there[u.id] }), &setError{kind: "notFound"})
		}
	}
}

// byTarget divides updates by where their messages are after the moves.
func byTarget(us []*update, from store.FolderID, moved map[store.FolderID][]*update) map[store.FolderID][]*update {
	out := map[store.FolderID][]*update{}
	for _, u := range us {
		at := from
		for to, list := range moved {
			if slices.Contains(list, u) {
				at = to
			}
		}
		out[at] = append(out[at], u)
	}
	return out
}

func folderOf(o object) store.FolderID {
	if ids, ok := o["mailboxIds"].(object); ok {
		for id := range ids {
			f, _ := store.ParseFolderID(id)
			return f
		}
	}
	return 0
}

// destroyEmails makes messages recoverable.
func destroyEmails(ctx context.Context, c *call, ids []string) map[string]error {
	errs := map[string]error{}
	entries, err := c.store.EntriesOf(ctx, c.who, c.box, itemIDs(ids))
	byFolder := map[store.FolderID][]store.ItemID{}
	there := map[string]bool{}
	for _, e := range entries {
		if e.Flags&store.Deleted == 0 {
			byFolder[e.Folder] = append(byFolder[e.Folder], e.Item)
			there[e.Item.String()] = true
		}
	}
	for _, id := range ids {
		if errs[id] = err; err == nil && !there[id] {
			errs[id] = &setError{kind: "notFound"}
		}
	}
	for folder, items := range byFolder {
		_, gone, err := c.store.Delete(ctx, c.who, c.box, folder, items, false)
		left := map[store.ItemID]bool{}
		for _, t := range gone {
			left[t.Item] = true
		}
		for _, item := range items {
			if errs[item.String()] = err; err == nil && !left[item] {
				errs[item.String()] = &setError{kind: "notFound"}
			}
		}
	}
	return errs
}

// copyToBlob stores what r gives as a message, reading it on the way.
func (c *call) copyToBlob(ctx context.Context, fn func(io.Writer) error) (b store.Blob, sum *mail.Summary, err error) {
	w, err := c.store.NewBlob(ctx, c.who.HomeMDB)
	if err != nil {
		return b, nil, err
	}
	defer w.Abort()
	parser := mail.NewParser()
	if err := fn(io.MultiWriter(w, parser)); err != nil {
		return b, nil, err
	}
	b, err = w.Close(ctx)
	return b, parser.Summary(), err
}

// addEmail puts a message into a folder and gives what a create answers.
func (c *call) addEmail(ctx context.Context, m store.NewMessage) (string, object, error) {
	added, err := c.store.Add(ctx, c.who, c.box, m)
	if err != nil {
		return "", nil, err
	}
	id := added.Entry.Item
	return id.String(), object{
		"id": id.String(), "blobId": blobID{item: id}.String(), "threadId": added.Thread.String(), "size": added.Entry.Size,
	}, nil
}

// importEmails answers Email/import (section 4.8).
func importEmails(ctx context.Context, c *call) error {
	list, err := c.mapOrNull("emails")
	if err != nil || list == nil {
		return invalidArguments("emails is a map of messages to import")
	}
	if len(list) > maxObjectsInSet {
		return methodFault("requestTooLarge", "more than %d messages", maxObjectsInSet)
	}
	return c.makeEmails(ctx, list, object{"accountId": c.account}, func(o object) (string, object, error) {
		var bad []string
		for name := range o {
			if !slices.Contains([]string{"blobId", "mailboxIds", "keywords", "receivedAt"}, name) {
				bad = append(bad, name)
			}
		}
		if len(bad) > 0 {
			return "", nil, invalidProperties("", bad...)
		}
		id, _ := o["blobId"].(string)
		b, err := c.blob(ctx, c.box, id)
		if err != nil && fault.Of(err) == fault.NotFound {
			return "", nil, invalidProperties("there is no such blob", "blobId")
		}
		if err != nil {
			return "", nil, err
		}
		m, err := c.placeOf(ctx, o, nil)
		if err != nil {
			return "", nil, err
		}
		if m.Blob, m.Summary, err = c.copyToBlob(ctx, copyOfBlob(b)); err != nil {
			return "", nil, err
		}
		if o["receivedAt"] == nil {
			m.Received = lastReceived(b, m.Summary)
		}
		return c.addEmail(ctx, m)
	})
}

func copyOfBlob(b *blob) func(io.Writer) error {
	return func(w io.Writer) error {
		r, err := b.reader(0)
		if err == nil {
			_, err = io.Copy(w, r)
		}
		return err
	}
}

// lastReceived is the time of the newest Received field, zero when there is none
// (section 4.8).
func lastReceived(b *blob, sum *mail.Summary) time.Time {
	r, err := b.reader(0)
	if err != nil {
		return time.Time{}
	}
	raw, err := io.ReadAll(io.LimitReader(r, min(sum.Root.BodyStart, maxHeader)))
	if err != nil {
		return time.Time{}
	}
	for _, f := range splitFields(raw) {
		if strings.EqualFold(f.Name, "Received") {
			text := unfold(f.Value)
			if i := strings.LastIndexByte(text, ';'); i >= 0 {
				return mail.ParseDate(strings.TrimSpace(text[i+1:]))
			}
			return time.Time{}
		}
	}
	return time.Time{}
}

// placeOf reads where a new message goes and how it is marked; what is not given
// is as in now.
func (c *call) placeOf(ctx context.Context, o, now object) (m store.NewMessage, err error) {
	get := func(name string) any {
		if v, ok := o[name]; ok && v != nil {
			return v
		}
		return now[name]
	}
	if m.Folder, err = c.readMailboxIDs(ctx, get("mailboxIds")); err != nil {
		return m, err
	}
	if v := get("keywords"); v != nil {
		if m.Flags, m.Keywords, err = readKeywords(plain(v)); err != nil {
			return m, err
		}
	}
	if v := get("receivedAt"); v != nil {
		var ok bool
		if m.Received, ok = parseUTC(v); !ok {
			return m, invalidProperties("receivedAt is a UTCDate", "receivedAt")
		}
	}
	return m, nil
}

// makeEmails runs what makes messages one by one, and answers.
func (c *call) makeEmails(ctx context.Context, list, out object, one func(object) (string, object, error)) error {
	old, err := emails.inState(ctx, c)
	if err != nil {
		return err
	}
	created, failed := object{}, object{}
	for _, key := range slices.Sorted(maps.Keys(list)) {
		o, ok := list[key].(object)
		if !ok || !isID(key) {
			failed[key] = c.setProblem(ctx, invalidProperties("a record is an object under a creation id"))
			continue
		}
		id, given, err := one(o)
		if err != nil {
			failed[key] = c.setProblem(ctx, err)
			continue
		}
		c.created[key] = id
		created[key] = given
	}
	out["oldState"], out["created"], out["notCreated"] = old, nil, nil
	if len(created) > 0 {
		out["created"] = created
	}
	if len(failed) > 0 {
		out["notCreated"] = failed
	}
	if out["newState"], err = emails.state(ctx, c); err != nil {
		return err
	}
	return c.respond(c.name, out)
}

// copyEmails answers Email/copy (section 4.7).
func copyEmails(ctx context.Context, c *call) error {
	fromID, ok := c.args["fromAccountId"].(string)
	if !ok {
		return invalidArguments("fromAccountId is an id")
	}
	if fromID == c.account {
		return invalidArguments("messages are copied between different accounts")
	}
	fromBox, ok := c.mailbox(fromID)
	if !ok {
		return methodFault("fromAccountNotFound", "")
	}
	list, err := c.mapOrNull("create")
	if err != nil || list == nil {
		return invalidArguments("create is a map of messages")
	}
	destroy, err := c.bool("onSuccessDestroyOriginal")
	if err != nil {
		return err
	}
	if len(list) > maxObjectsInSet {
		return methodFault("requestTooLarge", "more than %d messages", maxObjectsInSet)
	}
	from := &call{request: c.request, id: c.id, name: "Email/set", account: fromID, box: fromBox, args: object{"ifInState": c.args["ifFromInState"]}}
	if _, err := emails.inState(ctx, from); err != nil {
		return err
	}
	var copied []any
	err = c.makeEmails(ctx, list, object{"fromAccountId": fromID, "accountId": c.account}, func(o object) (string, object, error) {
		for name := range o {
			if !slices.Contains([]string{"id", "mailboxIds", "keywords", "receivedAt"}, name) {
				return "", nil, invalidProperties("only where it is and how it is marked may differ", name)
			}
		}
		id, _ := o["id"].(string)
		found, err := readEmails(ctx, from, []string{id}, []string{"keywords", "receivedAt"})
		if err != nil {
			return "", nil, err
		}
		if found[id] == nil {
			return "", nil, &setError{kind: "notFound"}
		}
		m, err := c.placeOf(ctx, o, object{"keywords": found[id]["keywords"], "receivedAt": found[id]["receivedAt"]})
		if err != nil {
			return "", nil, err
		}
		b, err := c.blob(ctx, fromBox, id)
		if err != nil {
			return "", nil, err
		}
		if m.Blob, m.Summary, err = c.copyToBlob(ctx, copyOfBlob(b)); err != nil {
			return "", nil, err
		}
		made, given, err := c.addEmail(ctx, m)
		if err == nil {
			copied = append(copied, id)
		}
		return made, given, err
	})
	if err != nil || !destroy || len(copied) == 0 {
		return err
	}
	from.args = object{"accountId": fromID, "destroy": copied, "ifInState": c.args["destroyFromIfInState"]}
	return emails.set(ctx, from)
}

// parseEmails answers Email/parse (section 4.9).
func parseEmails(ctx context.Context, c *call) error {
	ids, err := c.idsOrNull("blobIds")
	if err != nil || ids == nil {
		return invalidArguments("blobIds is a list of ids")
	}
	if len(ids) > maxObjectsInGet {
		return methodFault("requestTooLarge", "more than %d blobs", maxObjectsInGet)
	}
	properties := parseDefaults
	if c.args["properties"] != nil {
		if _, err = emails.wanted(c); err != nil {
			return err
		}
		given, _ := c.stringsOrNull("properties")
		properties = distinct(given)
	}
	v, err := c.readView(properties)
	if err != nil {
		return err
	}
	parsed := object{}
	var failed, missing []string
	for _, id := range distinct(ids) {
		b, err := c.blob(ctx, c.box, id)
		if err != nil && fault.Of(err) == fault.NotFound {
			missing = append(missing, id)
			continue
		}
		if err != nil {
			return err
		}
		m, err := b.message()
		if err != nil {
			return err
		}
		if m == nil {
			failed = append(failed, id)
			continue
		}
		o, err := v.email(m)
		if err != nil {
			return err
		}
		parsed[id] = pick(o, properties)
	}
	out := object{"accountId": c.account, "parsed": nil, "notParsable": nil, "notFound": nil}
	if len(parsed) > 0 {
		out["parsed"] = parsed
	}
	if failed != nil {
		out["notParsable"] = failed
	}
	if missing != nil {
		out["notFound"] = missing
	}
	return c.respond(c.name, out)
}

// maxParsed bounds a message that has to be decoded before it is parsed, in bytes.
const maxParsed = 32 << 20

// message reads a blob as a message; nil when it is none: there is no field in it.
func (b *blob) message() (*message, error) {
	m := &message{size: b.size, content: b.raw, blob: b.id}
	if m.content == nil {
		if b.size > maxParsed {
			return nil, nil
		}
		r, err := b.reader(0)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.LimitReader(r, maxParsed))
		if err != nil {
			return nil, err
		}
		m.content, m.size = strings.NewReader(string(data)), int64(len(data))
	}
	var err error
	if m.sum, err = mail.Parse(io.NewSectionReader(m.content, 0, m.size)); err != nil {
		return nil, err
	}
	head := make([]byte, min(m.sum.Root.BodyStart, maxHeader))
	if _, err := m.content.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, err
	}
	if len(splitFields(head)) == 0 {
		return nil, nil
	}
	return m, nil
}

// compareIDs orders ids as numbers.
func compareIDs(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) }
