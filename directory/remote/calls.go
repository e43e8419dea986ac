package remote

import (
	"context"
	"math/rand/v2"
	"time"
	"unicode/utf8"

	"waypost/directory"
	"waypost/internal/fault"
)

// ask is one call whose result is a value.
func ask[Out any](ctx context.Context, c *Client, method string, may repeat, in any) (out Out, err error) {
	_, err = c.call(ctx, method, may, in, &out)
	if err != nil {
		var none Out
		return none, err
	}
	return out, nil
}

// tell is one call that changes something and answers nothing.
func tell(ctx context.Context, c *Client, method string, in any) error {
	_, err := ask[nothing](ctx, c, method, never, in)
	return err
}

// Resolve implements directory.Directory, from memory where it can.
func (c *Client) Resolve(ctx context.Context, address string) (directory.Resolution, error) {
	r, age, ok := c.cache.get(address)
	if ok {
		return r, nil
	}
	if !utf8.ValidString(address) { // JSON would make another address of it
		return r, fault.New(fault.Invalid, "not a mail address")
	}
	usn, err := c.call(ctx, "Resolve", always, addressArgs{Address: address}, &r)
	if err != nil {
		return directory.Resolution{}, err
	}
	c.cache.put(address, r, usn, age)
	return r, nil
}

// Expand implements directory.Directory.
func (c *Client) Expand(ctx context.Context, group directory.ObjectID, p directory.Page) ([]directory.Target, error) {
	return ask[[]directory.Target](ctx, c, "Expand", always, pageArgs{ID: group, Page: p})
}

// User implements directory.Directory.
func (c *Client) User(ctx context.Context, as directory.Principal, id directory.ObjectID) (directory.User, error) {
	return ask[directory.User](ctx, c, "User", always, idArgs{as, id})
}

// UserByAddress implements directory.Directory.
func (c *Client) UserByAddress(ctx context.Context, as directory.Principal, address string) (directory.User, error) {
	return ask[directory.User](ctx, c, "UserByAddress", always, addressArgs{as, address})
}

// People implements directory.Directory.
func (c *Client) People(ctx context.Context, as directory.Principal, q directory.PeopleQuery) ([]directory.User, int, error) {
	p, err := ask[people](ctx, c, "People", always, peopleArgs{as, q})
	return p.Hits, p.Total, err
}

// MaySendAs implements directory.Directory.
func (c *Client) MaySendAs(ctx context.Context, as directory.Principal, address string) (bool, error) {
	return ask[bool](ctx, c, "MaySendAs", always, addressArgs{as, address})
}

// MaySendTo implements directory.Directory.
func (c *Client) MaySendTo(ctx context.Context, from directory.Sender, group directory.ObjectID) ([]directory.Target, error) {
	return ask[[]directory.Target](ctx, c, "Approvers", always, sendToArgs{from, group})
}

// Photo implements directory.Directory.
func (c *Client) Photo(ctx context.Context, as directory.Principal, id directory.ObjectID) ([]byte, error) {
	return ask[[]byte](ctx, c, "Photo", always, idArgs{as, id})
}

// Delegates implements directory.Directory.
func (c *Client) Delegates(ctx context.Context, as directory.Principal, id directory.ObjectID) ([]directory.Target, error) {
	return ask[[]directory.Target](ctx, c, "Delegates", always, idArgs{as, id})
}

// MemberOf implements directory.Directory.
func (c *Client) MemberOf(ctx context.Context, as directory.Principal, id directory.ObjectID) ([]directory.ObjectID, error) {
	return ask[[]directory.ObjectID](ctx, c, "MemberOf", always, idArgs{as, id})
}

// AddressLists implements directory.Directory.
func (c *Client) AddressLists(ctx context.Context, as directory.Principal) ([]directory.AddressList, error) {
	return ask[[]directory.AddressList](ctx, c, "AddressLists", always, idArgs{As: as})
}

// SignIn implements directory.Directory. Asking twice counts a wrong password
// twice, which is better than to fail a right one.
func (c *Client) SignIn(ctx context.Context, cr directory.Credentials) (directory.Session, error) {
	return ask[directory.Session](ctx, c, "SignIn", always, wireCredentials(cr))
}

func wireCredentials(c directory.Credentials) signInArgs {
	return signInArgs{[]byte(c.Login), []byte(c.Password), c.From, c.Door, c.Factor}
}

// RenewPassword implements directory.Directory.
func (c *Client) RenewPassword(ctx context.Context, cr directory.Credentials, password string) (directory.Session, error) {
	return ask[directory.Session](ctx, c, "RenewPassword", never, renewArgs{wireCredentials(cr), []byte(password)})
}

