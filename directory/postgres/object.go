package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"golang.org/x/text/unicode/norm"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// Classes of objects, as in Active Directory's schema.
const (
	classDomain = "domainDNS"
	classOU     = "organizationalUnit"
	classUser   = "user"
	classGroup  = "group"
	classMDB    = "msExchPrivateMDB"
	// classDynamic is a distribution list whose members a filter finds.
	classDynamic = "msExchDynamicDistributionList"
)

const (
	rootID directory.ObjectID = 1
	// maxDepth bounds how deep the tree is.
	maxDepth = 64
	// maxText bounds a text attribute, in characters (AD: displayName 256).
	maxText = 256
	// maxAddresses bounds the addresses of one object.
	maxAddresses = 1000
)

// attributes are an object's values under AD names. Names compare exactly as
// the schema spells them.
type attributes map[string][]string

func (a attributes) get(name string) string {
	if v := a[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (a attributes) set(name string, values ...string) {
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		delete(a, name)
		return
	}
	a[name] = values
}

// object is an object of the directory, whole.
type object struct {
	id      directory.ObjectID
	guid    string
	parent  directory.ObjectID
	class   string
	extra   []string // auxiliary classes that it names itself
	naming  string   // the attribute that names it
	rdn     string
	attrs   attributes
	sid     []byte
	mailbox directory.MailboxID
	home    directory.ObjectID // of homeMDB, a link; 0: none
	homeMDB string             // the name of home
	usn     directory.USN
	created time.Time
	account *account // nil for what nobody signs in as
	keys    []nameKey
	stored  stored // what the tables have

	exact bool    // its name is to be as given: a taken one is refused
	also  changed // what the audit log tells besides attributes
}

// stored is what save compares with.
type stored struct {
	home    directory.ObjectID
	attrs   attributes
	rdn     string
	parent  directory.ObjectID
	enabled bool
}

// account is the state of an account but for its secrets.
type account struct {
	epoch   directory.Epoch
	enabled bool
}

// derived are the columns that repeat attributes for the view.
type derived struct {
	kind    directory.Kind
	address string
	name    string
	homeMDB string
	quota   int64
	hidden  bool
	roles   directory.Role
	terms   string
	keys    []nameKey
}

// roleNames are the values of the attribute waypostRoles.
var roleNames = map[string]directory.Role{"admin": directory.RoleAdmin}

// derive computes the derived columns and the name keys. It is the only place
// that does.
func (o *object) derive(sch *schema.Schema) (d derived, err error) {
	f := familyOf(sch, o.class)
	switch f {
	case person:
		d.kind = directory.KindUser
		switch {
		case slices.Contains(o.attrs["msExchResourceMetaData"], resourceRoom):
			d.kind = directory.KindRoom
		case slices.Contains(o.attrs["msExchResourceMetaData"], resourceEquipment):
			d.kind = directory.KindEquipment
		}
	case domain:
		d.keys = append(d.keys, nameKey{nameDomain, o.rdn})
	}
	d.name = o.attrs.get("displayName")
	d.homeMDB = o.homeMDB
	d.hidden = o.attrs.get("msExchHideFromAddressLists") == "TRUE"
	if kb := o.attrs.get("mDBOverHardQuotaLimit"); kb != "" && o.attrs.get("mDBUseDefaults") == "FALSE" {
		n, err := strconv.ParseInt(kb, 10, 32)
		if err != nil || n < 0 {
			return d, fault.New(fault.Invalid, "the quota is out of range")
		}
		d.quota = n << 10
	}
	for _, r := range o.attrs["waypostRoles"] {
		d.roles |= roleNames[r]
	}
	var whole []string // what is searched as it is written
	words := []string{d.name, o.attrs.get("givenName"), o.attrs.get("sn"), o.attrs.get("mailNickname")}
	for _, p := range o.attrs["proxyAddresses"] {
		kind, address, _ := strings.Cut(p, ":")
		if !strings.EqualFold(kind, "smtp") {
			d.keys = append(d.keys, nameKey{nameProxy, directory.Fold(p)})
			continue
		}
		key, err := directory.AddressKey(address)
		if err != nil {
			return d, err
		}
		d.keys = append(d.keys, nameKey{nameAddress, key})
		local, _, _ := directory.SplitAddress(address)
		words, whole = append(words, local), append(whole, key)
		if kind == "SMTP" {
			d.address = address
		}
	}
	if out := forwardAddress(o.attrs.get("targetAddress")); f == contact && d.address == "" && out != "" {
		d.address = out
		local, _, _ := directory.SplitAddress(out)
		words, whole = append(words, local), append(whole, directory.Fold(out))
	}
	if d.name == "" && d.address != "" {
		d.name = o.rdn
		words = append(words, o.rdn)
	}
	switch { // without an address it is none of mail's
	case d.address == "":
	case f == group:
		d.kind = directory.KindGroup
	case f == dynamic:
		d.kind = directory.KindGroup
		if err := checkDynamic(o.attrs); err != nil {
			return d, err
		}
	case f == contact:
		d.kind = directory.KindContact
	}
	if upn := o.attrs.get("userPrincipalName"); upn != "" {
		key, err := directory.AddressKey(upn)
		if err != nil {
			return d, fault.New(fault.Invalid, "%q cannot be a user principal name", upn)
		}
		d.keys = append(d.keys, nameKey{nameUPN, key})
	}
	if name := o.attrs.get("sAMAccountName"); name != "" {
		d.keys = append(d.keys, nameKey{nameAccount, directory.Fold(name)})
	}
	slices.SortFunc(d.keys, compareKeys)
	d.keys = slices.Compact(d.keys)
	d.terms = terms(words, whole)
	return d, nil
}

func compareKeys(a, b nameKey) int {
	if a.kind != b.kind {
		return int(a.kind) - int(b.kind)
	}
	return strings.Compare(a.key, b.key)
}

// terms are what the address list is searched by, each once: the words of texts
// and the addresses as they are written, so that "ann.l" finds ann.lee@….
func terms(texts, whole []string) string {
	for _, t := range texts {
		whole = append(whole, directory.Words(t)...)
	}
	whole = slices.DeleteFunc(whole, func(w string) bool { return strings.ContainsRune(w, ' ') })
	slices.Sort(whole)
	return strings.Join(slices.Compact(whole), " ")
}

func orderKey(name string) string { return strings.Join(directory.Words(name), " ") }

func (o *object) rdnKey() string { return rdnKey(o.naming, o.rdn) }

// cleanText puts a text attribute into NFC without blanks around it, and
// refuses control characters and what is too long.
func cleanText(field, s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", fault.New(fault.Invalid, "%s is not valid text", field)
	}
	s = strings.TrimSpace(norm.NFC.String(s))
	if utf8.RuneCountInString(s) > maxText {
		return "", fault.New(fault.TooLarge, "%s is longer than %d characters", field, maxText)
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "", fault.New(fault.Invalid, "%s has control characters in it", field)
	}
	return s, nil
}

