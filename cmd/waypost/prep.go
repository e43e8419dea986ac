package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
	"waypost/internal/ldif"
)

// A piece is an entry that a prepared forest or domain has.
type piece struct {
	rdn   string // below what came before: a path of RDNs, the nearest container last
	class string
	more  []string // "name: value"; a value that ends with DOMAIN gets its DN, one with NAME its DNS name
}

// forestPieces lie below the configuration, domainPieces below a domain. The
// directory makes most of them by itself with a new domain; forests of earlier
// versions, and those from which somebody removed something, may lack them.
var (
	forestPieces = []piece{
		{"CN=Services", "container", nil},
		{"CN=Waypost,CN=Services", "container", nil},
		{"CN=Mailbox Databases,CN=Waypost,CN=Services", "container", nil},
		{"CN=default,CN=Mailbox Databases,CN=Waypost,CN=Services", "msExchPrivateMDB", []string{"deliveryMechanism: 0"}},
		{"CN=Partitions", "crossRefContainer", nil},
		{"CN=Sites", "sitesContainer", nil},
		{"CN=Subnets,CN=Sites", "subnetContainer", nil},
		{"CN=Inter-Site Transports,CN=Sites", "interSiteTransportContainer", nil},
		{"CN=IP,CN=Inter-Site Transports,CN=Sites", "interSiteTransport", []string{"transportDLLName: ismip.dll", "transportAddressAttribute: dNSHostName"}},
	}
	domainPieces = []piece{
		{"CN=Users", "container", nil},
		{"CN=Computers", "container", nil},
		{"OU=Domain Controllers", "organizationalUnit", nil},
		{"CN=System", "container", nil},
		{"CN=Password Settings Container,CN=System", "msDS-PasswordSettingsContainer", nil},
		{"CN=LostAndFound", "lostAndFound", nil},
		{"CN=ForeignSecurityPrincipals", "container", nil},
		{"CN=Microsoft Exchange System Objects", "msExchSystemObjectsContainer", nil},
		// A new server needs nothing but to be a member of the first group.
		{"CN=Exchange Domain Servers,CN=Users", "group", []string{"groupType: -2147483646", "sAMAccountName: NAMEExchange Domain Servers", "description: Mail servers of the domain"}},
		{"CN=Exchange Enterprise Servers,CN=Users", "group", []string{"groupType: -2147483644", "sAMAccountName: NAMEExchange Enterprise Servers", "description: Mail servers of the forest", "member: CN=Exchange Domain Servers,CN=Users,DOMAIN"}},
	}
)

// prepared is what a preparation did, or would do.
type prepared struct {
	DryRun  bool
	Present int
	Changed []string // what was made or changed, in words
}

func (a *app) prepForest(ctx context.Context, c *cli) error {
	in := c.Directory.Prep.Forest
	bases, err := a.bases("")
	if err != nil {
		return err
	}
	res := &prepared{DryRun: in.DryRun, Changed: []string{}}
	config := bases[0].Child(tree.RDN{{Attribute: "cn", Value: "Configuration"}})
	if err := a.pieces(ctx, res, config, "", forestPieces); err != nil {
		return err
	}
	if in.LDIF != "" {
		if err := a.extend(ctx, res, config, in.LDIF); err != nil {
			return err
		}
	}
	return a.prepDone(res, "The forest")
}

func (a *app) prepDomain(ctx context.Context, c *cli) error {
	in := c.Directory.Prep.Domain
	res := &prepared{DryRun: in.DryRun, Changed: []string{}}
	bases, err := a.bases("")
	if err != nil {
		return err
	}
	found := false
	for i, dn := range bases {
		labels := dn.Labels()
		name := strings.Join(labels, ".")
		if len(labels) != len(dn) || in.Name != "" && !strings.EqualFold(in.Name, name) {
			continue
		}
		found = true
		before := ""
		if i > 0 { // names of accounts are unique in the whole forest
			before = name + " "
		}
		if err := a.pieces(ctx, res, dn, before, domainPieces); err != nil {
			return err
		}
	}
	if !found {
		return fault.New(fault.NotFound, "no domain %s; add it with: waypost domain add %s", in.Name, in.Name)
	}
	what := "The domain " + in.Name
	if in.Name == "" {
		what = "Every domain"
	}
	return a.prepDone(res, what)
}

