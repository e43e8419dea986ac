package schema

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"waypost/internal/fault"
)

// The two tables: names, numbers and flags of Windows Server 2016's schema and
// of Exchange 2003's additions, a line each below a line of column names.
var (
	//go:embed attributes.csv
	attributesCSV string
	//go:embed classes.csv
	classesCSV string
)

// loadBase reads the tables. They are part of the program: a mistake in them is
// one of ours, and a test would have found it.
func loadBase() *Schema {
	s := &Schema{}
	for _, row := range table(attributesCSV) {
		s.attributes = append(s.attributes, attributeOf(row))
	}
	for i := range operational {
		a := operational[i]
		s.attributes = append(s.attributes, &a)
	}
	for _, row := range table(classesCSV) {
		s.classes = append(s.classes, classOf(row))
	}
	s.index()
	if err := s.close(); err != nil {
		panic(fmt.Sprintf("directory/schema: the tables: %v", err))
	}
	return s
}

// table reads CSV text into rows by column name.
func table(text string) []map[string]string {
	all, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		panic(fmt.Sprintf("directory/schema: %v", err))
	}
	var rows []map[string]string
	for _, record := range all[1:] {
		row := make(map[string]string, len(record))
		for i, column := range all[0] {
			row[column] = record[i]
		}
		rows = append(rows, row)
	}
	return rows
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil && s != "" {
		panic(fmt.Sprintf("directory/schema: number %q", s))
	}
	return n
}

func attributeOf(row map[string]string) *Attribute {
	syntax, ok := syntaxByName(row["ad_syntax"])
	if !ok {
		panic(fmt.Sprintf("directory/schema: syntax of %s", row["attribute"]))
	}
	a := &Attribute{
		Name: row["attribute"], OID: row["attribute_oid"], Aliases: aliases[row["attribute"]],
		Syntax: syntax, Single: row["cardinality"] == "single", Meaning: row["meaning"],
		SearchFlags: SearchFlags(number(row["search_flags"])), // never more than 10 bits
		LinkID:      number(row["link_id"]), RangeUpper: number(row["range_upper"]),
		// The forest is prepared for mail from its first day.
		InGlobalCatalog: row["in_global_catalog"] != "no",
		Secret:          secrets[row["attribute"]],
	}
	for trait := range strings.SplitSeq(row["traits"], "; ") {
		switch trait {
		case "constructed":
			a.Constructed, a.Operational, a.ServerOnly = true, true, true
		case "back-link":
			a.ServerOnly = true
		case "not-replicated":
			a.NotReplicated = true
		}
		if flags, ok := strings.CutPrefix(trait, "Exchange sets searchFlags "); ok {
			a.SearchFlags = SearchFlags(number(flags))
		}
	}
	a.ServerOnly = a.ServerOnly || serverOnly[a.Name]
	a.Automatic = automatic[a.Name]
	a.Fragments = fragments[a.Name]
	return a
}

func classOf(row map[string]string) *Class {
	c := &Class{
		Name: row["class"], OID: row["class_oid"], RDN: row["rdn_attribute"],
		Auxiliaries: strings.Fields(row["auxiliaries"]), Must: strings.Fields(row["must"]),
		May: strings.Fields(row["may"]), Superiors: strings.Fields(row["possible_superiors"]),
		CategoryClass: categories[row["class"]],
	}
	c.May = append(c.May, moreMay[c.Name]...)
	c.Superiors = union(c.Superiors, moreSuperiors[c.Name])
	if c.Name != "top" { // which the table has below itself
		c.Super = row["superclass"]
	}
	switch row["category"] {
	case "structural":
		c.Category = Structural
	case "abstract":
		c.Category = Abstract
	case "auxiliary":
		c.Category = Auxiliary
	default:
		c.Category = Type88
	}
	return c
}

// close computes the closures of every class. The base schema names some
// superiors that it does not have; an extension may not.
func (s *Schema) close() error {
	done := map[*Class]bool{}
	for _, c := range s.classes {
		if err := s.closeClass(c, done, nil); err != nil {
			return err
		}
	}
	return nil
}

func (s *Schema) closeClass(c *Class, done map[*Class]bool, path []*Class) error {
	if done[c] {
		return nil
	}
	if slices.Contains(path, c) {
		return fault.New(fault.Invalid, "class %s is above itself", c.Name)
	}
	path = append(path, c)
	c.chain, c.aux, c.allowed, c.required = []*Class{c}, nil, nil, nil
	c.under, c.superiors, c.rdn, c.category = nil, nil, nil, c
	inherit := func(from *Class) {
		c.allowed, c.required = c.allowed.with(from.allowed), c.required.with(from.required)
		for _, x := range from.aux {
			if !slices.Contains(c.aux, x) {
				c.aux = append(c.aux, x)
			}
		}
	}
	if c.Super != "" {
		super, ok := s.Class(c.Super)
		if !ok {
			return fault.New(fault.Invalid, "class %s: no superclass %q", c.Name, c.Super)
		}
		if err := s.closeClass(super, done, path); err != nil {
			return err
		}
		c.chain = append(c.chain, super.chain...)
		inherit(super)
		c.rdn, c.under = super.rdn, slices.Clone(super.under)
		c.superiors = slices.Clone(super.superiors)
	}
	for _, n := range c.Auxiliaries {
		x, ok := s.Class(n)
		if !ok {
			return fault.New(fault.Invalid, "class %s: no auxiliary class %q", c.Name, n)
		}
		if err := s.closeClass(x, done, path); err != nil {
			return err
		}
		inherit(x)
		for _, up := range x.chain {
			if up.Name != "top" && !slices.Contains(c.aux, up) {
				c.aux = append(c.aux, up)
			}
		}
	}
	for _, list := range []struct {
		names []string
		must  bool
	}{{c.Must, true}, {c.May, false}} {
		for _, n := range list.names {
			a, ok := s.Attribute(n)
			if !ok {
				return fault.New(fault.Invalid, "class %s: no attribute %q", c.Name, n)
			}
			c.allowed.add(a.Number)
			if list.must {
				c.required.add(a.Number)
			}
		}
	}
	for _, n := range c.Superiors {
		up, ok := s.Class(n)
		if !ok && c.Extension {
			return fault.New(fault.Invalid, "class %s: no possible superior %q", c.Name, n)
		}
		if ok && !c.under.has(up.Number) {
			c.under.add(up.Number)
			c.superiors = append(c.superiors, up)
		}
	}
	if c.RDN != "" {
		a, ok := s.Attribute(c.RDN)
		if !ok {
			return fault.New(fault.Invalid, "class %s: no attribute %q", c.Name, c.RDN)
		}
		c.rdn = a
	}
	if c.CategoryClass != "" {
		other, ok := s.Class(c.CategoryClass)
		if !ok {
			return fault.New(fault.Invalid, "class %s: no class %q for its category", c.Name, c.CategoryClass)
		}
		c.category = other
	}
	if c.rdn != nil {
		c.allowed.add(c.rdn.Number)
	}
	c.must = s.attributesOf(c.required)
	done[c] = true
	return nil
}
