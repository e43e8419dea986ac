package postgres

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// undeletes are the attributes by which a client brings a removed object back
// (MS-ADTS 3.1.1.5.3.7): it deletes the one and replaces the other.
var undeletes = map[string]bool{"isDeleted": true, "distinguishedName": true}

// undeletion tells whether the parts bring an object back, where to, and what
// else they change.
func undeletion(parts []part) (to string, others []part, ok bool) {
	alive := false
	for _, p := range parts {
		switch {
		case p.a.Name == "isDeleted" && p.op == tree.ModDelete:
			alive = true
		case p.a.Name == "distinguishedName" && p.op == tree.ModReplace && len(p.values) == 1:
			to = p.values[0]
		default:
			others = append(others, p)
		}
	}
	return to, others, alive && to != ""
}

// undelete brings a tombstone back under a name: with its ids, its SID, and
// what the schema kept of it. Its account cannot be signed in to before it gets
// a password; its mailbox is connected again by setting homeMDB.
func (s *Store) undelete(ctx context.Context, r *rights, dn tree.DN, name string, others []part, opts tree.Options) (done tree.Written, err error) {
	to, err := tree.ParseDN(name)
	if err != nil {
		return done, err
	}
	if slices.ContainsFunc(others, func(p part) bool { return p.a.Password() }) {
		return done, tree.Refuse(tree.ResultUnwillingToPerform, "bring it back first, then set its password")
	}
	if form, _ := to.Special(); form != "" || len(to) == 0 || len(to[0]) != 1 {
		return done, tree.Refuse(tree.ResultInvalidDNSyntax, "distinguishedName is where the object goes")
	}
	err = s.write(ctx, actor{as: r.as, from: opts.From, op: "undelete", name: to.String()}, func(ctx context.Context, w *writing) error {
		done = tree.Written{}
		m, err := w.exhume(ctx, r, dn, to)
		if err != nil {
			return err
		}
		m.opts = opts
		if err := m.run(ctx, others); err != nil {
			return err
		}
		done = tree.Written{ID: m.o.id, USN: w.usn}
		return nil
	})
	if err != nil {
		return tree.Written{}, err
	}
	return done, s.postRead(ctx, r, &done, opts)
}

// exhume reads a tombstone as the object that it becomes.
func (w *writing) exhume(ctx context.Context, r *rights, dn, to tree.DN) (*modification, error) {
	spots, err := w.resolve(ctx, dn, to)
	if err != nil {
		return nil, err
	}
	grave, place := &spots[0], &spots[1]
	switch {
	case grave.id == 0 || grave.left > 0 || !grave.deleted || !r.at(grave).Visible():
		return nil, errNoTombstone
	case place.id != 0 && place.left == 0:
		return nil, w.occupied(r, place, to)
	case place.id == 0 || place.left > 1 || place.deleted || !r.at(place).Visible():
		return nil, w.absent(r, place, to)
	case place.isGraves():
		return nil, tree.Refuse(tree.ResultUnwillingToPerform, "nothing is added to what was removed")
	}
	o, err := w.readTombstone(ctx, grave.id)
	if err != nil {
		return nil, err
	}
	class, ok := w.schema.Class(o.class)
	up, okUp := w.schema.Class(place.class)
	if !ok || !okUp || !mayBeUnder(class, up) {
		return nil, tree.Refuse(tree.ResultNamingViolation, "a %s cannot be below a %s", o.class, place.class)
	}
	perms := r.at(place)
	if !perms.Create(class) {
		return nil, errForbidden
	}
	if err := w.mayExhume(ctx, r, o, class); err != nil {
		return nil, err
	}
	if !perms.May(access.Control) {
		o.attrs.set(access.AttributeName)
	}
	o.keep()
	o.parent, o.exact = place.id, true
	naming, ok := namedBy(w.schema, class, to[0][0].Attribute)
	if !ok {
		return nil, tree.Refuse(tree.ResultNamingViolation, "a %s is named by %s", o.class, class.Naming().Name)
	}
	if o.rdn, err = cleanName(naming, to[0][0].Value); err != nil {
		return nil, err
	}
	o.naming = naming.Name
	if o.rdnKey() == gravesKey {
		return nil, errGraves
	}
	o.attrs.set(naming.Name, o.rdn)
	o.attrs.set("isDeleted")
	o.attrs.set("msDS-LastKnownRDN")
	fam := familyOf(w.schema, o.class)
	if fam.principal() && len(o.sid) == 28 && string(o.sid[:24]) != string(sidBelow(place.domSID, 0)[:24]) {
		o.changeSID(ownSID(place.domSID, o.id))
	}
	if err := w.freeNames(ctx, o); err != nil {
		return nil, err
	}
	m := &modification{
		w: w, r: r, o: o, fam: fam, spot: place, perms: perms, before: cloneAttributes(o.attrs),
		cold: map[string][]string{}, dirty: map[string]bool{}, linked: map[int32]*linkSet{},
	}
	if m.shape, err = w.schema.Shape(append([]string{o.class}, o.extra...)); err != nil {
		return nil, err
	}
	return m, w.revive(ctx, m)
}