const objectSQL = objectColumns + `WHERE o.deleted IS NULL AND `

const objectColumns = "SELECT " + objectFields + objectTables

const objectFields = `
	o.id, o.guid::text, coalesce(o.parent, 0), o.class, o.extra, split_part(o.rdn_key, '=', 1), o.rdn, o.attributes, o.sid,
	o.mailbox, coalesce(h.target, 0), o.home_mdb, o.usn_changed, o.created, coalesce(a.epoch, 0), coalesce(a.enabled, false)`

const objectTables = `
	FROM directory.object o LEFT JOIN directory.account a ON a.object = o.id
	LEFT JOIN directory.link h ON h.attribute = 32 AND h.source = o.id `

// objectRow is a row of objectFields, and of more fields behind them.
type objectRow struct {
	object  object
	raw     []byte
	account account
}

func (r *objectRow) scan(row pgx.CollectableRow, more ...any) (*object, error) {
	o := &r.object
	if err := row.Scan(append([]any{
		&o.id, &o.guid, &o.parent, &o.class, &o.extra, &o.naming, &o.rdn, &r.raw, &o.sid,
		&o.mailbox, &o.home, &o.homeMDB, &o.usn, &o.created, &r.account.epoch, &r.account.enabled,
	}, more...)...); err != nil {
		return nil, err
	}
	if r.account.epoch != 0 {
		o.account = &r.account
	}
	if err := json.Unmarshal(r.raw, &o.attrs); err != nil {
		return nil, fmt.Errorf("attributes of object %d: %w", o.id, err)
	}
	if o.attrs == nil {
		o.attrs = attributes{}
	}
	r.raw = nil
	o.keep()
	return o, nil
}

