package ldap

import (
	"strings"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// mechanisms are those that can be used on the connection as it is.
func (c *conn) mechanisms() []string {
	var names []string
	if c.private() {
		names = append(names, "PLAIN")
	}
	if c.server.cfg.External != nil && c.tls != nil && len(c.tls.ConnectionState().VerifiedChains) > 0 {
		names = append(names, "EXTERNAL")
	}
	return names
}

// bindSASL is RFC 4513 §5.2.
func (o *op) bindSASL(choice string) error {
	d := ber.NewDecoder(choice)
	mechanism := d.Octets()
	response, given := d.Optional(ber.Octets)
	if err := d.Err(); err != nil {
		return err
	}
	switch strings.ToUpper(mechanism) {
	case "PLAIN":
		if !o.c.private() {
			return errPlainBind
		}
		if !given {
			o.code = codeSASLInProgress // RFC 4513 §5.2.1.1: an empty challenge
			return nil
		}
		return o.saslPlain(response)
	case "EXTERNAL":
		return o.saslExternal(response)
	}
	return refuse(codeAuthMethod, "no such mechanism: %.40q", mechanism)
}

// saslPlain is RFC 4616: [authzid] NUL authcid NUL passwd.
func (o *op) saslPlain(message string) error {
	parts := strings.Split(message, "\x00")
	if len(parts) != 3 || parts[1] == "" || parts[2] == "" {
		return badCredentials
	}
	authzid, name, password := parts[0], parts[1], parts[2]
	if err := o.signIn(o.c.login(name), password); err != nil {
		return err
	}
	if !o.c.is(authzid, name) {
		o.c.signOut()
		return refuse(codeInvalidCredentials, "nobody acts as somebody else here")
	}
	return nil
}

// saslExternal is RFC 4422 appendix A: who the client's certificate is for.
func (o *op) saslExternal(authzid string) error {
	c := o.c
	if c.server.cfg.External == nil {
		return refuse(codeAuthMethod, "EXTERNAL is not available")
	}
	if c.tls == nil {
		return refuse(codeInappropriateAuth, "EXTERNAL needs TLS with a certificate of the client's")
	}
	chains := c.tls.ConnectionState().VerifiedChains
	if len(chains) == 0 {
		return refuse(codeInappropriateAuth, "EXTERNAL needs a certificate of the client's")
	}
	who, err := c.server.cfg.External(o.ctx, chains[0])
	if err != nil {
		c.failed(o.ctx, err)
		return o.bindError(err)
	}
	c.welcome(who)
	if !c.is(authzid, "") {
		c.signOut()
		return refuse(codeInvalidCredentials, "nobody acts as somebody else here")
	}
	return nil
}

// is tells whether an authorization identity (RFC 4513 §5.2.1.8) names who is
// signed in, who did so as name.
func (c *conn) is(authzid, name string) bool {
	kind, id, _ := strings.Cut(authzid, ":")
	switch {
	case authzid == "" || strings.EqualFold(authzid, name):
		return true
	case strings.EqualFold(kind, "dn"):
		dn, err := tree.ParseDN(id)
		own, ok := c.server.tree.Resolve(c.who.ID)
		return err == nil && ok && len(dn) > 0 && dn.Equal(own)
	case strings.EqualFold(kind, "u"):
		return id != "" && (strings.EqualFold(id, name) || directory.Fold(id) == directory.Fold(c.who.Address))
	}
	return false
}