func (a *app) prepDone(res *prepared, what string) error {
	return a.out.show(res, func(w io.Writer) {
		for _, c := range res.Changed {
			fmt.Fprintln(w, c)
		}
		switch {
		case len(res.Changed) == 0:
			fmt.Fprintf(w, "%s is prepared; nothing was to be changed (%s there).\n", what, count(res.Present, "thing"))
		case res.DryRun:
			fmt.Fprintf(w, "%s would be changed; nothing was done.\n", count(len(res.Changed), "thing"))
		default:
			fmt.Fprintf(w, "%s is prepared. What was changed is undone only by restoring a backup.\n", what)
		}
	})
}

// exists tells whether there is an entry of a name.
func (a *app) exists(ctx context.Context, dn tree.DN) (bool, error) {
	found := false
	err := a.tree().Search(ctx, operator(), &tree.Query{Base: dn, Scope: tree.Base, Attributes: []string{"1.1"}}, func(*tree.Entry) error {
		found = true
		return nil
	})
	if err != nil && fault.Of(err) == fault.NotFound {
		return false, nil
	}
	return found, err
}

// pieces adds what is missing below a base.
func (a *app) pieces(ctx context.Context, res *prepared, base tree.DN, name string, list []piece) error {
	for _, p := range list {
		rdns, err := tree.ParseDN(p.rdn)
		if err != nil {
			return err
		}
		dn := append(slices.Clone(rdns), base...)
		there, err := a.exists(ctx, dn)
		if err != nil {
			return err
		}
		if there {
			res.Present++
			continue
		}
		res.Changed = append(res.Changed, "Added "+dn.String()+" ("+p.class+").")
		if res.DryRun {
			continue
		}
		attributes := []tree.Attribute{{Name: "objectClass", Values: []string{"top", p.class}}}
		for _, m := range p.more {
			key, v, _ := strings.Cut(m, ": ")
			if rest, ok := strings.CutSuffix(v, "DOMAIN"); ok {
				v = rest + base.String()
			}
			if rest, ok := strings.CutPrefix(v, "NAME"); ok {
				v = name + rest
			}
			attributes = append(attributes, tree.Attribute{Name: key, Values: []string{v}})
		}
		if _, err := a.tree().AddEntry(ctx, operator(), dn, attributes, tree.Options{From: "directory prep"}); err != nil {
			return err
		}
	}
	return nil
}

// extension is one definition of a schema file.
type extension struct {
	line   int
	name   string
	fields []schema.Field
	attr   *schema.Attribute
	class  *schema.Class
}

// extend adds the definitions of a file to the schema: entries of the classes
// attributeSchema and classSchema as Active Directory has them, or values of
// attributeTypes and objectClasses (RFC 4512) as OpenLDAP and others do.
func (a *app) extend(ctx context.Context, res *prepared, config tree.DN, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	list, err := readExtensions(f, file, a.tree().Schema())
	if err != nil {
		return err
	}
	under := config.Child(tree.RDN{{Attribute: "cn", Value: "Schema"}})
	now := a.tree().Schema()
	for _, x := range list {
		if known, same := x.known(now); known {
			if !same {
				return fault.New(fault.Exists, "%s, line %d: %s is in the schema already, and is something else there", file, x.line, x.name)
			}
			res.Present++
			continue
		}
		// Tried on the schema that the ones before made, so that a dry run finds
		// the same mistakes.
		next, err := now.Extend(x.alone())
		if err != nil {
			return fmt.Errorf("%s, line %d: %w", file, x.line, err)
		}
		now = next
		if res.Changed = append(res.Changed, "Added "+x.text()+" to the schema."); res.DryRun {
			continue
		}
		dn := under.Child(tree.RDN{{Attribute: "cn", Value: schema.CommonName(x.name)}})
		var attributes []tree.Attribute
		for _, fl := range x.fields {
			attributes = append(attributes, tree.Attribute{Name: fl.Name, Values: fl.Values})
		}
		if _, err := a.tree().AddEntry(ctx, operator(), dn, attributes, tree.Options{From: "directory prep"}); err != nil {
			return fmt.Errorf("%s, line %d: %w", file, x.line, err)
		}
	}
	return nil
}

func (x *extension) text() string {
	if x.attr != nil {
		return "attribute " + x.name + " (" + x.attr.OID + ")"
	}
	return "class " + x.name + " (" + x.class.OID + ")"
}

func (x *extension) alone() (e schema.Extension) {
	if x.attr != nil {
		e.Attributes = []schema.Attribute{*x.attr}
	} else {
		e.Classes = []schema.Class{*x.class}
	}
	return e
}