func scanObject(row pgx.CollectableRow) (*object, error) { return new(objectRow).scan(row) }

// read gives the object id as the transaction sees it, with its name keys.
func (w *writing) read(ctx context.Context, id directory.ObjectID) (*object, error) {
	b := &pgx.Batch{}
	var o *object
	w.queueRead(b, id, &o)
	if err := w.Batch(ctx, b); err != nil {
		return nil, err
	}
	if o == nil {
		return nil, fault.New(fault.NotFound, "no such object")
	}
	return o, nil
}

// queueRead puts read into a batch; into stays nil when there is no such object.
func (w *writing) queueRead(b *pgx.Batch, id directory.ObjectID, into **object) {
	var o *object
	b.Queue(objectSQL+`o.id = $1`, id).Query(func(rows pgx.Rows) (err error) {
		o, err = pgx.CollectExactlyOneRow(rows, scanObject)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	var keys []nameKey
	b.Queue(`SELECT kind, key FROM directory.name WHERE object = $1`, id).Query(func(rows pgx.Rows) error {
		var kind int16
		var key string
		_, err := pgx.ForEachRow(rows, []any{&kind, &key}, func() error {
			keys = append(keys, nameKey{nameKind(kind), key})
			return nil
		})
		if o != nil && err == nil {
			o.keys = keys
			*into = o
		}
		return err
	})
}

// save writes o, new when its id was just taken, checks that its names are its
// own, and logs the change. The statements of more run with it.
func (w *writing) save(ctx context.Context, o *object, isNew bool, more ...func(*pgx.Batch)) error {
	o.settle(familyOf(w.schema, o.class))
	d, err := o.derive(w.schema)
	if err != nil {
		return err
	}
	if err := w.checkNames(ctx, o, d.keys); err != nil {
		return err
	}
	if err := w.freeRDN(ctx, o); err != nil {
		return err
	}
	raw, err := json.Marshal(o.attrs)
	if err != nil {
		return err
	}
	o.usn = w.usn
	b := &pgx.Batch{}
	if isNew {
		b.Queue(`
			INSERT INTO directory.object (id, guid, parent, class, rdn, rdn_key, attributes, mailbox, usn_created, usn_changed,
				kind, address, name, home_mdb, quota, hidden, roles, terms, extra, sid, names)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) RETURNING created`,
			o.id, o.guid, o.parent, o.class, o.rdn, o.rdnKey(), raw, o.mailbox, w.usn,
			int16(d.kind), d.address, d.name, d.homeMDB, d.quota, d.hidden, int64(d.roles), d.terms, o.extraClasses(), o.sidBytes(), packNames(d.keys),
		).QueryRow(func(r pgx.Row) error { return r.Scan(&o.created) })
	} else {
		b.Queue(`
			UPDATE directory.object SET parent = $2, rdn = $3, rdn_key = $4, attributes = $5, mailbox = $6, usn_changed = $7, changed = now(),
				kind = $8, address = $9, name = $10, home_mdb = $11, quota = $12, hidden = $13, roles = $14, terms = $15,
				extra = $16, sid = $17, names = $18
			WHERE id = $1`,
			o.id, o.parent, o.rdn, o.rdnKey(), raw, o.mailbox, w.usn,
			int16(d.kind), d.address, d.name, d.homeMDB, d.quota, d.hidden, int64(d.roles), d.terms, o.extraClasses(), o.sidBytes(), packNames(d.keys))
	}
	if o.home != o.stored.home {
		b.Queue(`DELETE FROM directory.link WHERE attribute = 32 AND source = $1`, o.id)
		if o.home != 0 {
			b.Queue(`INSERT INTO directory.link (attribute, source, target, usn) VALUES (32, $1, $2, $3)`, o.id, o.home, w.usn)
		}
	}
	for _, k := range o.keys {
		if !slices.Contains(d.keys, k) {
			b.Queue(`DELETE FROM directory.name WHERE kind = $1 AND key = $2 AND object = $3`, int16(k.kind), k.key, o.id)
		}
	}
	for _, k := range d.keys {
		if !slices.Contains(o.keys, k) {
			b.Queue(`INSERT INTO directory.name (kind, key, object) VALUES ($1, $2, $3)`, int16(k.kind), k.key, o.id)
		}
	}
	w.logChange(b, o, d.kind)
	w.audit(b, o.id, o.label(), o.changes())
	for _, add := range more {
		add(b)
	}
	o.keys = d.keys
	o.keep()
	return w.Batch(ctx, b)
}

// keep remembers o as the tables have it. Values of attributes are replaced,
// never changed, so a copy of the map will do.
func (o *object) keep() {
	o.stored = stored{home: o.home, attrs: maps.Clone(o.attrs), rdn: o.rdn, parent: o.parent}
	if o.account != nil {
		o.stored.enabled = o.account.enabled
	}
	o.also = nil
}

// changes are what is different from the tables, for the audit log.
func (o *object) changes() changed {
	c := changed{}
	c.diff(o.stored.attrs, o.attrs)
	if o.stored.home != o.home {
		c.add("homeMDB", nil, []string{o.homeMDB})
	}
	if o.stored.parent != o.parent {
		c.add("parent", idText(o.stored.parent), idText(o.parent))
	}
	maps.Copy(c, o.also)
	return c
}

func idText(id directory.ObjectID) []string {
	if id == 0 {
		return nil
	}
	return []string{"#" + strconv.FormatInt(int64(id), 10)}
}

// label names o in the audit log when the caller did not.
func (o *object) label() string {
	if a := o.attrs.get("mail"); a != "" {
		return a
	}
	return o.naming + "=" + o.rdn
}

func (o *object) extraClasses() []string { return append([]string{}, o.extra...) } // never NULL

func (o *object) sidBytes() []byte { return append([]byte{}, o.sid...) }

func (w *writing) logChange(b *pgx.Batch, o *object, kind directory.Kind) {
	a := o.account
	if a == nil {
		a = &account{}
	}
	b.Queue(`
		INSERT INTO directory.change (object, usn, kind, gone, epoch, enabled, guid) VALUES ($1, $2, $3, false, $4, $5, $6)
		ON CONFLICT (object) DO UPDATE SET usn = $2, kind = $3, gone = false, epoch = $4, enabled = $5, at = now()`,
		o.id, w.usn, int16(kind), a.epoch, a.enabled, o.guid)
}

// checkNames refuses keys that another object has. The counter row is held, so
// nobody takes one in between. Addresses and userPrincipalNames are one name
// space.
func (w *writing) checkNames(ctx context.Context, o *object, keys []nameKey) error {
	var kinds []int16
	var texts []string
	ask := func(kind nameKind, key string) { kinds, texts = append(kinds, int16(kind)), append(texts, key) }
	for _, k := range keys {
		if slices.Contains(o.keys, k) {
			continue
		}
		ask(k.kind, k.key)
		switch k.kind {
		case nameAddress:
			ask(nameUPN, k.key)
		case nameUPN:
			ask(nameAddress, k.key)
		}
	}
	if len(kinds) == 0 {
		return nil
	}
	var taken string
	var kind int16
	err := w.QueryRow(ctx, `
		SELECT n.key, n.kind FROM unnest($1::smallint[], $2::text[]) AS want (kind, key),
		LATERAL (SELECT * FROM directory.name WHERE kind = want.kind AND key = want.key LIMIT 1) n
		WHERE n.object <> $3 ORDER BY n.key LIMIT 1`, kinds, texts, o.id).Scan(&taken, &kind)
	switch {
	case err == nil:
		return errTaken(nameKey{nameKind(kind), taken})
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	}
	return err
}

// errTaken refuses a name that somebody has. AD answers entryAlreadyExists for
// account names, constraintViolation for the others.
func errTaken(k nameKey) error {
	code := tree.ResultConstraintViolation
	if k.kind == nameAccount || k.kind == nameDomain {
		code = tree.ResultEntryAlreadyExists
	}
	return &taken{fault.New(fault.Exists, "%s is taken", k.key), code}
}

// taken is a fault of Exists with the code that LDAP has for it.
type taken struct {
	error
	code tree.Code
}

func (t *taken) Unwrap() error { return t.error }

// As lets errors.As find the refusal in it.
func (t *taken) As(target any) bool {
	r, ok := target.(**tree.Refusal)
	if ok {
		*r = tree.Refuse(t.code, "%s", say(t.error))
	}
	return ok
}

// freeRDN makes o's name different when another object of the same container
// has it: two people may share a name. Where it is to be exact, that is a
// refusal.
func (w *writing) freeRDN(ctx context.Context, o *object) error {
	want := o.rdn
	names := []string{want, want + " (" + o.attrs.get("mailNickname") + ")", want + " (" + strconv.FormatInt(int64(o.id), 10) + ")"}
	if o.exact {
		names = names[:1]
	}
	for _, name := range names {
		var taken bool
		err := w.QueryRow(ctx, `SELECT EXISTS (SELECT FROM directory.object WHERE parent = $1 AND rdn_key = $2 AND id <> $3)`,
			o.parent, rdnKey(o.naming, name), o.id).Scan(&taken)
		if err != nil {
			return err
		}
		if !taken {
			if o.rdn != name {
				o.rdn = name
				o.attrs.set(o.naming, name)
			}
			return nil
		}
	}
	return tree.Refuse(tree.ResultEntryAlreadyExists, "%s is taken", want)
}

// accountBase makes a sAMAccountName of a local part: without what AD forbids,
// at most 20 characters (the limit for users).
func accountBase(local string) string {
	base := strings.Map(func(r rune) rune {
		if forbiddenInAccount(r) {
			return '_'
		}
		return r
	}, local)
	r := []rune(base)
	if base = strings.TrimRight(string(r[:min(len(r), 20)]), "."); base == "" {
		return "user"
	}
	return base
}

// freeAccount gives a sAMAccountName for a local part, numbered when taken.
func (w *writing) freeAccount(ctx context.Context, local string) (string, error) {
	base := accountBase(local)
	for n := 0; n < 1000; n++ {
		suffix := ""
		if n > 0 {
			suffix = strconv.Itoa(n)
		}
		r := []rune(base)
		name := string(r[:min(len(r), 20-len(suffix))]) + suffix
		var taken bool
		err := w.QueryRow(ctx, `SELECT EXISTS (SELECT FROM directory.name WHERE kind = 3 AND key = $1)`, directory.Fold(name)).Scan(&taken)
		if err != nil || !taken {
			return name, err
		}
	}
	return "", fault.New(fault.Exists, "no account name is free for %s", local)
}

func forbiddenInAccount(r rune) bool {
	return unicode.IsControl(r) || unicode.IsSpace(r) || strings.ContainsRune(`"/\[]:;|=,+*?<>@`, r)
}

// maxQuota is what AD's quota attributes can say: 32 bits of KiB.
const maxQuota = math.MaxInt32 << 10
