package postgres

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
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
	{"homeMDB", func(u *directory.User) *string { return &u.HomeMDB }},
	{"sAMAccountName", func(u *directory.User) *string { return &u.Account }},
}

// user gives o as a User; path is its OU.
func (o *object) user(path string) (directory.User, error) {
	d, err := o.derive()
	if err != nil {
		return directory.User{}, err
	}
	u := directory.User{
		ID: o.id, GUID: o.guid, Kind: d.kind, Address: d.address, Addresses: smtpAddresses(o.attrs),
		UPN: o.attrs.get("userPrincipalName"), OU: path, Mailbox: o.mailbox,
		Quota: d.quota, Hidden: d.hidden, Roles: d.roles, Created: o.created, Changed: o.usn,
	}
	if o.account != nil {
		u.Enabled, u.Epoch = o.account.enabled, o.account.epoch
	}
	for _, t := range texts {
		*t.field(&u) = o.attrs.get(t.attribute)
	}
	return u, nil
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
	case u.HomeMDB == "":
		return fault.New(fault.Invalid, "a mailbox needs a mailbox database")
	}
	if err := o.putAddresses(u.Address, u.Addresses); err != nil {
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
	o.attrs.set("msExchResourceMetaData", when(u.Kind == directory.KindRoom, "ResourceType:Room"))
	var roles []string
	for name, r := range roleNames {
		if u.Roles&r != 0 {
			roles = append(roles, name)
		}
	}
	slices.Sort(roles)
	o.attrs.set("waypostRoles", roles...)
	// userAccountControl (AD: NORMAL_ACCOUNT, ACCOUNTDISABLE) repeats the account's state.
	control := 512
	if !u.Enabled {
		control |= 2
	}
	o.attrs.set("userAccountControl", strconv.Itoa(control))
	if o.rdn == "" || directory.Fold(o.rdn) != directory.Fold(u.Name) && !strings.HasPrefix(o.rdn, u.Name+" (") {
		o.rdn = u.Name
	}
	o.attrs.set("cn", o.rdn)
	return nil
}

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

