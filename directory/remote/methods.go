package remote

import (
	"bytes"
	"context"
	"encoding/json"

	"waypost/directory"
	"waypost/internal/fault"
)

// method is one row of the table: what a peer needs to call it and how it runs.
type method struct {
	needs Rights
	run   func(ctx context.Context, d directory.Directory, body []byte, have Rights) (any, error)
}

// actor is implemented by arguments that name who acts.
type actor interface{ actor() directory.Principal }

func (a idArgs) actor() directory.Principal       { return a.As }
func (a addressArgs) actor() directory.Principal  { return a.As }
func (a pageArgs) actor() directory.Principal     { return a.As }
func (a peopleArgs) actor() directory.Principal   { return a.As }
func (a nameArgs) actor() directory.Principal     { return a.As }
func (a addUserArgs) actor() directory.Principal  { return a.As }
func (a updateArgs) actor() directory.Principal   { return a.As }
func (a passwordArgs) actor() directory.Principal { return a.As }
func (a enabledArgs) actor() directory.Principal  { return a.As }
func (a renameArgs) actor() directory.Principal   { return a.As }
func (a membersArgs) actor() directory.Principal  { return a.As }

// on makes a row of the table. A change as the product itself needs Own.
func on[In, Out any](needs Rights, run func(context.Context, directory.Directory, In) (Out, error)) method {
	return method{needs: needs, run: func(ctx context.Context, d directory.Directory, body []byte, have Rights) (any, error) {
		var in In
		if err := unmarshal(body, &in); err != nil {
			return nil, err
		}
		if a, ok := any(in).(actor); ok && needs == Change && have&Own == 0 && a.actor().Is(directory.RoleSystem) {
			return nil, errPeer
		}
		return run(ctx, d, in)
	}}
}

// do is on for methods that answer nothing.
func do[In any](needs Rights, run func(context.Context, directory.Directory, In) error) method {
	return on(needs, func(ctx context.Context, d directory.Directory, in In) (nothing, error) {
		return nothing{}, run(ctx, d, in)
	})
}

func (a signInArgs) credentials() directory.Credentials {
	return directory.Credentials{Login: string(a.Login), Password: string(a.Password), From: a.From, Door: a.Door, Factor: a.Factor}
}

func unmarshal(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fault.From(fault.Invalid, err, "the request makes no sense")
	}
	return nil
}

