package postgres

import (
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/internal/fault"
)

// defaultMDB is the mailbox database of a user for whom none is named.
const defaultMDB = "default"

// texts are the fields of a User that are plain text attributes.
var texts = []struct {
	attribute string
	field     func(*directory.User) *string
}{
	{"displayName", func(u *directory.User) *string { return &u.Name }},
	{"givenName", func(u *directory.User) *string { return &u.Given }},
	{"sn", func(u *directory.User) *string { return &u.Surname }},
	{"title", func(u *directory.User) *string { return &u.Title }},
	{"department", func(u *directory.User) *string { return &u.Department }},
	{"company", func(u *directory.User) *string { return &u.Company }},
	{"physicalDeliveryOfficeName", func(u *directory.User) *string { return &u.Office }},
	{"telephoneNumber", func(u *directory.User) *string { return &u.Phone }},
	{"mobile", func(u *directory.User) *string { return &u.Mobile }},
	{"homePhone", func(u *directory.User) *string { return &u.HomePhone }},
	{"sAMAccountName", func(u *directory.User) *string { return &u.Account }},
}

// user gives o as a User; path is its OU.
func (o *object) user(sch *schema.Schema, path string) (directory.User, error) {
	d, err := o.derive(sch)
	if err != nil {
		return directory.User{}, err
	}
	u := directory.User{
		ID: o.id, GUID: o.guid, Kind: d.kind, Address: d.address, Addresses: smtpAddresses(o.attrs),
		UPN: o.attrs.get("userPrincipalName"), OU: path, Mailbox: o.openMailbox(), HomeMDB: o.homeMDB,
		Quota: d.quota, Hidden: d.hidden, Roles: d.roles, Created: o.created, Changed: o.usn,
	}
	o.resource(&u)
	if o.account != nil {
		u.Enabled, u.Epoch = o.account.enabled, o.account.epoch
	}
	for _, t := range texts {
		*t.field(&u) = o.attrs.get(t.attribute)
	}
	return u, nil
}

// openMailbox is the mailbox that mail goes to and its owner opens: the number
// stays with an object that has no homeMDB any more, so that the mailbox can be
// connected again.
func (o *object) openMailbox() directory.MailboxID {
	if o.homeMDB == "" {
		return 0
	}
	return o.mailbox
}

// smtpAddresses lists the primary address first.
func smtpAddresses(a attributes) []string {
	var all []string
	for _, p := range a["proxyAddresses"] {
		switch kind, address, _ := strings.Cut(p, ":"); kind {
		case "SMTP":
			all = slices.Insert(all, 0, address)
		case "smtp":
			all = append(all, address)
		}
	}
	return all
}

// put writes the fields of u into o's attributes, cleaned.
func (o *object) put(u *directory.User) error {
	for _, t := range texts {
		v, err := cleanText(t.attribute, *t.field(u))
		if err != nil {
			return err
		}
		*t.field(u) = v
		o.attrs.set(t.attribute, v)
	}
	switch {
	case u.Account == "" || strings.ContainsFunc(u.Account, forbiddenInAccount) || strings.HasSuffix(u.Account, "."):
		return fault.New(fault.Invalid, "%q cannot be an account name", u.Account)
	case u.Quota < 0 || u.Quota > maxQuota:
		return fault.New(fault.Invalid, "a quota is between 0 and %d bytes", int64(maxQuota))
	case u.HomeMDB == "" && u.Mailbox != 0:
		return fault.New(fault.Invalid, "a mailbox needs a mailbox database")
	}
	if u.Address == "" && u.Mailbox == 0 && len(u.Addresses) == 0 {
		o.attrs.set("mail")
	} else if err := o.putAddresses(u.Address, u.Addresses); err != nil {
		return err
	}
	if u.UPN != "" {
		upn, err := directory.CleanAddress(u.UPN)
		if err != nil {
			return err
		}
		u.UPN = upn
	}
	o.attrs.set("userPrincipalName", u.UPN)
	o.attrs.set("msExchHideFromAddressLists", when(u.Hidden, "TRUE"))
	// KiB, rounded up: a quota is never smaller than was asked for.
	o.attrs.set("mDBOverHardQuotaLimit", when(u.Quota > 0, strconv.FormatInt((u.Quota+1023)>>10, 10)))
	o.attrs.set("mDBUseDefaults", when(u.Quota > 0, "FALSE"))
	if err := o.putResource(u); err != nil {
		return err
	}
	var roles []string
	for name, r := range roleNames {
		if u.Roles&r != 0 {
			roles = append(roles, name)
		}
	}
	slices.Sort(roles)
	o.attrs.set("waypostRoles", roles...)
	o.setEnabledBit(u.Enabled)
	if o.naming != "cn" {
		return nil // what is named by uid keeps its name and its cn
	}
	if o.rdn == "" || directory.Fold(o.rdn) != directory.Fold(u.Name) && !strings.HasPrefix(o.rdn, u.Name+" (") {
		o.rdn = u.Name
	}
	o.attrs.set("cn", o.rdn)
	return nil
}

