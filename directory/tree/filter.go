package tree

// FilterOp is the kind of a filter; the values are the tags of RFC 4511 §4.5.1.7.
type FilterOp int

// The kinds of RFC 4511 §4.5.1.7.
const (
	And FilterOp = iota
	Or
	Not
	Equal
	Substrings
	GreaterOrEqual
	LessOrEqual
	Present
	Approx
	Extensible
)

// MaxFilterDepth bounds how deep filters nest, MaxFilterParts how many parts
// one has in all; both are refused before anything is built.
const (
	MaxFilterDepth = 100
	MaxFilterParts = 10_000
)

// Filter is a search filter.
type Filter struct {
	Op        FilterOp
	Parts     []Filter // of And, Or; of Not one
	Attribute string   // as the client wrote it, without options; "" of an Extensible for any
	Value     string   // assertion value, raw bytes
	// Substrings: Initial* Any* … *Final.
	Initial, Final string
	Any            []string
	// Extensible.
	Rule         string // matching rule, OID or name; "" for equality
	DNAttributes bool
}