// methods are all but Follow, which streams.
var methods = map[string]method{
	"Resolve": on(Look, func(ctx context.Context, d directory.Directory, in addressArgs) (directory.Resolution, error) {
		return d.Resolve(ctx, in.Address)
	}),
	"Expand": on(Look, func(ctx context.Context, d directory.Directory, in pageArgs) ([]directory.Target, error) {
		return d.Expand(ctx, in.ID, in.Page)
	}),
	"MaySendAs": on(Look, func(ctx context.Context, d directory.Directory, in addressArgs) (bool, error) {
		return d.MaySendAs(ctx, in.As, in.Address)
	}),
	"Approvers": on(Look, func(ctx context.Context, d directory.Directory, in sendToArgs) ([]directory.Target, error) {
		return d.MaySendTo(ctx, in.From, in.Group)
	}),
	// What a program asks that cannot let a message wait for approval.
	"MaySendTo": do(Look, func(ctx context.Context, d directory.Directory, in sendToArgs) error {
		approvers, err := d.MaySendTo(ctx, in.From, in.Group)
		if err == nil && len(approvers) > 0 {
			err = directory.ErrModerated
		}
		return err
	}),
	"SignIn": on(Look, func(ctx context.Context, d directory.Directory, in signInArgs) (directory.Session, error) {
		return d.SignIn(ctx, in.credentials())
	}),
	"RenewPassword": on(Change, func(ctx context.Context, d directory.Directory, in renewArgs) (directory.Session, error) {
		return d.RenewPassword(ctx, in.Credentials.credentials(), string(in.Password))
	}),
	"Keys": on(Look, func(ctx context.Context, d directory.Directory, _ nothing) ([]directory.Key, error) {
		return d.Keys(ctx)
	}),
	"User": on(Look, func(ctx context.Context, d directory.Directory, in idArgs) (directory.User, error) {
		return d.User(ctx, in.As, in.ID)
	}),

	"UserByAddress": on(Read, func(ctx context.Context, d directory.Directory, in addressArgs) (directory.User, error) {
		return d.UserByAddress(ctx, in.As, in.Address)
	}),
	"People": on(Read, func(ctx context.Context, d directory.Directory, in peopleArgs) (p people, err error) {
		p.Hits, p.Total, err = d.People(ctx, in.As, in.Query)
		return p, err
	}),
	"Photo": on(Read, func(ctx context.Context, d directory.Directory, in idArgs) ([]byte, error) {
		return d.Photo(ctx, in.As, in.ID)
	}),
	"Delegates": on(Read, func(ctx context.Context, d directory.Directory, in idArgs) ([]directory.Target, error) {
		return d.Delegates(ctx, in.As, in.ID)
	}),
	"MemberOf": on(Read, func(ctx context.Context, d directory.Directory, in idArgs) ([]directory.ObjectID, error) {
		return d.MemberOf(ctx, in.As, in.ID)
	}),
	"AddressLists": on(Read, func(ctx context.Context, d directory.Directory, in idArgs) ([]directory.AddressList, error) {
		return d.AddressLists(ctx, in.As)
	}),
	"Group": on(Read, func(ctx context.Context, d directory.Directory, in addressArgs) (directory.Group, error) {
		return d.Group(ctx, in.As, in.Address)
	}),
	"Groups": on(Read, func(ctx context.Context, d directory.Directory, in pageArgs) ([]directory.Group, error) {
		return d.Groups(ctx, in.As, in.Page)
	}),
	"Users": on(Read, func(ctx context.Context, d directory.Directory, in pageArgs) ([]directory.User, error) {
		return d.Users(ctx, in.As, in.Page)
	}),
	"Domains": on(Read, func(ctx context.Context, d directory.Directory, in idArgs) ([]directory.Domain, error) {
		return d.Domains(ctx, in.As)
	}),

	"AddDomain": on(Change, func(ctx context.Context, d directory.Directory, in nameArgs) (directory.Domain, error) {
		return d.AddDomain(ctx, in.As, in.Name)
	}),
	"RemoveDomain": do(Change, func(ctx context.Context, d directory.Directory, in nameArgs) error {
		return d.RemoveDomain(ctx, in.As, in.Name)
	}),
	"AddUser": on(Change, func(ctx context.Context, d directory.Directory, in addUserArgs) (directory.User, error) {
		return d.AddUser(ctx, in.As, directory.NewUser{User: in.User, Password: string(in.Password)})
	}),
	"UpdateUser": on(Change, func(ctx context.Context, d directory.Directory, in updateArgs) (directory.User, error) {
		return d.UpdateUser(ctx, in.As, in.ID, func(u *directory.User) error {
			if u.Changed != in.Was {
				return fault.New(fault.Conflict, "somebody else changed it first")
			}
			*u = in.User
			return nil
		})
	}),
	"SetPassword": do(Change, func(ctx context.Context, d directory.Directory, in passwordArgs) error {
		return d.SetPassword(ctx, in.As, in.ID, string(in.Password))
	}),
	"SetEnabled": do(Change, func(ctx context.Context, d directory.Directory, in enabledArgs) error {
		return d.SetEnabled(ctx, in.As, in.ID, in.Enabled)
	}),
	"RenameUser": on(Change, func(ctx context.Context, d directory.Directory, in renameArgs) (directory.User, error) {
		return d.RenameUser(ctx, in.As, in.ID, in.Address)
	}),
	"RemoveUser": do(Change, func(ctx context.Context, d directory.Directory, in idArgs) error {
		return d.RemoveUser(ctx, in.As, in.ID)
	}),
	"AddGroup": on(Change, func(ctx context.Context, d directory.Directory, in nameArgs) (directory.Group, error) {
		return d.AddGroup(ctx, in.As, in.Address, in.Name)
	}),
	"RemoveGroup": do(Change, func(ctx context.Context, d directory.Directory, in idArgs) error {
		return d.RemoveGroup(ctx, in.As, in.ID)
	}),
	"SetMembers": do(Change, func(ctx context.Context, d directory.Directory, in membersArgs) error {
		return d.SetMembers(ctx, in.As, in.ID, in.Add, in.Remove)
	}),
}