// setEnabledBit repeats the account's state in userAccountControl (MS-ADTS
// 2.2.16: ADS_UF_NORMAL_ACCOUNT, ADS_UF_ACCOUNTDISABLE) and keeps other bits.
func (o *object) setEnabledBit(enabled bool) {
	control, err := strconv.Atoi(o.attrs.get("userAccountControl"))
	if err != nil {
		control = controlNormal
	}
	control &^= controlDisabled
	if !enabled {
		control |= controlDisabled
	}
	o.attrs.set("userAccountControl", strconv.Itoa(control))
}

// Bits of userAccountControl that mean something here (MS-ADTS 2.2.16).
const (
	controlDisabled = 0x2
	controlNormal   = 0x200
	controlMachine  = 0x1000
	controlServer   = 0x2000
)

func when(yes bool, s string) string {
	if yes {
		return s
	}
	return ""
}

// putAddresses writes proxyAddresses, mail and mailNickname. Addresses of other
// kinds (X500 and so on) stay.
func (o *object) putAddresses(primary string, all []string) error {
	primary, err := directory.CleanAddress(primary)
	if err != nil {
		return err
	}
	if len(all) > maxAddresses {
		return fault.New(fault.Limit, "at most %d addresses", maxAddresses)
	}
	proxies := []string{"SMTP:" + primary}
	seen := map[string]bool{directory.Fold(primary): true}
	for _, a := range all {
		if a, err = directory.CleanAddress(a); err != nil {
			return err
		}
		if key := directory.Fold(a); !seen[key] {
			seen[key] = true
			proxies = append(proxies, "smtp:"+a)
		}
	}
	for _, p := range o.attrs["proxyAddresses"] {
		if kind, _, _ := strings.Cut(p, ":"); !strings.EqualFold(kind, "smtp") {
			proxies = append(proxies, p)
		}
	}
	o.attrs.set("proxyAddresses", proxies...)
	o.attrs.set("mail", primary)
	local, _, _ := directory.SplitAddress(primary)
	o.attrs.set("mailNickname", local)
	return nil
}

// place gives the container for an object whose primary address is address: it
// lives in the domain of that address. The SID of the domain comes along.
func (w *writing) place(ctx context.Context, address, path string) (at directory.ObjectID, sid []byte, err error) {
	_, domain, err := directory.SplitAddress(address)
	if err != nil {
		return 0, nil, err
	}
	d, err := w.domainNamed(ctx, domain)
	if err != nil {
		return 0, nil, err
	}
	at, err = w.container(ctx, d.id, path)
	return at, d.sid, err
}

// checkDomains refuses secondary addresses in domains that are not ours.
func (w *writing) checkDomains(ctx context.Context, addresses []string) error {
	checked := map[string]bool{}
	for _, a := range addresses {
		_, domain, err := directory.SplitAddress(a)
		if err != nil {
			return err
		}
		if !checked[domain] {
			checked[domain] = true
			if _, err := w.domainNamed(ctx, domain); err != nil {
				return err
			}
		}
	}
	return nil
}