// mayExhume lets administrators bring everything back, others what was removed
// from where they may make such objects: with its ids it has again whatever
// names them, entries of others, mailbox and SID.
func (w *writing) mayExhume(ctx context.Context, r *rights, o *object, class *schema.Class) error {
	if r.all() {
		return nil
	}
	if o.protected() {
		return errForbidden
	}
	last, err := w.reference(ctx, "lastKnownParent")
	if err != nil {
		return err
	}
	from, err := w.targets(ctx, o.id, last)
	if err != nil {
		return err
	}
	if len(from) != 1 {
		return errForbidden
	}
	up, err := w.spotOf(ctx, from[0])
	if err != nil {
		return err
	}
	if up.deleted || !r.at(&up).Create(class) {
		return errForbidden
	}
	return nil
}

// revive makes what belongs to a living object.
func (w *writing) revive(ctx context.Context, m *modification) error {
	o := m.o
	last, err := w.reference(ctx, "lastKnownParent")
	if err != nil {
		return err
	}
	m.extra = append(m.extra, func(b *pgx.Batch) {
		b.Queue(`UPDATE directory.object SET deleted = NULL WHERE id = $1`, o.id)
		b.Queue(`DELETE FROM directory.link WHERE attribute = $1 AND source = $2`, last, o.id)
	})
	room := slices.ContainsFunc(o.attrs["msExchResourceMetaData"], func(v string) bool { return v == resourceRoom || v == resourceEquipment })
	if m.fam != person || room {
		return nil
	}
	control, _ := strconv.Atoi(o.attrs.get("userAccountControl"))
	o.attrs.set("userAccountControl", strconv.Itoa(control|controlDisabled|controlNormal))
	o.account = &account{}
	// Never an epoch that was granted in before.
	return w.QueryRow(ctx, `
		INSERT INTO directory.account (object, epoch, enabled)
		SELECT $1, coalesce(max(epoch), 0) + 1, false FROM directory.change WHERE object = $1 RETURNING epoch`, o.id).Scan(&o.account.epoch)
}

// freeNames leaves the names out that somebody else has meanwhile.
func (w *writing) freeNames(ctx context.Context, o *object) error {
	d, err := o.derive(w.schema)
	if err != nil {
		return err
	}
	var kinds []int16
	var texts []string
	for _, k := range d.keys {
		for _, kind := range []nameKind{nameAddress, nameUPN, nameAccount, nameProxy} {
			kinds, texts = append(kinds, int16(kind)), append(texts, k.key)
		}
	}
	taken, err := w.whose(ctx, kinds, texts)
	if err != nil {
		return err
	}
	free := func(k nameKey) bool { return !taken.has(k, o.id) }
	o.attrs.set("proxyAddresses", slices.DeleteFunc(slices.Clone(o.attrs["proxyAddresses"]), func(p string) bool {
		if !isSMTP(p) {
			return !free(nameKey{nameProxy, directory.Fold(p)})
		}
		key, err := directory.AddressKey(p[5:])
		return err != nil || !free(nameKey{nameAddress, key})
	})...)
	o.attrs.set("mail")
	for _, p := range o.attrs["proxyAddresses"] {
		if len(p) > 5 && p[:5] == "SMTP:" {
			o.attrs.set("mail", p[5:])
		}
	}
	if o.attrs.get("mail") == "" {
		o.attrs.set("proxyAddresses", slices.DeleteFunc(slices.Clone(o.attrs["proxyAddresses"]), isSMTP)...)
	}
	if name := o.attrs.get("sAMAccountName"); name != "" && !free(nameKey{nameAccount, directory.Fold(name)}) {
		if name, err = w.freeAccount(ctx, accountBase(name)); err != nil {
			return err
		}
		o.attrs.set("sAMAccountName", name)
	}
	return nil
}

// readTombstone reads the row of a removed object.
func (w *writing) readTombstone(ctx context.Context, id directory.ObjectID) (*object, error) {
	rows, err := w.Query(ctx, tombstoneSQL, id)
	if err != nil {
		return nil, err
	}
	o, err := pgx.CollectExactlyOneRow(rows, scanObject)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fault.New(fault.NotFound, "no such object")
	}
	return o, err
}

const tombstoneSQL = objectColumns + `WHERE o.deleted IS NOT NULL AND o.id = $1`
