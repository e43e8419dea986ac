package remote

import (
	"context"
	"time"

	"waypost/directory"
)

// The arguments and results of directory.Accounts.
type (
	policyArgs struct {
		As     directory.Principal
		Policy directory.Policy
	}
	mustArgs struct {
		As   directory.Principal
		ID   directory.ObjectID
		Must bool
	}
	expiresArgs struct {
		As directory.Principal
		ID directory.ObjectID
		At time.Time
	}
	namedArgs struct {
		As   directory.Principal
		ID   directory.ObjectID
		Name string
	}
	auditArgs struct {
		As    directory.Principal
		Query directory.AuditQuery
	}
	newApp struct {
		App    directory.AppPassword
		Secret string
	}
)

func (a policyArgs) actor() directory.Principal  { return a.As }
func (a mustArgs) actor() directory.Principal    { return a.As }
func (a expiresArgs) actor() directory.Principal { return a.As }
func (a namedArgs) actor() directory.Principal   { return a.As }
func (a auditArgs) actor() directory.Principal   { return a.As }

// accountMethods are those of directory.Accounts. What tells how an account may
// be signed in to needs as much as what changes it.
var accountMethods = map[string]method{
	"Policies": on(Read, func(ctx context.Context, d directory.Directory, in idArgs) ([]directory.Policy, error) {
		return d.Policies(ctx, in.As)
	}),
	"SetPolicy": on(Change, func(ctx context.Context, d directory.Directory, in policyArgs) (directory.Policy, error) {
		return d.SetPolicy(ctx, in.As, in.Policy)
	}),
	"RemovePolicy": do(Change, func(ctx context.Context, d directory.Directory, in namedArgs) error {
		return d.RemovePolicy(ctx, in.As, in.Name)
	}),
	"AccountState": on(Change, func(ctx context.Context, d directory.Directory, in idArgs) (directory.AccountState, error) {
		return d.AccountState(ctx, in.As, in.ID)
	}),
	"SetMustChange": do(Change, func(ctx context.Context, d directory.Directory, in mustArgs) error {
		return d.SetMustChange(ctx, in.As, in.ID, in.Must)
	}),
	"SetExpires": do(Change, func(ctx context.Context, d directory.Directory, in expiresArgs) error {
		return d.SetExpires(ctx, in.As, in.ID, in.At)
	}),
	"Unlock": do(Change, func(ctx context.Context, d directory.Directory, in idArgs) error {
		return d.Unlock(ctx, in.As, in.ID)
	}),
	"AppPasswords": on(Change, func(ctx context.Context, d directory.Directory, in idArgs) ([]directory.AppPassword, error) {
		return d.AppPasswords(ctx, in.As, in.ID)
	}),
	"AddAppPassword": on(Change, func(ctx context.Context, d directory.Directory, in namedArgs) (out newApp, err error) {
		out.App, out.Secret, err = d.AddAppPassword(ctx, in.As, in.ID, in.Name)
		return out, err
	}),
	"RemoveAppPassword": do(Change, func(ctx context.Context, d directory.Directory, in namedArgs) error {
		return d.RemoveAppPassword(ctx, in.As, in.ID, in.Name)
	}),
	"BeginFactor": on(Change, func(ctx context.Context, d directory.Directory, in idArgs) (directory.FactorKey, error) {
		return d.BeginFactor(ctx, in.As, in.ID)
	}),
	"ConfirmFactor": on(Change, func(ctx context.Context, d directory.Directory, in namedArgs) ([]string, error) {
		return d.ConfirmFactor(ctx, in.As, in.ID, in.Name)
	}),
	"RemoveFactor": do(Change, func(ctx context.Context, d directory.Directory, in idArgs) error {
		return d.RemoveFactor(ctx, in.As, in.ID)
	}),
	"Audit": on(Change, func(ctx context.Context, d directory.Directory, in auditArgs) ([]directory.AuditLine, error) {
		return d.Audit(ctx, in.As, in.Query)
	}),
}

