package schema

// Attribute is an attribute type. It is never changed once it is in a Schema.
type Attribute struct {
	Name    string // lDAPDisplayName, as every answer spells it
	OID     string
	Aliases []string // other names that are understood (commonName)
	Number  int      // dense, from 0; its place in Schema.Attributes
	Syntax  Syntax
	Single  bool // at most one value
	Meaning string

	SearchFlags     SearchFlags
	InGlobalCatalog bool
	// LinkID is AD's: even for a forward link, odd for the back link that the
	// server keeps; 0 for none.
	LinkID int
	// RangeLower and RangeUpper bound the length of text in characters and of
	// octets in bytes, and the value of integers; 0 is no bound.
	RangeLower, RangeUpper int

	// Constructed: made when asked for, never stored.
	Constructed bool
	// Operational: shown only when asked for by name or with "+".
	Operational bool
	// ServerOnly: kept by the server; clients do not write it (RFC 4512 §4.1.2,
	// NO-USER-MODIFICATION).
	ServerOnly bool
	// Automatic: where a class requires it, the server gives it when the client
	// did not.
	Automatic bool
	// Secret: never shown, found or compared, whoever asks.
	Secret bool
	// Fragments: substrings are to be found fast though AD's flag is not set.
	Fragments bool
	// NotReplicated is AD's flag of what each server keeps for itself.
	NotReplicated bool
	// Defunct: AD's only way to remove one; no new values.
	Defunct bool
	// Extension: not part of Base.
	Extension bool
}

// SearchFlags are AD's bits of that name.
type SearchFlags uint32

// The bits of searchFlags (MS-ADTS 2.2.10).
const (
	FlagIndex          SearchFlags = 1
	FlagContainerIndex SearchFlags = 2
	FlagANR            SearchFlags = 4
	FlagTombstone      SearchFlags = 8 // kept on a tombstone
	FlagCopy           SearchFlags = 16
	FlagTuple          SearchFlags = 32 // an index for substrings
	FlagSubtreeVLV     SearchFlags = 64
	FlagConfidential   SearchFlags = 128
	FlagNeverAudit     SearchFlags = 256
	FlagReadOnlyFilter SearchFlags = 512
)

// Indexed tells whether equality on a is to be fast.
func (a *Attribute) Indexed() bool { return a.SearchFlags&FlagIndex != 0 }

// ANR tells whether ambiguous name resolution looks at a.
func (a *Attribute) ANR() bool { return a.SearchFlags&FlagANR != 0 }

// Tuple tells whether substrings of a are to be fast.
func (a *Attribute) Tuple() bool { return a.Fragments || a.SearchFlags&FlagTuple != 0 }

// OnTombstone tells whether a deleted object keeps a.
func (a *Attribute) OnTombstone() bool { return a.SearchFlags&FlagTombstone != 0 }

// Confidential tells whether reading a needs a right of its own.
func (a *Attribute) Confidential() bool { return a.SearchFlags&FlagConfidential != 0 }

// Forward tells whether a is a link that clients write.
func (a *Attribute) Forward() bool { return a.LinkID != 0 && a.LinkID%2 == 0 }

// Back tells whether a is a link that the server keeps.
func (a *Attribute) Back() bool { return a.LinkID%2 == 1 }

// Password tells whether writing a sets a password (unicodePwd, userPassword).
func (a *Attribute) Password() bool { return a.Name == "unicodePwd" || a.Name == "userPassword" }

// SystemFlags are AD's bits of that name for a: 1 not replicated, 2 always in
// the partial set, 4 constructed, 16 of the base schema.
func (a *Attribute) SystemFlags() int {
	flags := 0
	if a.NotReplicated {
		flags |= 1
	}
	if a.Constructed {
		flags |= 4
	}
	if !a.Extension {
		flags |= 16
	}
	return flags
}