// Keys implements directory.Directory.
func (c *Client) Keys(ctx context.Context) ([]directory.Key, error) {
	return ask[[]directory.Key](ctx, c, "Keys", always, nothing{})
}

// AddDomain implements directory.Directory.
func (c *Client) AddDomain(ctx context.Context, as directory.Principal, name string) (directory.Domain, error) {
	return ask[directory.Domain](ctx, c, "AddDomain", never, nameArgs{As: as, Name: name})
}

// RemoveDomain implements directory.Directory.
func (c *Client) RemoveDomain(ctx context.Context, as directory.Principal, name string) error {
	return tell(ctx, c, "RemoveDomain", nameArgs{As: as, Name: name})
}

// Domains implements directory.Directory.
func (c *Client) Domains(ctx context.Context, as directory.Principal) ([]directory.Domain, error) {
	return ask[[]directory.Domain](ctx, c, "Domains", always, idArgs{As: as})
}

// AddUser implements directory.Directory.
func (c *Client) AddUser(ctx context.Context, as directory.Principal, u directory.NewUser) (directory.User, error) {
	return ask[directory.User](ctx, c, "AddUser", never, addUserArgs{as, u.User, []byte(u.Password)})
}

// Users implements directory.Directory.
func (c *Client) Users(ctx context.Context, as directory.Principal, p directory.Page) ([]directory.User, error) {
	return ask[[]directory.User](ctx, c, "Users", always, pageArgs{As: as, Page: p})
}

// updates bounds how often a change is tried against others.
const updates = 100

// UpdateUser implements directory.Directory: it reads the user, runs fn here and
// writes the outcome if nobody changed the user in between; otherwise again.
func (c *Client) UpdateUser(ctx context.Context, as directory.Principal, id directory.ObjectID, fn func(*directory.User) error) (directory.User, error) {
	for try := 1; ; try++ {
		u, err := c.User(ctx, as, id)
		if err != nil {
			return directory.User{}, err
		}
		was := u.Changed
		if err := fn(&u); err != nil {
			return directory.User{}, err
		}
		u, err = ask[directory.User](ctx, c, "UpdateUser", never, updateArgs{as, id, was, u})
		if err == nil || fault.Of(err) != fault.Conflict || try >= updates {
			return u, err
		}
		select {
		case <-ctx.Done():
			return directory.User{}, ctx.Err()
		case <-time.After(time.Duration(rand.IntN(10*min(try, 20))) * time.Millisecond):
		}
	}
}

// SetPassword implements directory.Directory.
func (c *Client) SetPassword(ctx context.Context, as directory.Principal, id directory.ObjectID, password string) error {
	return tell(ctx, c, "SetPassword", passwordArgs{as, id, []byte(password)})
}

// SetEnabled implements directory.Directory.
func (c *Client) SetEnabled(ctx context.Context, as directory.Principal, id directory.ObjectID, enabled bool) error {
	return tell(ctx, c, "SetEnabled", enabledArgs{as, id, enabled})
}

// RenameUser implements directory.Directory.
func (c *Client) RenameUser(ctx context.Context, as directory.Principal, id directory.ObjectID, address string) (directory.User, error) {
	return ask[directory.User](ctx, c, "RenameUser", never, renameArgs{as, id, address})
}

// RemoveUser implements directory.Directory.
func (c *Client) RemoveUser(ctx context.Context, as directory.Principal, id directory.ObjectID) error {
	return tell(ctx, c, "RemoveUser", idArgs{as, id})
}

// AddGroup implements directory.Directory.
func (c *Client) AddGroup(ctx context.Context, as directory.Principal, address, name string) (directory.Group, error) {
	return ask[directory.Group](ctx, c, "AddGroup", never, nameArgs{as, address, name})
}

// RemoveGroup implements directory.Directory.
func (c *Client) RemoveGroup(ctx context.Context, as directory.Principal, id directory.ObjectID) error {
	return tell(ctx, c, "RemoveGroup", idArgs{as, id})
}

// Group implements directory.Directory.
func (c *Client) Group(ctx context.Context, as directory.Principal, address string) (directory.Group, error) {
	return ask[directory.Group](ctx, c, "Group", always, addressArgs{as, address})
}

// Groups implements directory.Directory.
func (c *Client) Groups(ctx context.Context, as directory.Principal, p directory.Page) ([]directory.Group, error) {
	return ask[[]directory.Group](ctx, c, "Groups", always, pageArgs{As: as, Page: p})
}

// SetMembers implements directory.Directory.
func (c *Client) SetMembers(ctx context.Context, as directory.Principal, id directory.ObjectID, add, remove []string) error {
	return tell(ctx, c, "SetMembers", membersArgs{as, id, add, remove})
}