// AddUser implements directory.Directory. Without an Account one is made from
// the address; without a UPN it is the address; without a HomeMDB, "default".
func (s *Store) AddUser(ctx context.Context, as directory.Principal, n directory.NewUser) (u directory.User, err error) {
	defer fault.Wrap(&err, "add user %s", n.Address)
	if err := s.may(ctx, as, change); err != nil {
		return u, err
	}
	hash, err := s.prepare(ctx, as, &n)
	if err != nil {
		return u, err
	}
	err = s.write(ctx, actor{as: as, op: "add user"}, func(ctx context.Context, w *writing) error {
		u, err = w.addUser(ctx, n.User, hash)
		return err
	})
	return u, err
}

// prepare checks what needs no database, fills in defaults and does the slow
// work before the counter row is taken.
func (s *Store) prepare(ctx context.Context, as directory.Principal, n *directory.NewUser) (hash string, err error) {
	u := &n.User
	if u.Kind == 0 {
		u.Kind = directory.KindUser
	}
	if u.Kind != directory.KindUser && !u.Kind.Resource() {
		return "", fault.New(fault.Invalid, "a user or a room, not a %s", u.Kind)
	}
	if u.Kind.Resource() && n.Password != "" {
		return "", fault.New(fault.Invalid, "nobody signs in to a room")
	}
	if u.Address, err = directory.CleanAddress(u.Address); err != nil {
		return "", err
	}
	if u.Roles &^= directory.RoleSystem; u.Kind.Resource() && u.Roles != 0 {
		return "", fault.New(fault.Invalid, "a room has no roles")
	}
	local, _, _ := directory.SplitAddress(u.Address)
	if u.Name == "" {
		u.Name = local
	}
	if u.UPN == "" && u.Kind == directory.KindUser {
		u.UPN = u.Address
	}
	if u.HomeMDB == "" {
		u.HomeMDB = defaultMDB
	}
	if n.Password == "" {
		return "", nil
	}
	if err := s.judgeNew(ctx, as, n); err != nil {
		return "", err
	}
	return s.hash(ctx, n.Password, "")
}

func (w *writing) addUser(ctx context.Context, u directory.User, hash string) (directory.User, error) {
	var err error
	o := &object{id: w.newObject(), guid: newGUID(), class: classUser, naming: "cn", attrs: attributes{}, mailbox: w.newMailbox()}
	u.Mailbox = o.mailbox
	if u.Kind == directory.KindUser {
		o.account = &account{epoch: 1, enabled: true}
	}
	u.Enabled = o.account != nil
	if u.Account == "" {
		local, _, _ := directory.SplitAddress(u.Address)
		if u.Account, err = w.freeAccount(ctx, local); err != nil {
			return u, err
		}
	}
	if err := o.put(&u); err != nil {
		return u, err
	}
	var sid []byte
	if o.parent, sid, err = w.place(ctx, u.Address, u.OU); err != nil {
		return u, err
	}
	o.sid = ownSID(sid, o.id)
	if err := w.setHome(ctx, o, u.HomeMDB); err != nil {
		return u, err
	}
	if err := w.checkDomains(ctx, smtpAddresses(o.attrs)); err != nil {
		return u, err
	}
	if hash != "" {
		o.attrs.set("pwdLastSet", fileTime(time.Now()))
	}
	err = w.save(ctx, o, true, func(b *pgx.Batch) {
		if o.account != nil {
			b.Queue(`INSERT INTO directory.account (object, hash, epoch) VALUES ($1, $2, $3)`, o.id, hash, o.account.epoch)
		}
	})
	if err != nil {
		return u, err
	}
	return o.user(w.schema, u.OU)
}

// checkPassword keeps passwords within what every door can carry.
func checkPassword(p string) error {
	switch {
	case len(p) > maxPassword:
		return fault.New(fault.TooLarge, "a password has at most %d bytes", maxPassword)
	case p == "":
		return fault.New(fault.Invalid, "a password cannot be empty")
	case strings.IndexByte(p, 0) >= 0:
		return fault.New(fault.Invalid, "a password cannot have NUL in it") // RFC 4616 §2
	}
	return nil
}

// maxPassword bounds a password in bytes.
const maxPassword = 512

