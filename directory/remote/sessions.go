package remote

import (
	"context"

	"waypost/directory"
)

// The arguments and results of directory.Sessions. A session's steps are taken by
// whom nobody knows yet, so they name no actor: what they may do is in their
// secret.
type (
	enterArgs struct {
		Credentials signInArgs
		Place       directory.Place
	}
	secretArgs struct {
		Secret, Code, Old, Password []byte
		Answer                      directory.Answer
		Identity                    directory.Identity
		Place                       directory.Place
	}
	sessionArgs struct {
		As      directory.Principal
		ID      directory.ObjectID
		Session directory.SessionID
	}
	passkeyArgs struct {
		As      directory.Principal
		ID      directory.ObjectID
		Passkey int64
		Name    string
		Answer  directory.Answer
		Place   directory.Place
	}
)

func (a sessionArgs) actor() directory.Principal { return a.As }
func (a passkeyArgs) actor() directory.Principal { return a.As }

var sessionMethods = map[string]method{
	"Enter": on(Change, func(ctx context.Context, d directory.Directory, in enterArgs) (directory.Entry, error) {
		return d.Enter(ctx, in.Credentials.credentials(), in.Place)
	}),
	"EnterCode": on(Change, func(ctx context.Context, d directory.Directory, in secretArgs) (directory.Entry, error) {
		return d.EnterCode(ctx, string(in.Secret), string(in.Code), in.Place)
	}),
	"EnterPassword": on(Change, func(ctx context.Context, d directory.Directory, in secretArgs) (directory.Entry, error) {
		return d.EnterPassword(ctx, string(in.Secret), string(in.Old), string(in.Password), in.Place)
	}),
	"BeginPasskey": on(Change, func(ctx context.Context, d directory.Directory, in secretArgs) (directory.Challenge, error) {
		return d.BeginPasskey(ctx, string(in.Secret), in.Place)
	}),
	"EnterPasskey": on(Change, func(ctx context.Context, d directory.Directory, in secretArgs) (directory.Entry, error) {
		return d.EnterPasskey(ctx, string(in.Secret), in.Answer, in.Place)
	}),
	"EnterOutside": on(Change, func(ctx context.Context, d directory.Directory, in secretArgs) (directory.Entry, error) {
		return d.EnterOutside(ctx, in.Identity, in.Place)
	}),
	"Session": on(Change, func(ctx context.Context, d directory.Directory, in secretArgs) (directory.SessionInfo, error) {
		return d.Session(ctx, string(in.Secret), in.Place)
	}),
	"Leave": do(Change, func(ctx context.Context, d directory.Directory, in secretArgs) error {
		return d.Leave(ctx, string(in.Secret))
	}),
	"SessionsOf": on(Change, func(ctx context.Context, d directory.Directory, in idArgs) ([]directory.SessionInfo, error) {
		return d.SessionsOf(ctx, in.As, in.ID)
	}),
	"EndSession": do(Change, func(ctx context.Context, d directory.Directory, in sessionArgs) error {
		return d.EndSession(ctx, in.As, in.ID, in.Session)
	}),
	"EndSessions": on(Change, func(ctx context.Context, d directory.Directory, in sessionArgs) (int, error) {
		return d.EndSessions(ctx, in.As, in.ID, in.Session)
	}),
	"Passkeys": on(Change, func(ctx context.Context, d directory.Directory, in idArgs) ([]directory.Passkey, error) {
		return d.Passkeys(ctx, in.As, in.ID)
	}),
	"NewPasskey": on(Change, func(ctx context.Context, d directory.Directory, in passkeyArgs) (directory.Challenge, error) {
		return d.NewPasskey(ctx, in.As, in.ID, in.Place)
	}),
	"AddPasskey": on(Change, func(ctx context.Context, d directory.Directory, in passkeyArgs) (directory.Passkey, error) {
		return d.AddPasskey(ctx, in.As, in.ID, in.Name, in.Answer, in.Place)
	}),
	"RemovePasskey": do(Change, func(ctx context.Context, d directory.Directory, in passkeyArgs) error {
		return d.RemovePasskey(ctx, in.As, in.ID, in.Passkey)
	}),
}

func init() {
	for name, m := range sessionMethods {
		methods[name] = m
	}
}

