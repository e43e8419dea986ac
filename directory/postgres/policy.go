package postgres

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/directory"
	"waypost/directory/index"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// Policies are kept as Active Directory keeps them, so that its tools show and
// change them: fine-grained ones are objects of class msDS-PasswordSettings that
// name by msDS-PSOAppliesTo whom they are for (here containers, too), the
// default is in attributes of the domain.

const (
	classPolicy = "msDS-PasswordSettings"
	psoApplied  = "msDS-PSOApplied"
	psoApplies  = "msDS-PSOAppliesTo"
)

// builtInPolicy is the default of a forest that says nothing else.
var builtInPolicy = directory.Policy{Name: directory.DefaultPolicy, MinLength: 8, History: 5}

// defaultWindow is how long failures count where a policy does not say.
const defaultWindow = 30 * time.Minute

// policyFields are the numbers of a policy, as an object of its own has them
// and as the domain has the default's.
var policyFields = []struct {
	own, domain string
	get         func(*directory.Policy) string
	set         func(*directory.Policy, string)
}{
	{
		"msDS-MinimumPasswordLength", "minPwdLength",
		func(p *directory.Policy) string { return strconv.Itoa(p.MinLength) },
		func(p *directory.Policy, v string) { p.MinLength = count(v) },
	},
	{
		"msDS-PasswordHistoryLength", "pwdHistoryLength",
		func(p *directory.Policy) string { return strconv.Itoa(p.History) },
		func(p *directory.Policy, v string) { p.History = min(count(v), maxHistory) },
	},
	{
		"msDS-MinimumPasswordAge", "minPwdAge",
		func(p *directory.Policy) string { return interval(p.MinAge, 0) },
		func(p *directory.Policy, v string) { p.MinAge = duration(v) },
	},
	{
		"msDS-MaximumPasswordAge", "maxPwdAge",
		func(p *directory.Policy) string { return interval(p.MaxAge, math.MinInt64) },
		func(p *directory.Policy, v string) { p.MaxAge = duration(v) },
	},
	{
		"msDS-LockoutThreshold", "lockoutThreshold",
		func(p *directory.Policy) string { return strconv.Itoa(p.LockoutThreshold) },
		func(p *directory.Policy, v string) { p.LockoutThreshold = count(v) },
	},
	{
		"msDS-LockoutDuration", "lockoutDuration",
		func(p *directory.Policy) string { return interval(p.LockoutDuration, math.MinInt64) },
		func(p *directory.Policy, v string) { p.LockoutDuration = duration(v) },
	},
	{
		"msDS-LockoutObservationWindow", "lockOutObservationWindow",
		func(p *directory.Policy) string { return interval(p.LockoutWindow, 0) },
		func(p *directory.Policy, v string) { p.LockoutWindow = duration(v) },
	},
	{
		"msDS-PasswordComplexityEnabled", "",
		func(p *directory.Policy) string { return map[bool]string{true: "TRUE", false: "FALSE"}[p.Complexity] },
		func(p *directory.Policy, v string) { p.Complexity = v == "TRUE" },
	},
	{
		"", "pwdProperties", // DOMAIN_PASSWORD_COMPLEX is bit 1
		func(p *directory.Policy) string { return map[bool]string{true: "1", false: "0"}[p.Complexity] },
		func(p *directory.Policy, v string) { p.Complexity = count(v)&1 != 0 },
	},
	{
		"msDS-PasswordSettingsPrecedence", "",
		func(p *directory.Policy) string { return strconv.Itoa(p.Precedence) },
		func(p *directory.Policy, v string) { p.Precedence = count(v) },
	},
}

