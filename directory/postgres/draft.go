package postgres

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// draft is an entry to be added, as far as it can be worked out without the
// database: schema, syntaxes, and the slow work on a password.
type draft struct {
	dn       tree.DN
	shape    *schema.Shape
	fam      family
	o        *object
	links    []draftLink
	cold     attributes // values too large for the row, raw
	password string
	hash     string
	expires  *time.Time
	must     bool // the password must be changed first
	enabled  bool
	err      error   // why this one is refused
	derived  derived // of o, once its names are known to be free
	r        *rights // of who adds it
	by       *actor  // who is told of in the audit log; nil: the writing's
}

// draftLink is an attribute of DN syntax with the names it is to have.
type draftLink struct {
	a     *schema.Attribute
	names []tree.DN
}

func (d *draft) refuse(code tree.Code, format string, args ...any) *draft {
	if d.err == nil {
		d.err = tree.Refuse(code, format, args...)
	}
	return d
}

// ignored are attributes that a client may give and that follow from others
// (MS-ADTS 3.1.1.5.2.4).
var ignored = map[string]bool{
	"objectCategory": true, "instanceType": true, "sAMAccountType": true, "systemFlags": true,
	"defaultObjectCategory": true,
}

// givenAnyway are attributes that classes require and the server makes.
var givenAnyway = map[string]bool{"schemaIDGUID": true, "defaultObjectCategory": true}

// newDraft checks an entry against the schema.
func newDraft(sch *schema.Schema, dn tree.DN, list []tree.Attribute) *draft {
	d := &draft{dn: dn, o: &object{guid: newGUID(), attrs: attributes{}, exact: true}, cold: attributes{}}
	if form, _ := dn.Special(); form != "" || len(dn) == 0 {
		return d.refuse(tree.ResultInvalidDNSyntax, "a new entry needs a name")
	}
	if len(dn[0]) != 1 {
		return d.refuse(tree.ResultNamingViolation, "a name with several values is not kept here")
	}
	given := make(map[*schema.Attribute][]string, len(list))
	for _, l := range list {
		if l.Name == "sAMAccountType" || ignored[l.Name] {
			continue
		}
		a, err := writable(sch, l.Name)
		if err != nil {
			d.err = err
			return d
		}
		if _, twice := given[a]; twice {
			return d.refuse(tree.ResultValueExists, "%s comes twice", a.Name)
		}
		if !ignored[a.Name] {
			given[a] = l.Values
		}
	}
	class, _ := sch.Attribute("objectClass")
	if err := d.classify(sch, given[class]); err != nil {
		d.err = err
		return d
	}
	delete(given, class)
	for a, values := range given {
		if err := d.take(a, values); err != nil {
			d.err = err
			return d
		}
	}
	if d.err = d.name(sch); d.err != nil {
		return d
	}
	if d.err = d.complete(sch); d.err != nil {
		return d
	}
	d.err = d.required(sch)
	return d
}

func (d *draft) classify(sch *schema.Schema, names []string) (err error) {
	if len(names) == 0 {
		return tree.Refuse(tree.ResultObjectClassViolation, "no objectClass")
	}
	if d.shape, err = sch.Shape(names); err != nil {
		return tree.Refuse(tree.ResultObjectClassViolation, "%s", say(err))
	}
	d.o.class = d.shape.Class.Name
	for _, x := range d.shape.Extra {
		d.o.extra = append(d.o.extra, x.Name)
	}
	slices.Sort(d.o.extra)
	d.fam = familyOf(sch, d.o.class)
	return nil
}

// take puts one attribute where it belongs.
func (d *draft) take(a *schema.Attribute, values []string) error {
	switch {
	case len(values) == 0:
		return tree.Refuse(tree.ResultInvalidSyntax, "%s without a value", a.Name)
	case a.Defunct:
		return tree.Refuse(tree.ResultUndefinedType, "%s is not used any more", a.Name)
	case !d.shape.Allows(a) && !(a.Password() && d.fam == person):
		return tree.Refuse(tree.ResultObjectClassViolation, "a %s has no %s", d.shape.Class.Name, a.Name)
	case a.Name == "nTSecurityDescriptor":
		return tree.Refuse(tree.ResultUnwillingToPerform, "rights are written as accessControlEntry")
	case a.Password():
		if d.fam != person || len(values) != 1 {
			return tree.Refuse(tree.ResultUnwillingToPerform, "one password, for what signs in")
		}
		p, err := passwordOf(a, values[0])
		d.password = p
		return err
	case a.Syntax.DN():
		l := draftLink{a: a}
		if a.Single && len(values) > 1 {
			return tree.Refuse(tree.ResultConstraintViolation, "%s has one value", a.Name)
		}
		for _, v := range values {
			dn, err := linkName(a, v)
			if err != nil {
				return err
			}
			l.names = append(l.names, dn)
		}
		d.links = append(d.links, l)
		return nil
	}
	values, err := cleanAll(a, values)
	if err != nil {
		return err
	}
	if isCold(a, values) {
		d.cold[a.Name] = values
		return nil
	}
	d.o.attrs[a.Name] = encodeAll(a, values)
	return nil
}