// known tells whether the schema has x, and the same.
func (x *extension) known(s *schema.Schema) (known, same bool) {
	if x.attr != nil {
		a, ok := s.Attribute(x.attr.OID)
		return ok, ok && strings.EqualFold(a.Name, x.name) && a.Syntax == x.attr.Syntax && a.Single == x.attr.Single
	}
	c, ok := s.Class(x.class.OID)
	return ok, ok && strings.EqualFold(c.Name, x.name) && c.Category == x.class.Category
}

// readExtensions reads the definitions of a file, attributes first. What it has
// besides is passed over.
func readExtensions(r io.Reader, name string, s *schema.Schema) (list []extension, err error) {
	in := ldif.NewReader(r, ldif.Limits{Record: 8 << 20})
	now := s
	for {
		rec, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s, %w", name, err)
		}
		found, err := definitions(rec, now)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", name, rec.Line, err)
		}
		for _, x := range found {
			list = append(list, x)
			if known, _ := x.known(now); known {
				continue
			}
			if next, err := now.Extend(x.alone()); err == nil {
				now = next // for SUP of those that follow; mistakes are told later
			}
		}
	}
	if len(list) == 0 {
		return nil, fault.New(fault.Invalid, "%s defines neither attributes nor classes", name)
	}
	slices.SortStableFunc(list, func(a, b extension) int {
		switch {
		case a.attr != nil && b.attr == nil:
			return -1
		case a.attr == nil && b.attr != nil:
			return 1
		}
		return 0
	})
	return list, nil
}

// schemaValues are attributes with definitions in RFC 4512's words, by whether
// they are of classes. OpenLDAP's configuration has them with numbers before.
var schemaValues = map[string]bool{"attributetypes": false, "olcattributetypes": false, "objectclasses": true, "olcobjectclasses": true}

func definitions(rec *ldif.Record, s *schema.Schema) (list []extension, err error) {
	values := rec.Attributes
	for _, m := range rec.Mods {
		if m.Op == ldif.ModAdd {
			values = append(values, ldif.Attribute{Name: m.Name, Values: m.Values})
		} else if _, ok := schemaValues[strings.ToLower(m.Name)]; ok {
			return nil, fault.New(fault.Invalid, "a schema is only added to")
		}
	}
	for _, v := range values {
		class, ok := schemaValues[strings.ToLower(v.Name)]
		if !ok {
			continue
		}
		for _, text := range v.Values {
			if _, rest, ok := strings.Cut(text, "}"); ok && strings.HasPrefix(text, "{") {
				text = rest
			}
			x := extension{line: rec.Line}
			if class {
				c, err := schema.ParseClass(text)
				if err != nil {
					return nil, err
				}
				x.name, x.class, x.fields = c.Name, &c, c.Fields()
			} else {
				at, err := s.ParseAttribute(text)
				if err != nil {
					return nil, err
				}
				x.name, x.attr, x.fields = at.Name, &at, at.Fields()
			}
			if x.fields, err = writableFields(s, x.fields); err != nil {
				return nil, err
			}
			list = append(list, x)
			if next, err := s.Extend(x.alone()); err == nil {
				s = next
			}
		}
	}
	if len(list) > 0 || rec.Change != ldif.Entry && rec.Change != ldif.Add {
		return list, nil
	}
	x := extension{line: rec.Line}
	for _, c := range rec.Get("objectClass") {
		switch strings.ToLower(c) {
		case "attributeschema":
			at, err := schema.AttributeFrom(rec.Get)
			if err != nil {
				return nil, err
			}
			x.name, x.attr, x.fields = at.Name, &at, at.Fields()
		case "classschema":
			c, err := schema.ClassFrom(rec.Get)
			if err != nil {
				return nil, err
			}
			x.name, x.class, x.fields = c.Name, &c, c.Fields()
		}
	}
	if x.name == "" {
		return nil, nil
	}
	x.fields, err = writableFields(s, x.fields)
	return []extension{x}, err
}

// writableFields leaves out what the server gives a schema object itself.
func writableFields(s *schema.Schema, fields []schema.Field) ([]schema.Field, error) {
	return slices.DeleteFunc(slices.Clone(fields), func(f schema.Field) bool {
		a, ok := s.Attribute(f.Name)
		return !ok || a.ServerOnly || a.Constructed || f.Name == "name" || f.Name == "schemaIDGUID"
	}), nil
}
