package ldap

import (
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/internal/fault"
	"waypost/services/ldap/ber"
)

// passwordModify is RFC 3062. Somebody who has not signed in may change a
// password by knowing the old one, for a password that has expired lets nobody
// in.
func (o *op) passwordModify() error {
	if err := o.mayWrite(); err != nil {
		return err
	}
	if !o.c.private() {
		return errPlainBind
	}
	var identity, old, made string
	var fresh string
	var named, hasOld, hasNew bool
	if o.hasValue {
		d := ber.NewDecoder(o.body)
		s := d.Inside(ber.Sequence)
		identity, named = s.Optional(ber.Context(0))
		old, hasOld = s.Optional(ber.Context(1))
		fresh, hasNew = s.Optional(ber.Context(2))
		d.Close(&s)
		if d.Err() != nil {
			return refuse(codeProtocolError, "the value of Password Modify cannot be read")
		}
	}
	if hasNew && fresh == "" {
		return refuse(codeUnwilling, "the new password is empty")
	}
	who := o.who
	if who.ID == 0 && who.Roles == 0 {
		if identity == "" || !hasOld || old == "" {
			return errSignIn
		}
		var err error
		who, err = o.c.server.accounts.SignIn(o.ctx, directory.Credentials{
			Login: o.c.login(identity), Password: old, From: o.c.from, Door: "ldap",
		})
		var problem *directory.SignInProblem
		if errors.As(err, &problem) && problem.Renewable() && problem.Who.ID != 0 {
			who, err = problem.Who, nil
		}
		if err != nil {
			o.c.failed(o.ctx, err)
			return o.bindError(err)
		}
		named = false
	}
	dn, err := o.account(who, identity, named)
	if err != nil {
		return err
	}
	var shown *string
	if hasOld {
		shown = &old
	}
	made, err = o.c.server.tree.ChangePassword(o.client(), who, dn, shown, fresh)
	if err != nil {
		return passwordError(err, hasOld)
	}
	if !hasNew {
		o.extra = func(e *ber.Encoder) {
			var v ber.Encoder
			m := v.Begin(ber.Sequence)
			v.String(ber.Context(0), made)
			v.End(m)
			e.String(ber.Context(11), string(v.Buf))
		}
	}
	return nil
}

// account finds the entry that userIdentity means: a DN, or what an account
// signs in with; without one the account itself.
func (o *op) account(who directory.Principal, identity string, named bool) (tree.DN, error) {
	if !named || identity == "" {
		if dn, ok := o.c.server.tree.Resolve(who.ID); ok {
			return dn, nil
		}
		return nil, refuse(codeNoSuchObject, "who has signed in has no entry")
	}
	if name, ok := strings.CutPrefix(identity, "dn:"); ok {
		return tree.ParseDN(name)
	}
	identity = strings.TrimPrefix(identity, "u:")
	if strings.Contains(identity, "=") {
		if dn, err := tree.ParseDN(identity); err == nil && len(dn) > 0 {
			return dn, nil
		}
	}
	if _, account, ok := strings.Cut(identity, `\`); ok {
		identity = account
	}
	f := tree.Filter{Op: tree.Or}
	for _, a := range []string{"userPrincipalName", "sAMAccountName", "mail", "proxyAddresses"} {
		v := identity
		if a == "proxyAddresses" {
			v = "smtp:" + v
		}
		f.Parts = append(f.Parts, tree.Filter{Op: tree.Equal, Attribute: a, Value: v})
	}
	var found []tree.DN
	q := &tree.Query{Global: true, Scope: tree.Sub, Filter: &f, Attributes: []string{"1.1"}, Limit: 2, DomainScope: true}
	err := o.c.server.tree.Search(o.ctx, who, q, func(e *tree.Entry) error {
		dn, err := tree.ParseDN(e.DN)
		found = append(found, dn)
		return err
	})
	switch {
	case len(found) == 1 && err == nil:
		return found[0], nil
	case len(found) > 1:
		return nil, refuse(codeConstraintViolation, "more than one account has this name")
	case err != nil:
		return nil, err
	}
	return nil, refuse(codeNoSuchObject, "no such account")
}

// passwordError words a failed change as Active Directory does, so that its
// clients tell a wrong old password from a new one that the policy refuses.
func passwordError(err error, change bool) error {
	var refused *tree.Refusal
	k := fault.Of(err)
	switch {
	case k == fault.Unauthenticated && change:
		return refuse(codeConstraintViolation, "00000056: AtrErr: DSID-03191083, #1: the old password is wrong")
	case errors.As(err, &refused) && (refused.Code != tree.ResultConstraintViolation || strings.HasPrefix(fault.Say(err), "0000")):
		return err
	case k == fault.Invalid:
		return refuse(codeConstraintViolation, "0000052D: AtrErr: DSID-03190FA6, #1: %s", fault.Say(err))
	}
	return err
}

// passwords are the parts of an add or modify that set a password. The tree
// carries them out together with the rest; here is only looked whether they may
// come, and whether they are as clients of Active Directory write them
// (directory-schema §17): delete of the old with add of the new is a change,
// replace a reset.
type passwords struct {
	secret   bool // unicodePwd was named
	old, new bool
}

func (p *passwords) take(m tree.Modification) error {
	if len(m.Values) != 1 {
		return refuse(codeUnwilling, "%s: one value is needed", m.Name)
	}
	if err := checkPassword(m.Name, m.Values[0]); err != nil {
		return err
	}
	p.secret = p.secret || m.Name == "unicodePwd"
	switch {
	case m.Op == tree.ModDelete && !p.old:
		p.old = true
	case (m.Op == tree.ModAdd || m.Op == tree.ModReplace && !p.old) && !p.new:
		p.new = true
	default:
		return refuse(codeUnwilling, "%s: delete and add, or replace", m.Name)
	}
	return nil
}

// any tells whether there is a password.
func (p *passwords) any() bool { return p.old || p.new }

// allowed tells whether it may come on this connection. AD takes unicodePwd
// under TLS only, whoever the client is.
func (p *passwords) allowed(o *op) error {
	switch {
	case !p.any():
		return nil
	case !p.new:
		return refuse(codeUnwilling, "a password is changed, not removed")
	case p.secret && o.c.tls == nil || !o.c.private():
		return refuse(codeUnwilling, "0000001F: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM): a password is only taken under TLS")
	}
	return nil
}

// checkPassword tells whether a value can be a password.
func checkPassword(name, value string) error {
	if name == "userPassword" {
		if value == "" || !utf8.ValidString(value) || strings.HasPrefix(value, "{") {
			return refuse(codeUnwilling, "userPassword: a password in clear text is needed, not its hash")
		}
		return nil
	}
	units := make([]uint16, len(value)/2)
	for i := range units {
		units[i] = uint16(value[2*i]) | uint16(value[2*i+1])<<8
	}
	text := string(utf16.Decode(units))
	if len(value)%2 != 0 || len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' || strings.ContainsRune(text, utf8.RuneError) {
		return refuse(codeUnwilling, "unicodePwd: a password in quotes, as UTF-16, is needed")
	}
	return nil
}