func init() {
	for name, m := range accountMethods {
		methods[name] = m
	}
}

// Policies implements directory.Accounts.
func (c *Client) Policies(ctx context.Context, as directory.Principal) ([]directory.Policy, error) {
	return ask[[]directory.Policy](ctx, c, "Policies", always, idArgs{As: as})
}

// SetPolicy implements directory.Accounts.
func (c *Client) SetPolicy(ctx context.Context, as directory.Principal, p directory.Policy) (directory.Policy, error) {
	return ask[directory.Policy](ctx, c, "SetPolicy", never, policyArgs{as, p})
}

// RemovePolicy implements directory.Accounts.
func (c *Client) RemovePolicy(ctx context.Context, as directory.Principal, name string) error {
	return tell(ctx, c, "RemovePolicy", namedArgs{As: as, Name: name})
}

// AccountState implements directory.Accounts.
func (c *Client) AccountState(ctx context.Context, as directory.Principal, id directory.ObjectID) (directory.AccountState, error) {
	return ask[directory.AccountState](ctx, c, "AccountState", always, idArgs{as, id})
}

// SetMustChange implements directory.Accounts.
func (c *Client) SetMustChange(ctx context.Context, as directory.Principal, id directory.ObjectID, must bool) error {
	return tell(ctx, c, "SetMustChange", mustArgs{as, id, must})
}

// SetExpires implements directory.Accounts.
func (c *Client) SetExpires(ctx context.Context, as directory.Principal, id directory.ObjectID, at time.Time) error {
	return tell(ctx, c, "SetExpires", expiresArgs{as, id, at})
}

// Unlock implements directory.Accounts.
func (c *Client) Unlock(ctx context.Context, as directory.Principal, id directory.ObjectID) error {
	return tell(ctx, c, "Unlock", idArgs{as, id})
}

// AppPasswords implements directory.Accounts.
func (c *Client) AppPasswords(ctx context.Context, as directory.Principal, id directory.ObjectID) ([]directory.AppPassword, error) {
	return ask[[]directory.AppPassword](ctx, c, "AppPasswords", always, idArgs{as, id})
}

// AddAppPassword implements directory.Accounts.
func (c *Client) AddAppPassword(ctx context.Context, as directory.Principal, id directory.ObjectID, name string) (directory.AppPassword, string, error) {
	n, err := ask[newApp](ctx, c, "AddAppPassword", never, namedArgs{as, id, name})
	return n.App, n.Secret, err
}

// RemoveAppPassword implements directory.Accounts.
func (c *Client) RemoveAppPassword(ctx context.Context, as directory.Principal, id directory.ObjectID, name string) error {
	return tell(ctx, c, "RemoveAppPassword", namedArgs{as, id, name})
}

// BeginFactor implements directory.Accounts.
func (c *Client) BeginFactor(ctx context.Context, as directory.Principal, id directory.ObjectID) (directory.FactorKey, error) {
	return ask[directory.FactorKey](ctx, c, "BeginFactor", never, idArgs{as, id})
}

// ConfirmFactor implements directory.Accounts.
func (c *Client) ConfirmFactor(ctx context.Context, as directory.Principal, id directory.ObjectID, code string) ([]string, error) {
	return ask[[]string](ctx, c, "ConfirmFactor", never, namedArgs{as, id, code})
}

// RemoveFactor implements directory.Accounts.
func (c *Client) RemoveFactor(ctx context.Context, as directory.Principal, id directory.ObjectID) error {
	return tell(ctx, c, "RemoveFactor", idArgs{as, id})
}

// Audit implements directory.Accounts.
func (c *Client) Audit(ctx context.Context, as directory.Principal, q directory.AuditQuery) ([]directory.AuditLine, error) {
	return ask[[]directory.AuditLine](ctx, c, "Audit", always, auditArgs{as, q})
}