func count(v string) int {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// interval writes a time as AD does: negative, in 100 ns; none is what 0 means.
func interval(d time.Duration, none int64) string {
	if d <= 0 {
		return strconv.FormatInt(none, 10)
	}
	return strconv.FormatInt(-int64(d/100), 10)
}

// duration reads what interval wrote; the longest interval is none at all.
func duration(v string) time.Duration {
	n, err := strconv.ParseInt(v, 10, 64)
	switch {
	case err != nil || n >= 0:
		return 0
	case n < math.MinInt64/100:
		return 0
	}
	return time.Duration(-n * 100)
}

// policyAttributes are what readPolicy asks for.
func policyAttributes(domain bool) []string {
	names := []string{"cn", psoApplies}
	for _, f := range policyFields {
		if domain {
			names = append(names, f.domain)
		} else {
			names = append(names, f.own)
		}
	}
	return slices.DeleteFunc(names, func(n string) bool { return n == "" })
}

// readPolicy reads a policy object.
func readPolicy(ctx context.Context, x *index.Index, id directory.ObjectID) (p directory.Policy, err error) {
	e, err := x.Get(ctx, id, &tree.Query{Attributes: policyAttributes(false)}, nil)
	if err != nil {
		return p, err
	}
	p = directory.Policy{ID: id, Name: strings.Join(e.Get("cn"), ""), AppliesTo: e.Get(psoApplies)}
	for _, f := range policyFields {
		if v := e.Get(f.own); f.own != "" && len(v) > 0 {
			f.set(&p, v[0])
		}
	}
	if p.LockoutWindow == 0 {
		p.LockoutWindow = defaultWindow
	}
	return p, nil
}

// domainPolicy reads the default of a domain; ok is false when it says nothing.
func domainPolicy(ctx context.Context, x *index.Index, id directory.ObjectID) (p directory.Policy, ok bool) {
	p = builtInPolicy
	e, err := x.Get(ctx, id, &tree.Query{Attributes: policyAttributes(true)}, nil)
	if err != nil {
		return p, false
	}
	for _, f := range policyFields {
		if v := e.Get(f.domain); f.domain != "" && len(v) > 0 {
			f.set(&p, v[0])
			ok = true
		}
	}
	if p.LockoutWindow == 0 {
		p.LockoutWindow = defaultWindow
	}
	return p, ok
}

// strongest is the policy of the lowest precedence, of the oldest among equals.
func strongest(ctx context.Context, x *index.Index, ids []directory.ObjectID) (best directory.Policy, ok bool) {
	for _, id := range ids {
		p, err := readPolicy(ctx, x, id)
		if err == nil && (!ok || p.Precedence < best.Precedence || p.Precedence == best.Precedence && p.ID < best.ID) {
			best, ok = p, true
		}
	}
	return best, ok
}

// policyOf finds the policy of an account or, for one that is not there yet (0),
// of those in its container.
func (s *Store) policyOf(ctx context.Context, id, container directory.ObjectID) directory.Policy {
	x := s.index.Load()
	if e := s.view.get(id); id != 0 && e != nil {
		container = e.parent
		if p, ok := strongest(ctx, x, x.Linked(id, psoApplied)); ok {
			return p
		}
		var linked []directory.ObjectID
		for _, g := range x.Groups(id) {
			linked = append(linked, x.Linked(g, psoApplied)...)
		}
		if p, ok := strongest(ctx, x, linked); ok {
			return p
		}
	}
	var home directory.ObjectID
	e := s.view.get(container)
	for depth := 0; e != nil && depth < maxDepth; depth++ {
		if p, ok := strongest(ctx, x, x.Linked(e.id, psoApplied)); ok {
			return p
		}
		if e.family == domain && home == 0 {
			home = e.id
		}
		e = s.view.get(e.parent)
	}
	return s.defaultPolicy(ctx, x, home)
}

// defaultPolicy is the domain's own or else that of the forest's first.
func (s *Store) defaultPolicy(ctx context.Context, x *index.Index, home directory.ObjectID) directory.Policy {
	first := s.firstDomain(x)
	for _, id := range []directory.ObjectID{home, first} {
		if id == 0 {
			continue
		}
		if p, ok := domainPolicy(ctx, x, id); ok {
			return p
		}
	}
	return builtInPolicy
}

func (s *Store) firstDomain(x *index.Index) directory.ObjectID {
	for _, id := range x.Contexts() {
		if e := s.view.get(id); e != nil && e.family == domain {
			return id
		}
	}
	return 0
}

// law is the policy's law of lock-out; nil for that of everybody.
func law(p directory.Policy) *directory.Backoff {
	if p.LockoutThreshold == 0 {
		return nil
	}
	l := &directory.Backoff{Free: p.LockoutThreshold - 1, Hard: p.LockoutDuration, Forgive: p.LockoutWindow}
	if l.Hard == 0 {
		l.Hard = untilUnlocked
	}
	return l
}

// untilUnlocked is longer than anybody waits.
const untilUnlocked = 100 * 365 * 24 * time.Hour

// Policies implements directory.Accounts.
func (s *Store) Policies(ctx context.Context, as directory.Principal) (list []directory.Policy, err error) {
	defer fault.Wrap(&err, "list policies")
	if err := s.may(ctx, as, seeAll); err != nil {
		return nil, err
	}
	x := s.index.Load()
	ids, err := policyObjects(ctx, x)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if p, err := readPolicy(ctx, x, id); err == nil {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b directory.Policy) int {
		return cmp.Or(cmp.Compare(a.Precedence, b.Precedence), cmp.Compare(a.ID, b.ID))
	})
	return append(list, s.defaultPolicy(ctx, x, 0)), nil
}

