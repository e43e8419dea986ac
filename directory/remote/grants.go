package remote

import (
	"context"

	"waypost/directory"
)

// The arguments of directory.Grants.
type (
	clientArgs struct {
		As     directory.Principal
		Client directory.OAuthClient
	}
	authorizeArgs struct {
		As            directory.Principal
		Authorization directory.Authorization
	}
	consentedArgs struct {
		As            directory.Principal
		Client, Scope string
	}
	exchangeArgs struct {
		Exchange     directory.Exchange
		Token, Scope string
	}
	deviceArgs struct {
		As    directory.Principal
		Code  string
		Allow bool
	}
)

func (a clientArgs) actor() directory.Principal    { return a.As }
func (a authorizeArgs) actor() directory.Principal { return a.As }
func (a consentedArgs) actor() directory.Principal { return a.As }
func (a deviceArgs) actor() directory.Principal    { return a.As }

var grantMethods = map[string]method{
	"OAuthClients": on(Change, func(ctx context.Context, d directory.Directory, in idArgs) ([]directory.OAuthClient, error) {
		return d.OAuthClients(ctx, in.As)
	}),
	"OAuthClient": on(Change, func(ctx context.Context, d directory.Directory, in namedArgs) (directory.OAuthClient, error) {
		return d.OAuthClient(ctx, in.Name)
	}),
	"AddOAuthClient": on(Change, func(ctx context.Context, d directory.Directory, in clientArgs) (string, error) {
		return d.AddOAuthClient(ctx, in.As, in.Client)
	}),
	"RemoveOAuthClient": do(Change, func(ctx context.Context, d directory.Directory, in namedArgs) error {
		return d.RemoveOAuthClient(ctx, in.As, in.Name)
	}),
	"Authorize": on(Change, func(ctx context.Context, d directory.Directory, in authorizeArgs) (string, error) {
		return d.Authorize(ctx, in.As, in.Authorization)
	}),
	"Consented": on(Change, func(ctx context.Context, d directory.Directory, in consentedArgs) (bool, error) {
		return d.Consented(ctx, in.As, in.Client, in.Scope)
	}),
	"Exchange": on(Change, func(ctx context.Context, d directory.Directory, in exchangeArgs) (directory.Tokens, error) {
		return d.Exchange(ctx, in.Exchange)
	}),
	"Revoke": do(Change, func(ctx context.Context, d directory.Directory, in exchangeArgs) error {
		return d.Revoke(ctx, in.Exchange, in.Token)
	}),
	"BeginDevice": on(Change, func(ctx context.Context, d directory.Directory, in exchangeArgs) (directory.DeviceCodes, error) {
		return d.BeginDevice(ctx, in.Exchange, in.Scope)
	}),
	"Device": on(Change, func(ctx context.Context, d directory.Directory, in deviceArgs) (directory.DeviceRequest, error) {
		return d.Device(ctx, in.As, in.Code)
	}),
	"DecideDevice": do(Change, func(ctx context.Context, d directory.Directory, in deviceArgs) error {
		return d.DecideDevice(ctx, in.As, in.Code, in.Allow)
	}),
}

func init() {
	for name, m := range grantMethods {
		methods[name] = m
	}
}

// OAuthClients implements directory.Grants.
func (c *Client) OAuthClients(ctx context.Context, as directory.Principal) ([]directory.OAuthClient, error) {
	return ask[[]directory.OAuthClient](ctx, c, "OAuthClients", always, idArgs{As: as})
}

// OAuthClient implements directory.Grants.
func (c *Client) OAuthClient(ctx context.Context, id string) (directory.OAuthClient, error) {
	return ask[directory.OAuthClient](ctx, c, "OAuthClient", always, namedArgs{Name: id})
}

// AddOAuthClient implements directory.Grants.
func (c *Client) AddOAuthClient(ctx context.Context, as directory.Principal, cl directory.OAuthClient) (string, error) {
	return ask[string](ctx, c, "AddOAuthClient", never, clientArgs{as, cl})
}

// RemoveOAuthClient implements directory.Grants.
func (c *Client) RemoveOAuthClient(ctx context.Context, as directory.Principal, id string) error {
	return tell(ctx, c, "RemoveOAuthClient", namedArgs{As: as, Name: id})
}

// Authorize implements directory.Grants.
func (c *Client) Authorize(ctx context.Context, as directory.Principal, a directory.Authorization) (string, error) {
	return ask[string](ctx, c, "Authorize", never, authorizeArgs{as, a})
}

// Consented implements directory.Grants.
func (c *Client) Consented(ctx context.Context, as directory.Principal, client, scope string) (bool, error) {
	return ask[bool](ctx, c, "Consented", always, consentedArgs{as, client, scope})
}

// Exchange implements directory.Grants. It is not repeated: codes and refresh
// tokens are good once.
func (c *Client) Exchange(ctx context.Context, e directory.Exchange) (directory.Tokens, error) {
	return ask[directory.Tokens](ctx, c, "Exchange", never, exchangeArgs{Exchange: e})
}

// Revoke implements directory.Grants.
func (c *Client) Revoke(ctx context.Context, e directory.Exchange, token string) error {
	_, err := ask[nothing](ctx, c, "Revoke", always, exchangeArgs{Exchange: e, Token: token})
	return err
}

// BeginDevice implements directory.Grants.
func (c *Client) BeginDevice(ctx context.Context, e directory.Exchange, scope string) (directory.DeviceCodes, error) {
	return ask[directory.DeviceCodes](ctx, c, "BeginDevice", always, exchangeArgs{Exchange: e, Scope: scope})
}

// Device implements directory.Grants.
func (c *Client) Device(ctx context.Context, as directory.Principal, code string) (directory.DeviceRequest, error) {
	return ask[directory.DeviceRequest](ctx, c, "Device", always, deviceArgs{As: as, Code: code})
}

// DecideDevice implements directory.Grants.
func (c *Client) DecideDevice(ctx context.Context, as directory.Principal, code string, allow bool) error {
	return tell(ctx, c, "DecideDevice", deviceArgs{as, code, allow})
}