// UpdateUser implements directory.Directory. Taking away an address, a UPN or
// an account name, changing roles or disabling begins another epoch. An object
// lives in the domain of its primary address.
func (s *Store) UpdateUser(ctx context.Context, as directory.Principal, id directory.ObjectID, fn func(*directory.User) error) (u directory.User, err error) {
	defer fault.Wrap(&err, "update user %d", id)
	if err := s.may(ctx, as, change); err != nil {
		return u, err
	}
	err = s.write(ctx, actor{as: as, op: "change user"}, func(ctx context.Context, w *writing) error {
		u, err = w.updateUser(ctx, id, fn)
		return err
	})
	return u, err
}

func (w *writing) updateUser(ctx context.Context, id directory.ObjectID, fn func(*directory.User) error) (none directory.User, err error) {
	o, err := w.readUser(ctx, id)
	if err != nil {
		return none, err
	}
	path, err := w.path(ctx, o)
	if err != nil {
		return none, err
	}
	old, err := o.user(w.schema, path)
	if err != nil {
		return none, err
	}
	u := old
	u.Addresses = slices.Clone(old.Addresses)
	if err := fn(&u); err != nil {
		return none, err
	}
	u.Roles &^= directory.RoleSystem
	if u.Kind != old.Kind {
		return none, fault.New(fault.Invalid, "a %s cannot become a %s", old.Kind, u.Kind)
	}
	if o.account == nil && (u.Enabled || u.Roles != 0) {
		return none, fault.New(fault.Invalid, "nobody signs in to a room")
	}
	if err := o.put(&u); err != nil {
		return none, err
	}
	if u.Address != "" && (u.Address != old.Address || u.OU != old.OU) {
		// Where it is stays when only the address changes inside its domain: LDAP
		// may have put it into a container that is no organisational unit.
		if u.OU != old.OU || !sameDomain(u.Address, old.Address) {
			var sid []byte
			if o.parent, sid, err = w.place(ctx, u.Address, u.OU); err != nil {
				return none, err
			}
			o.changeSID(ownSID(sid, o.id))
		}
	}
	if u.HomeMDB != o.homeMDB {
		if err := w.setHome(ctx, o, u.HomeMDB); err != nil {
			return none, err
		}
		if o.homeMDB != "" && o.mailbox == 0 {
			o.mailbox = w.newMailbox()
		}
	}
	var added []string
	for _, a := range smtpAddresses(o.attrs) {
		if !slices.Contains(old.Addresses, a) {
			added = append(added, a)
		}
	}
	if err := w.checkDomains(ctx, added); err != nil {
		return none, err
	}
	d, err := o.derive(w.schema)
	if err != nil {
		return none, err
	}
	if o.account != nil {
		lost := slices.ContainsFunc(o.keys, func(k nameKey) bool { return k.kind <= nameAccount && !slices.Contains(d.keys, k) })
		if lost || u.Enabled != old.Enabled || u.Roles != old.Roles {
			if err := w.newEpoch(ctx, o, u.Enabled); err != nil {
				return none, err
			}
		}
	}
	if err := w.save(ctx, o, false); err != nil {
		return none, err
	}
	return o.user(w.schema, u.OU)
}

func sameDomain(a, b string) bool {
	_, da, _ := directory.SplitAddress(a)
	_, db, _ := directory.SplitAddress(b)
	return da == db
}

// changeSID gives o another SID; the one before stays in sIDHistory, so that
// what other systems granted to it still counts.
func (o *object) changeSID(sid []byte) {
	if len(sid) == 0 || string(sid) == string(o.sid) {
		return
	}
	if len(o.sid) > 0 {
		o.attrs.set("sIDHistory", append(o.attrs["sIDHistory"], base64.StdEncoding.EncodeToString(o.sid))...)
	}
	o.sid = sid
}

// newEpoch voids what was granted to o's account so far.
func (w *writing) newEpoch(ctx context.Context, o *object, enabled bool) error {
	o.account.enabled = enabled
	err := w.QueryRow(ctx, `UPDATE directory.account SET epoch = epoch + 1, enabled = $2 WHERE object = $1 RETURNING epoch`,
		o.id, enabled).Scan(&o.account.epoch)
	if err != nil || w.by.as.Session == 0 || w.by.as.ID != o.id {
		return err
	}
	// The session from which its owner changes the account goes along.
	_, err = w.Exec(ctx, `UPDATE directory.session SET epoch = $2 WHERE id = $1 AND object = $3`, w.by.as.Session, o.account.epoch, o.id)
	return err
}