// place gives the container for an object whose primary address is address:
// it lives in the domain of that address.
func (w *writing) place(ctx context.Context, address, path string) (directory.ObjectID, error) {
	_, domain, err := directory.SplitAddress(address)
	if err != nil {
		return 0, err
	}
	id, err := w.domain(ctx, domain)
	if err != nil {
		return 0, err
	}
	return w.container(ctx, id, path)
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
			if _, err := w.domain(ctx, domain); err != nil {
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
	hash, err := s.prepare(ctx, &n)
	if err != nil {
		return u, err
	}
	err = s.write(ctx, func(ctx context.Context, w *writing) error {
		u, err = w.addUser(ctx, n.User, hash)
		return err
	})
	return u, err
}

// prepare checks what needs no database, fills in defaults and does the slow
// work before the counter row is taken.
func (s *Store) prepare(ctx context.Context, n *directory.NewUser) (hash string, err error) {
	u := &n.User
	if u.Kind == 0 {
		u.Kind = directory.KindUser
	}
	if u.Kind != directory.KindUser && u.Kind != directory.KindRoom {
		return "", fault.New(fault.Invalid, "a user or a room, not a %s", u.Kind)
	}
	if u.Kind == directory.KindRoom && n.Password != "" {
		return "", fault.New(fault.Invalid, "nobody signs in to a room")
	}
	if u.Address, err = directory.CleanAddress(u.Address); err != nil {
		return "", err
	}
	if u.Roles &^= directory.RoleSystem; u.Kind == directory.KindRoom && u.Roles != 0 {
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
	if err := checkPassword(n.Password); err != nil {
		return "", err
	}
	return s.hash(ctx, n.Password, "")
}

func (w *writing) addUser(ctx context.Context, u directory.User, hash string) (directory.User, error) {
	var err error
	o := &object{id: w.newObject(), guid: newGUID(), class: classUser, attrs: attributes{}, mailbox: w.newMailbox()}
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
	if o.parent, err = w.place(ctx, u.Address, u.OU); err != nil {
		return u, err
	}
	if err := w.checkDomains(ctx, smtpAddresses(o.attrs)); err != nil {
		return u, err
	}
	err = w.save(ctx, o, true, func(b *pgx.Batch) {
		if o.account != nil {
			b.Queue(`INSERT INTO directory.account (object, hash, epoch) VALUES ($1, $2, $3)`, o.id, hash, o.account.epoch)
		}
	})
	if err != nil {
		return u, err
	}
	return o.user(u.OU)
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
	err = s.write(ctx, func(ctx context.Context, w *writing) error {
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
	old, err := o.user(path)
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
	if u.Address != old.Address || u.OU != old.OU {
		if o.parent, err = w.place(ctx, u.Address, u.OU); err != nil {
			return none, err
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
	d, err := o.derive()
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
	return o.user(u.OU)
}

// newEpoch voids what was granted to o's account so far.
func (w *writing) newEpoch(ctx context.Context, o *object, enabled bool) error {
	o.account.enabled = enabled
	return w.QueryRow(ctx, `UPDATE directory.account SET epoch = epoch + 1, enabled = $2 WHERE object = $1 RETURNING epoch`,
		o.id, enabled).Scan(&o.account.epoch)
}

// readUser gives a user or room.
func (w *writing) readUser(ctx context.Context, id directory.ObjectID) (*object, error) {
	o, err := w.read(ctx, id)
	if err == nil && o.class != classUser {
		return nil, fault.New(fault.NotFound, "no such user")
	}
	return o, err
}

// path gives the organisational units above o.
func (w *writing) path(ctx context.Context, o *object) (string, error) {
	rows, err := w.Query(ctx, `
		WITH RECURSIVE up (parent, rdn, class, depth) AS (
			SELECT parent, rdn, class, 0 FROM directory.object WHERE id = $1
			UNION ALL SELECT p.parent, p.rdn, p.class, depth + 1 FROM directory.object p JOIN up ON p.id = up.parent WHERE up.class = $2)
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
	err = s.write(ctx, func(ctx context.Context, w *writing) error {
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
	if err := checkPassword(password); err != nil {
		return err
	}
	var like string
	err = s.db.QueryRow(ctx, `SELECT hash FROM directory.account WHERE object = $1`, id).Scan(&like)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	hash, err := s.hash(ctx, password, like)
	if err != nil {
		return err
	}
	return s.write(ctx, func(ctx context.Context, w *writing) error {
		o, err := w.readUser(ctx, id)
		if err != nil {
			return err
		}
		if o.account == nil {
			return fault.New(fault.Invalid, "nobody signs in to a room")
		}
		err = w.QueryRow(ctx, `
			UPDATE directory.account SET hash = $2, epoch = epoch + 1, set_at = now(),
				former = CASE WHEN hash = '' THEN former ELSE (ARRAY[hash] || former)[1:2] END
			WHERE object = $1 RETURNING epoch`, id, hash).Scan(&o.account.epoch)
		if err != nil {
			return err
		}
		return w.save(ctx, o, false)
	})
}

// RemoveUser implements directory.Directory. Its addresses are free at once;
// its ids are never used again.
func (s *Store) RemoveUser(ctx context.Context, as directory.Principal, id directory.ObjectID) (err error) {
	defer fault.Wrap(&err, "remove user %d", id)
	if err := s.may(ctx, as, change); err != nil {
		return err
	}
	return s.write(ctx, func(ctx context.Context, w *writing) error {
		var kind directory.Kind
		err := w.QueryRow(ctx, `SELECT kind FROM directory.object WHERE id = $1 AND class = $2`, id, classUser).Scan(&kind)
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.New(fault.NotFound, "no such user")
		}
		if err != nil {
			return err
		}
		return w.remove(ctx, id, kind)
	})
}