// isCold tells whether values lie in the table of large ones. What objects are
// named and found by is never there: its bounds are smaller.
func isCold(a *schema.Attribute, values []string) bool {
	return slices.ContainsFunc(values, func(v string) bool { return len(v) > coldAt })
}

// name takes the RDN: its attribute is the class's, and its value is one of the
// attribute's.
func (d *draft) name(sch *schema.Schema) error {
	ava := d.dn[0][0]
	naming, ok := namedBy(sch, d.shape.Class, ava.Attribute)
	switch {
	case d.shape.Class.Naming() == nil:
		return tree.Refuse(tree.ResultNamingViolation, "a %s has no name", d.shape.Class.Name)
	case !ok:
		return tree.Refuse(tree.ResultNamingViolation, "a %s is named by %s", d.shape.Class.Name, d.shape.Class.Naming().Name)
	}
	if d.fam == domain {
		return d.domainName(naming)
	}
	value, err := cleanName(naming, ava.Value)
	if err != nil {
		return err
	}
	d.o.naming, d.o.rdn = naming.Name, value
	switch have := d.o.attrs[naming.Name]; {
	case len(have) == 0:
		d.o.attrs[naming.Name] = []string{value}
	case indexOf(naming, have, value) >= 0:
	case naming.Single:
		return tree.Refuse(tree.ResultNamingViolation, "%s is not what the name says", naming.Name)
	default:
		d.o.attrs[naming.Name] = append([]string{value}, have...)
	}
	return nil
}

// domainName: the RDN of a domain is its whole DNS name.
func (d *draft) domainName(naming *schema.Attribute) error {
	labels := d.dn.Labels()
	if len(labels) != len(d.dn) {
		return tree.Refuse(tree.ResultNamingViolation, "a domain is named by dc alone")
	}
	name, err := directory.FoldDomain(strings.Join(labels, "."))
	if err != nil {
		return tree.Refuse(tree.ResultNamingViolation, "%s", say(err))
	}
	d.o.naming, d.o.rdn = naming.Name, name
	d.o.attrs[naming.Name] = []string{strings.SplitN(name, ".", 2)[0]}
	return nil
}

// cleanName is clean for a value of an RDN: without control characters and not
// longer than a name may be.
func cleanName(naming *schema.Attribute, v string) (string, error) {
	v, err := clean(naming, v)
	if err != nil {
		return "", err
	}
	v = strings.TrimSpace(v)
	if v == "" || len([]rune(v)) > maxRDN || strings.ContainsFunc(v, isControl) {
		return "", tree.Refuse(tree.ResultNamingViolation, "%q cannot be a name", v)
	}
	return v, nil
}

// complete gives what follows from what was given.
func (d *draft) complete(sch *schema.Schema) error {
	o := d.o
	touched := map[string]bool{"mail": true, "proxyAddresses": true}
	if err := o.addressRules(attributes{}, touched); err != nil {
		return err
	}
	switch d.fam {
	case person, computer:
		if err := d.account(); err != nil {
			return err
		}
	case group:
		if o.attrs.get("groupType") == "" {
			o.attrs.set("groupType", strconv.Itoa(groupGlobal|groupSecurity)) // AD's default
		}
		if err := checkGroupType(o.attrs.get("groupType")); err != nil {
			return err
		}
	}
	if (o.class == "attributeSchema" || o.class == "classSchema") && o.attrs["lDAPDisplayName"] == nil {
		get := func(name string) []string { return o.attrs[name] }
		if o.class == "attributeSchema" {
			a, err := schema.AttributeFrom(get)
			if err != nil {
				return tree.Refuse(tree.ResultConstraintViolation, "%s", say(err))
			}
			o.attrs.set("lDAPDisplayName", a.Name)
		} else if c, err := schema.ClassFrom(get); err == nil {
			o.attrs.set("lDAPDisplayName", c.Name)
		}
	}
	return nil
}