// readUser gives a user or room.
func (w *writing) readUser(ctx context.Context, id directory.ObjectID) (*object, error) {
	o, err := w.read(ctx, id)
	if err == nil && familyOf(w.schema, o.class) != person {
		return nil, fault.New(fault.NotFound, "no such user")
	}
	return o, err
}

// path gives the organisational units above o.
func (w *writing) path(ctx context.Context, o *object) (string, error) {
	rows, err := w.Query(ctx, `
		WITH RECURSIVE up (parent, rdn, class, depth) AS (
			SELECT parent, rdn, class, 0 FROM directory.object WHERE id = $1
			UNION ALL SELECT p.parent, p.rdn, p.class, depth + 1 FROM up, LATERAL (SELECT * FROM directory.object WHERE id = up.parent LIMIT 1) p WHERE up.class = $2)
		SELECT rdn FROM up WHERE class = $2 ORDER BY depth DESC`, o.parent, classOU)
	if err != nil {
		return "", err
	}
	steps, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return strings.Join(steps, "/"), err
}

// RenameUser implements directory.Directory.
func (s *Store) RenameUser(ctx context.Context, as directory.Principal, id directory.ObjectID, address string) (u directory.User, err error) {
	defer fault.Wrap(&err, "rename user %d", id)
	if err := s.may(ctx, as, change); err != nil {
		return u, err
	}
	if address, err = directory.CleanAddress(address); err != nil {
		return u, err
	}
	err = s.write(ctx, actor{as: as, op: "rename user"}, func(ctx context.Context, w *writing) error {
		u, err = w.updateUser(ctx, id, func(u *directory.User) error {
			// Who signed in with the address signs in with the new one; the old
			// one still works as one of the addresses.
			if directory.Fold(u.UPN) == directory.Fold(u.Address) {
				u.UPN = address
			}
			u.Address = address
			return nil
		})
		return err
	})
	return u, err
}

// SetEnabled implements directory.Directory. Mail for a disabled user is still
// taken; nobody signs in to it.
func (s *Store) SetEnabled(ctx context.Context, as directory.Principal, id directory.ObjectID, enabled bool) (err error) {
	_, err = s.UpdateUser(ctx, as, id, func(u *directory.User) error {
		u.Enabled = enabled
		return nil
	})
	return err
}

// SetPassword implements directory.Directory. People may set their own.
func (s *Store) SetPassword(ctx context.Context, as directory.Principal, id directory.ObjectID, password string) (err error) {
	defer fault.Wrap(&err, "set the password of user %d", id)
	need := change
	if as.ID == id && id != 0 {
		need = seeList
	}
	if err := s.may(ctx, as, need); err != nil {
		return err
	}
	c, err := s.secretOf(ctx, id)
	if err != nil {
		return err
	}
	pw, err := s.newSecret(ctx, as, id, c, password, need == seeList)
	if err != nil {
		return err
	}
	return s.write(ctx, actor{as: as, op: "set password"}, func(ctx context.Context, w *writing) error {
		_, err := w.replacePassword(ctx, id, pw)
		return err
	})
}

// RemoveUser implements directory.Directory. Its addresses are free at once;
// its ids are never used again.
func (s *Store) RemoveUser(ctx context.Context, as directory.Principal, id directory.ObjectID) (err error) {
	defer fault.Wrap(&err, "remove user %d", id)
	if err := s.may(ctx, as, change); err != nil {
		return err
	}
	return s.write(ctx, actor{as: as, op: "remove user"}, func(ctx context.Context, w *writing) error {
		o, err := w.readUser(ctx, id)
		if fault.Of(err) == fault.NotFound {
			return fault.New(fault.NotFound, "no such user")
		}
		if err != nil {
			return err
		}
		return w.bury(ctx, o)
	})
}
