// Package ldif reads and writes directories as text (RFC 2849, with the
// increment of RFC 4525).
//
// Its law: a file is read as a stream, whatever its size, and one record is
// held at a time, within limits. Every record and every error has the number of
// its line. A malformed record is told as a *SyntaxError and passed over to the
// next blank line, so that reading goes on. URLs (":<") are refused: nothing
// outside of the file is ever opened. What a value may be is the schema's to
// say; values here are bytes.
package ldif

import (
	"fmt"
	"strings"

	"waypost/internal/fault"
)

// Attribute is an attribute description, options included ("cn;lang-de"), with
// its values.
type Attribute struct {
	Name   string
	Values []string
}

// Change is what a record asks for.
type Change int

// The kinds of records. An Entry is an attrval-record, the others are
// change records.
const (
	Entry Change = iota
	Add
	Delete
	Modify
	Rename // modrdn, moddn
)

// String gives the word of changetype.
func (c Change) String() string {
	switch c {
	case Entry:
		return "entry"
	case Add:
		return "add"
	case Delete:
		return "delete"
	case Modify:
		return "modify"
	case Rename:
		return "modrdn"
	}
	return "unknown"
}

// ModOp is the kind of a modification; the values are LDAP's (RFC 4511 §4.6).
type ModOp int

// The modifications of RFC 2849 and RFC 4525 §3.
const (
	ModAdd ModOp = iota
	ModDelete
	ModReplace
	ModIncrement
)

var modWords = []string{"add", "delete", "replace", "increment"}

// String gives the word of a mod-spec.
func (o ModOp) String() string {
	if o < 0 || int(o) >= len(modWords) {
		return "unknown"
	}
	return modWords[o]
}

// Mod is one part of a Modify record.
type Mod struct {
	Op     ModOp
	Name   string
	Values []string
}

// Control is a control of a change record.
type Control struct {
	OID      string
	Critical bool
	Value    string
	HasValue bool
}

// Record is one record of a file. It stays good after the next one is read.
type Record struct {
	Line       int // of its first line; 0 for one that was not read
	DN         string
	Change     Change
	Controls   []Control
	Attributes []Attribute // of Entry and Add, each once, in order of appearance
	Mods       []Mod       // of Modify
	// Of Rename. Superior is nil when the entry stays where it is.
	NewRDN    string
	DeleteOld bool
	Superior  *string
}

// Get gives the values of an attribute, named without case.
func (r *Record) Get(name string) []string {
	for i := range r.Attributes {
		if strings.EqualFold(r.Attributes[i].Name, name) {
			return r.Attributes[i].Values
		}
	}
	return nil
}

// SyntaxError tells what is wrong with one record. Reading goes on behind it.
type SyntaxError struct {
	Line  int    // where it is wrong
	Start int    // the record's first line
	DN    string // as far as it was read
	Why   string
}

// Error names the line.
func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Why) }

// Unwrap gives the fault, which is Invalid.
func (e *SyntaxError) Unwrap() error { return fault.New(fault.Invalid, "line %d: %s", e.Line, e.Why) }