// Enter implements directory.Sessions.
func (c *Client) Enter(ctx context.Context, cr directory.Credentials, at directory.Place) (directory.Entry, error) {
	return ask[directory.Entry](ctx, c, "Enter", never, enterArgs{wireCredentials(cr), at})
}

// EnterCode implements directory.Sessions.
func (c *Client) EnterCode(ctx context.Context, secret, code string, at directory.Place) (directory.Entry, error) {
	return ask[directory.Entry](ctx, c, "EnterCode", never, secretArgs{Secret: []byte(secret), Code: []byte(code), Place: at})
}

// EnterPassword implements directory.Sessions.
func (c *Client) EnterPassword(ctx context.Context, secret, old, password string, at directory.Place) (directory.Entry, error) {
	return ask[directory.Entry](ctx, c, "EnterPassword", never, secretArgs{Secret: []byte(secret), Old: []byte(old), Password: []byte(password), Place: at})
}

// BeginPasskey implements directory.Sessions.
func (c *Client) BeginPasskey(ctx context.Context, secret string, at directory.Place) (directory.Challenge, error) {
	return ask[directory.Challenge](ctx, c, "BeginPasskey", always, secretArgs{Secret: []byte(secret), Place: at})
}

// EnterPasskey implements directory.Sessions.
func (c *Client) EnterPasskey(ctx context.Context, secret string, answer directory.Answer, at directory.Place) (directory.Entry, error) {
	return ask[directory.Entry](ctx, c, "EnterPasskey", never, secretArgs{Secret: []byte(secret), Answer: answer, Place: at})
}

// EnterOutside implements directory.Sessions.
func (c *Client) EnterOutside(ctx context.Context, o directory.Identity, at directory.Place) (directory.Entry, error) {
	return ask[directory.Entry](ctx, c, "EnterOutside", never, secretArgs{Identity: o, Place: at})
}

// Session implements directory.Sessions.
func (c *Client) Session(ctx context.Context, secret string, at directory.Place) (directory.SessionInfo, error) {
	return ask[directory.SessionInfo](ctx, c, "Session", always, secretArgs{Secret: []byte(secret), Place: at})
}

// Leave implements directory.Sessions.
func (c *Client) Leave(ctx context.Context, secret string) error {
	_, err := ask[nothing](ctx, c, "Leave", always, secretArgs{Secret: []byte(secret)})
	return err
}

// SessionsOf implements directory.Sessions.
func (c *Client) SessionsOf(ctx context.Context, as directory.Principal, id directory.ObjectID) ([]directory.SessionInfo, error) {
	return ask[[]directory.SessionInfo](ctx, c, "SessionsOf", always, idArgs{as, id})
}

// EndSession implements directory.Sessions.
func (c *Client) EndSession(ctx context.Context, as directory.Principal, id directory.ObjectID, session directory.SessionID) error {
	return tell(ctx, c, "EndSession", sessionArgs{as, id, session})
}

// EndSessions implements directory.Sessions.
func (c *Client) EndSessions(ctx context.Context, as directory.Principal, id directory.ObjectID, keep directory.SessionID) (int, error) {
	return ask[int](ctx, c, "EndSessions", always, sessionArgs{as, id, keep})
}

// Passkeys implements directory.Sessions.
func (c *Client) Passkeys(ctx context.Context, as directory.Principal, id directory.ObjectID) ([]directory.Passkey, error) {
	return ask[[]directory.Passkey](ctx, c, "Passkeys", always, idArgs{as, id})
}

// NewPasskey implements directory.Sessions.
func (c *Client) NewPasskey(ctx context.Context, as directory.Principal, id directory.ObjectID, at directory.Place) (directory.Challenge, error) {
	return ask[directory.Challenge](ctx, c, "NewPasskey", always, passkeyArgs{As: as, ID: id, Place: at})
}

// AddPasskey implements directory.Sessions.
func (c *Client) AddPasskey(ctx context.Context, as directory.Principal, id directory.ObjectID, name string, answer directory.Answer, at directory.Place) (directory.Passkey, error) {
	return ask[directory.Passkey](ctx, c, "AddPasskey", never, passkeyArgs{As: as, ID: id, Name: name, Answer: answer, Place: at})
}

// RemovePasskey implements directory.Sessions.
func (c *Client) RemovePasskey(ctx context.Context, as directory.Principal, id directory.ObjectID, passkey int64) error {
	return tell(ctx, c, "RemovePasskey", passkeyArgs{As: as, ID: id, Passkey: passkey})
}