// account reads what the attributes of a new account say of it.
func (d *draft) account() error {
	o := d.o
	d.enabled = true
	base := controlNormal
	if d.fam == computer {
		base = controlMachine
	}
	control := base
	if v := o.attrs.get("userAccountControl"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			return tree.Refuse(tree.ResultInvalidSyntax, "userAccountControl is a number")
		}
		if control, err = cleanControl(n, base); err != nil {
			return err
		}
	}
	d.enabled = control&controlDisabled == 0
	room := slices.ContainsFunc(o.attrs["msExchResourceMetaData"], func(v string) bool { return strings.HasPrefix(v, "ResourceType:") })
	if d.fam == person && !room {
		o.account = &account{epoch: 1, enabled: d.enabled}
	} else {
		if d.password != "" {
			return tree.Refuse(tree.ResultUnwillingToPerform, "nobody signs in to a %s", map[bool]string{true: "room", false: "computer"}[room])
		}
		if room {
			control |= controlDisabled
		}
	}
	o.attrs.set("userAccountControl", strconv.Itoa(control))
	var err error
	if d.expires, err = readExpires(o.attrs.get("accountExpires")); err != nil {
		return err
	}
	switch v := o.attrs.get("pwdLastSet"); v {
	case "0":
		d.must = true
	case "", "-1":
		o.attrs.set("pwdLastSet")
		if d.password != "" {
			o.attrs.set("pwdLastSet", fileTime(time.Now()))
		}
	default:
		return tree.Refuse(tree.ResultConstraintViolation, "pwdLastSet is 0 or -1")
	}
	if v := o.attrs.get("lockoutTime"); v != "" && v != "0" {
		return tree.Refuse(tree.ResultConstraintViolation, "lockoutTime is 0")
	}
	delete(o.attrs, "lockoutTime")
	return nil
}

// required refuses an entry without what its classes want (RFC 4512 §2.4.2).
func (d *draft) required(sch *schema.Schema) error {
	for _, a := range d.shape.Requires() {
		if a.Automatic || givenAnyway[a.Name] || a.Name == "objectClass" || d.has(a) {
			continue
		}
		return tree.Refuse(tree.ResultObjectClassViolation, "a %s must have %s", d.shape.Class.Name, a.Name)
	}
	return nil
}

func (d *draft) has(a *schema.Attribute) bool {
	return len(d.o.attrs[a.Name]) > 0 || len(d.cold[a.Name]) > 0 ||
		slices.ContainsFunc(d.links, func(l draftLink) bool { return l.a == a })
}

// hashPassword does the slow work before any lock is held.
func (s *Store) hashPassword(ctx context.Context, as directory.Principal, d *draft) error {
	if d.err != nil || d.password == "" {
		return nil
	}
	if d.err = s.judgeDraft(ctx, as, d); d.err != nil {
		return nil
	}
	hash, err := s.hash(ctx, d.password, "")
	d.hash = hash
	return err
}

// schemaFor tries a new schema object on the schema of now.
func schemaFor(sch *schema.Schema, class string, attrs attributes) (*schema.Schema, error) {
	x, err := extensionOf(sch, class, attrs)
	if err != nil {
		return nil, tree.Refuse(tree.ResultConstraintViolation, "%s", say(err))
	}
	next, err := sch.Extend(x)
	switch {
	case err == nil:
		return next, nil
	case fault.Of(err) == fault.Exists:
		return nil, tree.Refuse(tree.ResultEntryAlreadyExists, "%s", say(err))
	}
	return nil, tree.Refuse(tree.ResultUnwillingToPerform, "%s", say(err))
}

// extensionOf is what a schema object adds to the schema.
func extensionOf(sch *schema.Schema, class string, attrs attributes) (x schema.Extension, err error) {
	get := func(name string) []string {
		a, ok := sch.Attribute(name)
		if !ok {
			return attrs[name]
		}
		return decodeAll(a, attrs[name])
	}
	if class == "attributeSchema" {
		a, err := schema.AttributeFrom(get)
		x.Attributes = []schema.Attribute{a}
		return x, err
	}
	c, err := schema.ClassFrom(get)
	x.Classes = []schema.Class{c}
	return x, err
}