func policyObjects(ctx context.Context, x *index.Index) (ids []directory.ObjectID, err error) {
	q := &tree.Query{
		Global: true, Scope: tree.Sub, Attributes: []string{"1.1"},
		Filter: &tree.Filter{Op: tree.Equal, Attribute: "objectClass", Value: classPolicy},
	}
	err = x.Search(ctx, q, nil, func(e *tree.Entry) error { ids = append(ids, e.ID); return nil })
	return ids, err
}

// policyNamed finds a policy object by its name in any case.
func (s *Store) policyNamed(ctx context.Context, name string) (directory.ObjectID, tree.DN, error) {
	x := s.index.Load()
	ids, err := policyObjects(ctx, x)
	if err != nil {
		return 0, nil, err
	}
	for _, id := range ids {
		if p, err := readPolicy(ctx, x, id); err == nil && directory.Fold(p.Name) == directory.Fold(name) {
			if dn, ok := x.DN(id); ok {
				return id, dn, nil
			}
		}
	}
	return 0, nil, fault.New(fault.NotFound, "no policy is called %q", name)
}

// Bounds of a policy.
const (
	maxHistory  = 100
	maxMinimum  = 255 // characters (MS-ADTS 2.379: rangeUpper)
	maxAttempts = 65535
	maxInterval = 100 * 365 * 24 * time.Hour
)

func checkPolicy(p directory.Policy) error {
	bad := func(format string, args ...any) error { return fault.New(fault.Invalid, format, args...) }
	switch {
	case p.MinLength < 0 || p.MinLength > maxMinimum:
		return bad("a password's least length is between 0 and %d", maxMinimum)
	case p.History < 0 || p.History > maxHistory:
		return bad("between 0 and %d passwords are remembered", maxHistory)
	case p.LockoutThreshold < 0 || p.LockoutThreshold > maxAttempts:
		return bad("an account is locked after 1 to %d failures, or 0 for never", maxAttempts)
	case p.MaxAge > 0 && p.MinAge >= p.MaxAge:
		return bad("the least age is below the greatest")
	case p.LockoutDuration > 0 && p.LockoutWindow > p.LockoutDuration:
		return bad("failures are forgotten no later than the lock-out ends")
	}
	for _, d := range []time.Duration{p.MinAge, p.MaxAge, p.LockoutDuration, p.LockoutWindow} {
		if d < 0 || d > maxInterval {
			return bad("a time is between 0 and 100 years")
		}
	}
	return nil
}

