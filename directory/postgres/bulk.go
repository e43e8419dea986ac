package postgres

import (
	"context"
	"encoding/json"
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

// bulk is what one AddUsers writes, by table.
type bulk struct {
	objects, names, links, cold, accounts, changes [][]any
}

func (w *writing) addUsers(ctx context.Context, list []directory.NewUser, hashes []string) ([]directory.User, error) {
	objects, err := w.bulkObjects(ctx, list)
	if err != nil {
		return nil, err
	}
	if err := w.bulkRDNs(ctx, objects); err != nil {
		return nil, err
	}
	var b bulk
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
			b.accounts = append(b.accounts, []any{o.id, hashes[i], o.account.epoch, true, nil, false})
		}
		if users[i], err = o.user(w.schema, list[i].OU); err != nil {
			return nil, err
		}
	}
	w.counters.usn = w.usn
	w.by.name = strconv.Itoa(len(list)) + " users"
	lines := &pgx.Batch{}
	w.audit(lines, 0, "", nil)
	return users, w.copyIn(ctx, b, lines)
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
	b.objects = append(b.objects, []any{
		o.id, o.guid, o.parent, o.class, o.rdn, o.rdnKey(), raw, o.mailbox, o.usn, o.usn, o.created, o.created,
		int16(d.kind), d.address, d.name, d.homeMDB, d.quota, d.hidden, int64(d.roles), d.terms, o.extraClasses(), o.sidBytes(), packNames(d.keys),
	})
	for _, k := range d.keys {
		b.names = append(b.names, []any{int16(k.kind), k.key, o.id})
	}
	if o.home != 0 {
		b.links = append(b.links, []any{int32(linkHome), o.id, o.home, o.usn})
	}
	a := account{}
	if o.account != nil {
		a = *o.account
	}
	b.changes = append(b.changes, []any{o.id, o.usn, int16(d.kind), a.epoch, a.enabled, o.guid})
}

const (
	// few is how many rows are inserted one by one, in one round trip for all
	// tables; more are copied, which takes two for each table.
	few = 30
	// maxList is the same for tables whose rows can be given by column.
	maxList = 200
)

// copyIn writes the rows of new objects, and what else is in a batch.
func (w *writing) copyIn(ctx context.Context, b bulk, single *pgx.Batch) error {
	if len(b.objects) > few {
		// What bounds a statement is meant for single changes; writeTimeout bounds
		// this one.
		single.Queue(`SELECT ` + allTime)
	}
	for _, table := range []struct {
		name    string
		columns []string
		types   string // of the columns, where rows may come as a list of each
		rows    [][]any
	}{
		{"object", []string{
			"id", "guid", "parent", "class", "rdn", "rdn_key", "attributes", "mailbox", "usn_created", "usn_changed", "created", "changed",
			"kind", "address", "name", "home_mdb", "quota", "hidden", "roles", "terms", "extra", "sid", "names",
		}, "", b.objects},
		{"name", []string{"kind", "key", "object"}, "smallint text bigint", b.names},
		{"link", []string{"attribute", "source", "target", "usn"}, "int bigint bigint bigint", b.links},
		{"cold", []string{"object", "attribute", "place", "value"}, "bigint text int bytea", b.cold},
		{"account", []string{"object", "hash", "epoch", "enabled", "expires", "must_change"}, "bigint text bigint boolean timestamptz boolean", b.accounts},
		{"change", []string{"object", "usn", "kind", "epoch", "enabled", "guid"}, "bigint bigint smallint bigint boolean uuid", b.changes},
	} {
		switch {
		case len(table.rows) == 0:
			continue
		case len(table.rows) <= maxList && table.types != "":
			single.Queue(insertLists(table.name, table.columns, table.types), transposed(table.rows)...)
			continue
		case len(table.rows) <= few:
			for _, row := range table.rows {
				single.Queue(insertSQL(table.name, table.columns), row...)
			}
			continue
		}
		if single.Len() > 0 {
			if err := w.Batch(ctx, single); err != nil {
				return err
			}
			single = &pgx.Batch{}
		}
		if _, err := w.CopyFrom(ctx, pgx.Identifier{"directory", table.name}, table.columns, pgx.CopyFromRows(table.rows)); err != nil {
			return err
		}
	}
	return w.send(ctx, single, func() {})
}

func insertSQL(table string, columns []string) string {
	var b strings.Builder
	b.WriteString("INSERT INTO directory." + table + " (" + strings.Join(columns, ", ") + ") VALUES (")
	for i := range columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(i+1))
	}
	b.WriteString(")")
	return b.String()
}

// insertLists is insertSQL for any number of rows, by a list of each column.
func insertLists(table string, columns []string, types string) string {
	var b strings.Builder
	b.WriteString("INSERT INTO directory." + table + " (" + strings.Join(columns, ", ") + ") SELECT * FROM unnest(")
	for i, t := range strings.Fields(types) {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(i+1) + "::" + t + "[]")
	}
	b.WriteString(")")
	return b.String()
}

// transposed makes lists of columns from rows.
func transposed(rows [][]any) []any {
	lists := make([]any, len(rows[0]))
	for i := range lists {
		list := make([]any, len(rows))
		for j, row := range rows {
			list[j] = row[i]
		}
		lists[i] = list
	}
	return lists
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
