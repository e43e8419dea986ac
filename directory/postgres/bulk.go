package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"waypost/directory"
	"waypost/internal/fault"
)

const (
	// maxBulk bounds one call of AddUsers.
	maxBulk = 5000
	// hashers is how many passwords of one call wait for the pool at a time.
	hashers = 8
)

// AddUsers adds many users in one transaction, all or none; imports use it. At
// most 5,000 at a time. Each has a USN of its own.
func (s *Store) AddUsers(ctx context.Context, as directory.Principal, list []directory.NewUser) (users []directory.User, err error) {
	defer fault.Wrap(&err, "add %d users", len(list))
	if err := s.may(ctx, as, change); err != nil {
		return nil, err
	}
	if len(list) > maxBulk {
		return nil, fault.New(fault.Limit, "at most %d users at a time", maxBulk)
	}
	hashes := make([]string, len(list))
	ready := make([]directory.NewUser, len(list))
	work, hashing := errgroup.WithContext(ctx)
	work.SetLimit(hashers)
	for i, n := range list {
		work.Go(func() (err error) {
			hashes[i], err = s.prepare(hashing, as, &n)
			ready[i] = n
			return err
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	err = s.write(ctx, actor{as: as, op: "add users"}, func(ctx context.Context, w *writing) error {
		users, err = w.addUsers(ctx, ready, hashes)
		return err
	})
	return users, err
}

// bulk is the rows of new objects, by table.
type bulk struct {
	objects, names, links, cold, accounts, changes, audits [][]any
}

func (w *writing) addUsers(ctx context.Context, list []directory.NewUser, hashes []string) ([]directory.User, error) {
	objects, err := w.bulkObjects(ctx, list)
	if err != nil {
		return nil, err
	}
	if err := w.bulkRDNs(ctx, objects); err != nil {
		return nil, err
	}
	b := &bulk{}
	users := make([]directory.User, len(list))
	for i, o := range objects {
		if i > 0 {
			w.usn++ // the first has the number of the writing itself
		}
		o.usn = w.usn
		d, err := o.derive(w.schema)
		if err != nil {
			return nil, err
		}
		raw, err := json.Marshal(o.attrs)
		if err != nil {
			return nil, err
		}
		b.object(o, d, raw)
		if o.account != nil {
			b.account(o, hashes[i], nil, false)
		}
		if users[i], err = o.user(w.schema, list[i].OU); err != nil {
			return nil, err
		}
	}
	w.counters.usn = w.usn
	w.by.name = strconv.Itoa(len(list)) + " users"
	b.audit(w.by, w.usn, 0, "", nil)
	return users, w.copyIn(ctx, b)
}

// bulkObjects makes the objects with names that nobody has.
func (w *writing) bulkObjects(ctx context.Context, list []directory.NewUser) ([]*object, error) {
	taken, err := w.takenNames(ctx, list)
	if err != nil {
		return nil, err
	}
	type spot struct {
		id  directory.ObjectID
		sid []byte
	}
	places := map[string]spot{} // by domain and path
	place := func(domain, path string) (at spot, err error) {
		at, ok := places[domain+"/"+path]
		if !ok {
			at.id, at.sid, err = w.place(ctx, "x@"+domain, path)
			places[domain+"/"+path] = at
		}
		return at, err
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	objects := make([]*object, len(list))
	for i, n := range list {
		u := n.User
		o := &object{id: w.newObject(), guid: newGUID(), class: classUser, naming: "cn", attrs: attributes{}, mailbox: w.newMailbox(), created: now}
		u.Mailbox = o.mailbox
		if u.Kind == directory.KindUser {
			o.account = &account{epoch: 1, enabled: true}
		}
		u.Enabled = o.account != nil
		local, domain, err := directory.SplitAddress(u.Address)
		if err != nil {
			return nil, err
		}
		if u.Account == "" {
			u.Account = accountBase(local)
			if taken.has(nameKey{nameAccount, directory.Fold(u.Account)}, o.id) {
				if u.Account, err = w.freeAccount(ctx, "u"+strconv.FormatInt(int64(o.id), 10)); err != nil {
					return nil, err
				}
			}
		}
		if err := o.put(&u); err != nil {
			return nil, err
		}
		at, err := place(domain, u.OU)
		if err != nil {
			return nil, err
		}
		o.parent, o.sid = at.id, ownSID(at.sid, o.id)
		if err := w.setHome(ctx, o, u.HomeMDB); err != nil {
			return nil, err
		}
		if n.Password != "" {
			o.attrs.set("pwdLastSet", fileTime(now))
		}
		o.settle(person)
		for _, a := range smtpAddresses(o.attrs) {
			_, domain, _ := directory.SplitAddress(a)
			if _, err := place(domain, ""); err != nil {
				return nil, err
			}
		}
		d, err := o.derive(w.schema)
		if err != nil {
			return nil, err
		}
		for _, k := range d.keys {
			if taken.has(k, o.id) {
				return nil, fault.New(fault.Exists, "%s is taken", k.key)
			}
			taken.take(k, o.id)
		}
		objects[i] = o
	}
	return objects, nil
}

// bulkRDNs makes the names inside each container differ.
func (w *writing) bulkRDNs(ctx context.Context, objects []*object) error {
	type place struct {
		parent directory.ObjectID
		key    string
	}
	parents, keys := make([]directory.ObjectID, len(objects)), make([]string, len(objects))
	for i, o := range objects {
		parents[i], keys[i] = o.parent, o.rdnKey()
	}
	rows, err := w.Query(ctx, `
		SELECT o.parent, o.rdn_key FROM unnest($1::bigint[], $2::text[]) AS want (parent, key),
		LATERAL (SELECT * FROM directory.object WHERE parent = want.parent AND rdn_key = want.key LIMIT 1) o`, parents, keys)
	if err != nil {
		return err
	}
	taken := map[place]bool{}
	var p place
	if _, err := pgx.ForEachRow(rows, []any{&p.parent, &p.key}, func() error { taken[p] = true; return nil }); err != nil {
		return err
	}
	for _, o := range objects {
		if taken[place{o.parent, o.rdnKey()}] {
			o.rdn += " (" + strconv.FormatInt(int64(o.id), 10) + ")"
			o.attrs.set("cn", o.rdn)
		}
		taken[place{o.parent, o.rdnKey()}] = true
	}
	return nil
}

// object adds the rows of an object that every one has.
func (b *bulk) object(o *object, d derived, raw []byte) {
	id, usn := int64(o.id), int64(o.usn)
	b.objects = append(b.objects, []any{
		id, o.guid, int64(o.parent), o.class, o.rdn, o.rdnKey(), raw, int64(o.mailbox), usn, usn, o.created, o.created,
		int16(d.kind), d.address, d.name, d.homeMDB, d.quota, d.hidden, int64(d.roles), d.terms, o.extraClasses(), o.sidBytes(), packNames(d.keys),
	})
	for _, k := range d.keys {
		b.names = append(b.names, []any{int16(k.kind), k.key, id})
	}
	if o.home != 0 {
		b.link(linkHome, o, o.home)
	}
	a := account{}
	if o.account != nil {
		a = *o.account
	}
	b.changes = append(b.changes, []any{id, usn, int16(d.kind), int64(a.epoch), a.enabled, o.guid})
}

func (b *bulk) account(o *object, hash string, expires *time.Time, must bool) {
	b.accounts = append(b.accounts, []any{int64(o.id), hash, int64(o.account.epoch), o.account.enabled, expires, must})
}

func (b *bulk) link(attribute int32, from *object, to directory.ObjectID) {
	b.links = append(b.links, []any{attribute, int64(from.id), int64(to), int64(from.usn)})
}

// audit notes a line of the audit log, see auditAs.
func (b *bulk) audit(by actor, usn directory.USN, id directory.ObjectID, name string, c changed) {
	if by.name != "" {
		name = by.name
	}
	b.audits = append(b.audits, append(auditArgs(by, id, name, c), int64(usn)))
}

// rowsOf are the rows of one table.
type rowsOf struct {
	table   string
	columns []string
	types   string // of the columns; "words" is an array of text without blanks
	rows    [][]any
}

// tables are those that have rows, objects first.
func (b *bulk) tables() []rowsOf {
	return slices.DeleteFunc([]rowsOf{
		{"object", []string{
			"id", "guid", "parent", "class", "rdn", "rdn_key", "attributes", "mailbox", "usn_created", "usn_changed", "created", "changed",
			"kind", "address", "name", "home_mdb", "quota", "hidden", "roles", "terms", "extra", "sid", "names",
		}, "bigint uuid bigint text text text jsonb bigint bigint bigint timestamptz timestamptz smallint text text text bigint boolean bigint text words bytea text", b.objects},
		{"name", []string{"kind", "key", "object"}, "smallint text bigint", b.names},
		{"link", []string{"attribute", "source", "target", "usn"}, "int bigint bigint bigint", b.links},
		{"cold", []string{"object", "attribute", "place", "value"}, "bigint text int bytea", b.cold},
		{"account", []string{"object", "hash", "epoch", "enabled", "expires", "must_change"}, "bigint text bigint boolean timestamptz boolean", b.accounts},
		{"change", []string{"object", "usn", "kind", "epoch", "enabled", "guid"}, "bigint bigint smallint bigint boolean uuid", b.changes},
		{"audit", []string{"who", "who_name", "source", "operation", "object", "name", "changes", "usn"}, "bigint text text text bigint text jsonb bigint", b.audits},
	}, func(t rowsOf) bool { return len(t.rows) == 0 })
}

// copyAt is how many rows of a table are copied, which takes two round trips;
// fewer travel as a list of each column.
const copyAt = 200

// copyIn writes the rows of new objects.
func (w *writing) copyIn(ctx context.Context, b *bulk) error {
	if len(b.objects) >= copyAt {
		// What bounds a statement is meant for single changes; writeTimeout bounds
		// this one.
		if _, err := w.Exec(ctx, `SELECT `+allTime); err != nil {
			return err
		}
	}
	var lists []rowsOf
	for _, t := range b.tables() {
		if len(t.rows) < copyAt {
			lists = append(lists, t)
		} else if _, err := w.CopyFrom(ctx, pgx.Identifier{"directory", t.table}, t.columns, pgx.CopyFromRows(t.rows)); err != nil {
			return err
		}
	}
	end := &pgx.Batch{}
	queueRows(end, lists)
	return w.send(ctx, end, func() {})
}

// queueRows inserts the rows of some tables in one statement: what a statement
// costs besides its rows is more than theirs.
func queueRows(b *pgx.Batch, tables []rowsOf) {
	if len(tables) == 0 {
		return
	}
	var sql strings.Builder
	var args []any
	for i, t := range tables {
		switch {
		case i == len(tables)-1:
			t.insert(&sql, len(args))
		case i == 0:
			sql.WriteString("WITH " + t.table + "_rows AS (")
			t.insert(&sql, len(args))
			sql.WriteString(") ")
		default:
			sql.WriteString(", " + t.table + "_rows AS (")
			t.insert(&sql, len(args))
			sql.WriteString(") ")
		}
		args = append(args, t.lists()...)
	}
	b.Queue(sql.String(), args...)
}

// insert writes the statement for any number of rows, whose parameters are a list
// of each column and come after so many others.
func (t *rowsOf) insert(sql *strings.Builder, after int) {
	var values, lists, names []string
	for i, kind := range strings.Fields(t.types) {
		name := "c" + strconv.Itoa(i)
		names = append(names, name)
		if kind == "words" {
			name, kind = "string_to_array("+name+", ' ')", "text"
		}
		values = append(values, name)
		lists = append(lists, "$"+strconv.Itoa(after+i+1)+"::"+kind+"[]")
	}
	sql.WriteString("INSERT INTO directory." + t.table + " (" + strings.Join(t.columns, ", ") + ") SELECT " + strings.Join(values, ", ") +
		" FROM unnest(" + strings.Join(lists, ", ") + ") AS r (" + strings.Join(names, ", ") + ")")
}

// lists makes lists of columns from rows. Lists of one type are encoded faster.
func (t *rowsOf) lists() []any {
	lists := make([]any, len(t.columns))
	for i := range lists {
		switch t.rows[0][i].(type) {
		case string:
			lists[i] = listOf[string](t.rows, i)
		case int64:
			lists[i] = listOf[int64](t.rows, i)
		case int32:
			lists[i] = listOf[int32](t.rows, i)
		case int16:
			lists[i] = listOf[int16](t.rows, i)
		case bool:
			lists[i] = listOf[bool](t.rows, i)
		case []byte:
			lists[i] = listOf[[]byte](t.rows, i)
		case time.Time:
			lists[i] = listOf[time.Time](t.rows, i)
		case *time.Time:
			lists[i] = listOf[*time.Time](t.rows, i)
		case []string: // words
			joined := make([]string, len(t.rows))
			for j, row := range t.rows {
				joined[j] = strings.Join(row[i].([]string), " ") //nolint:forcetypeassert // all rows have the same
			}
			lists[i] = joined
		default:
			panic(fmt.Sprintf("no list of %T", t.rows[0][i]))
		}
	}
	return lists
}

func listOf[T any](rows [][]any, column int) []T {
	list := make([]T, len(rows))
	for i, row := range rows {
		list[i] = row[column].(T) //nolint:forcetypeassert // all rows have the same
	}
	return list
}

// nameSet tells whose a name is; addresses and UPNs are one name space.
type nameSet map[nameKey]directory.ObjectID

func oneSpace(k nameKey) nameKey {
	if k.kind == nameUPN {
		k.kind = nameAddress
	}
	return k
}

func (s nameSet) take(k nameKey, id directory.ObjectID) { s[oneSpace(k)] = id }

// has tells whether somebody but id has k.
func (s nameSet) has(k nameKey, id directory.ObjectID) bool {
	owner, ok := s[oneSpace(k)]
	return ok && owner != id
}

// takenNames asks once for all names that the list may want.
func (w *writing) takenNames(ctx context.Context, list []directory.NewUser) (nameSet, error) {
	var keys, accounts []string
	for _, n := range list {
		for _, a := range append([]string{n.Address, n.UPN}, n.Addresses...) {
			if key, err := directory.AddressKey(a); err == nil {
				keys = append(keys, key)
			}
		}
		name := n.Account
		if name == "" {
			local, _, _ := directory.SplitAddress(n.Address)
			name = accountBase(local)
		}
		accounts = append(accounts, directory.Fold(name))
	}
	kinds, texts := make([]int16, 0, 2*len(keys)+len(accounts)), make([]string, 0, 2*len(keys)+len(accounts))
	ask := func(kind nameKind, list []string) {
		for _, key := range list {
			kinds, texts = append(kinds, int16(kind)), append(texts, key)
		}
	}
	ask(nameAddress, keys)
	ask(nameUPN, keys)
	ask(nameAccount, accounts)
	return w.whose(ctx, kinds, texts)
}

// scanNames reads rows of kind, key and owner.
func scanNames(rows pgx.Rows, fn func(nameKey, directory.ObjectID)) error {
	var kind int16
	var key string
	var id directory.ObjectID
	_, err := pgx.ForEachRow(rows, []any{&kind, &key, &id}, func() error {
		fn(nameKey{nameKind(kind), key}, id)
		return nil
	})
	return err
}