// SetPolicy implements directory.Accounts.
func (s *Store) SetPolicy(ctx context.Context, as directory.Principal, p directory.Policy) (_ directory.Policy, err error) {
	defer fault.Wrap(&err, "set policy %s", p.Name)
	if p.LockoutWindow == 0 {
		p.LockoutWindow = defaultWindow
		if p.LockoutDuration > 0 {
			p.LockoutWindow = min(p.LockoutWindow, p.LockoutDuration)
		}
	}
	if err := checkPolicy(p); err != nil {
		return p, err
	}
	x := s.index.Load()
	root, ok := x.DN(s.firstDomain(x))
	if !ok {
		return p, fault.New(fault.NotFound, "there is no domain yet")
	}
	opts := tree.Options{From: directory.ClientOf(ctx)}
	if p.Name == directory.DefaultPolicy {
		if len(p.AppliesTo) > 0 || p.Precedence != 0 {
			return p, fault.New(fault.Invalid, "the default is for whom no other policy is, and has no precedence")
		}
		var mods []tree.Modification
		for _, f := range policyFields {
			if f.domain != "" {
				mods = append(mods, tree.Modification{Op: tree.ModReplace, Name: f.domain, Values: []string{f.get(&p)}})
			}
		}
		_, err := s.ModifyEntry(ctx, as, root, mods, opts)
		return s.defaultPolicy(ctx, s.index.Load(), 0), err
	}
	if p.Precedence < 1 {
		return p, fault.New(fault.Invalid, "a policy's precedence is 1 or more; the lowest is the strongest")
	}
	var applies []string
	for _, name := range p.AppliesTo {
		dn, err := s.whom(name)
		if err != nil {
			return p, err
		}
		applies = append(applies, dn.String())
	}
	id, dn, err := s.policyNamed(ctx, p.Name)
	switch {
	case notFound(err):
		dn = append(tree.DN{
			{{Attribute: "CN", Value: p.Name}}, {{Attribute: "CN", Value: "Password Settings Container"}}, {{Attribute: "CN", Value: "System"}},
		}, root...)
		attrs := []tree.Attribute{
			{Name: "objectClass", Values: []string{classPolicy}},
			{Name: "msDS-PasswordReversibleEncryptionEnabled", Values: []string{"FALSE"}},
		}
		for _, f := range policyFields {
			if f.own != "" {
				attrs = append(attrs, tree.Attribute{Name: f.own, Values: []string{f.get(&p)}})
			}
		}
		if len(applies) > 0 {
			attrs = append(attrs, tree.Attribute{Name: psoApplies, Values: applies})
		}
		done, err := s.AddEntry(ctx, as, dn, attrs, opts)
		if err != nil {
			return p, err
		}
		id = done.ID
	case err != nil:
		return p, err
	default:
		mods := []tree.Modification{{Op: tree.ModReplace, Name: psoApplies, Values: applies}}
		for _, f := range policyFields {
			if f.own != "" {
				mods = append(mods, tree.Modification{Op: tree.ModReplace, Name: f.own, Values: []string{f.get(&p)}})
			}
		}
		if _, err := s.ModifyEntry(ctx, as, dn, mods, opts); err != nil {
			return p, err
		}
	}
	return readPolicy(ctx, s.index.Load(), id)
}

// RemovePolicy implements directory.Accounts. Without the default there is the
// one that the product comes with.
func (s *Store) RemovePolicy(ctx context.Context, as directory.Principal, name string) (err error) {
	defer fault.Wrap(&err, "remove policy %s", name)
	opts := tree.Options{From: directory.ClientOf(ctx)}
	if name == directory.DefaultPolicy {
		x := s.index.Load()
		root, ok := x.DN(s.firstDomain(x))
		if !ok {
			return fault.New(fault.NotFound, "there is no domain yet")
		}
		var mods []tree.Modification
		for _, f := range policyFields {
			if f.domain != "" {
				mods = append(mods, tree.Modification{Op: tree.ModReplace, Name: f.domain})
			}
		}
		_, err := s.ModifyEntry(ctx, as, root, mods, opts)
		return err
	}
	_, dn, err := s.policyNamed(ctx, name)
	if err != nil {
		return err
	}
	_, err = s.DeleteEntry(ctx, as, dn, opts)
	return err
}

// whom finds what a policy is for: a DN, an address, an account or a path of
// organisational units in the forest's first domain.
func (s *Store) whom(name string) (tree.DN, error) {
	x := s.index.Load()
	unknown := fault.New(fault.NotFound, "a policy is for a person, a group or a container: nothing is called %q", name)
	if strings.Contains(name, "=") {
		dn, err := tree.ParseDN(name)
		if err != nil {
			return nil, err
		}
		if _, _, ok := x.Resolve(dn); !ok {
			return nil, unknown
		}
		return dn, nil
	}
	e := s.view.login(name)
	if e == nil {
		e = s.view.find(nameAddress, directory.Fold(name))
	}
	if e == nil {
		e = s.view.find(nameAccount, directory.Fold(name))
	}
	if e != nil {
		if dn, ok := x.DN(e.id); ok {
			return dn, nil
		}
	}
	if id := s.unitAt(s.firstDomain(x), name); id != 0 {
		if dn, ok := x.DN(id); ok {
			return dn, nil
		}
	}
	return nil, unknown
}

// unitAt finds an organisational unit by its path, 0 for none.
func (s *Store) unitAt(at directory.ObjectID, path string) directory.ObjectID {
	x := s.index.Load()
	dn, ok := x.DN(at)
	if !ok || strings.Trim(path, "/") == "" {
		return at
	}
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		dn = append(tree.DN{{{Attribute: "OU", Value: part}}}, dn...)
	}
	id, _, ok := x.Resolve(dn)
	if !ok {
		return 0
	}
	return id
}
