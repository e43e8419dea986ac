package tree

import (
	"strconv"
	"strings"

	"waypost/directory/schema"
	"waypost/internal/fault"
)

// Truth is the value of a filter (RFC 4511 §4.5.1.7).
type Truth int8

// The three values. Only True finds an entry.
const (
	False Truth = iota
	True
	Undefined
)

// Subject is an entry that a filter is evaluated on.
type Subject interface {
	// Values gives the attribute's values, none when the entry has none or the
	// reader may not see them.
	Values(a *schema.Attribute) []string
	// InChain tells whether links of a lead from the entry to the object named,
	// over any number of steps (MS-ADTS 3.1.1.3.4.4.3).
	InChain(a *schema.Attribute, to DN) bool
	// Name gives the entry's name, for filters on its parts (":dn").
	Name() DN
}

// Node is a filter resolved against a schema: every name looked up, every
// assertion brought into the form that values are compared in. It is built once
// for a search and read only afterwards.
type Node struct {
	Op    FilterOp
	Parts []*Node
	// Undefined: an unknown attribute, an assertion that no value can meet, a
	// rule that does not fit, a secret. The other fields are then not set.
	Undefined bool
	// Attribute is nil only for an Extensible on any attribute.
	Attribute *schema.Attribute
	// Key is the assertion: Attribute.Assertion's key for Equal and Approx (of
	// DN syntax the DN's Key), Syntax.Order's for GreaterOrEqual and
	// LessOrEqual, Rule.Key's for Extensible.
	Key string
	// Initial, Any and Final are the folded parts of Substrings.
	Initial, Final string
	Any            []string
	Rule           *schema.Rule // Extensible; nil for equality
	Bits           int64        // of the bit rules
	DNAttributes   bool
	// Target is the name that is compared with, of attributes of DN syntax. It
	// may have a Special form.
	Target DN
	// Category is set when objectCategory was given as the name of a class:
	// entries of all classes with this category match.
	Category *schema.Class
}

// Prepare resolves a filter. ANR is expanded. Nothing about it fails: what the
// schema does not know is Undefined.
func Prepare(s *schema.Schema, f *Filter) *Node {
	return prepare(s, ExpandANR(f, s))
}

func prepare(s *schema.Schema, f *Filter) *Node {
	n := &Node{}
	n.prepare(s, f, nil)
	return n
}

// prepare makes the node of a filter. before, if not nil, is the one of the part
// in front of it: what ANR becomes asks many attributes for one text.
func (n *Node) prepare(s *schema.Schema, f *Filter, before *Node) {
	n.Op = f.Op
	switch f.Op {
	case And, Or, Not:
		nodes := make([]Node, len(f.Parts))
		n.Parts = make([]*Node, len(f.Parts))
		for i := range nodes {
			n.Parts[i] = &nodes[i]
			if i > 0 && f.Parts[i].begins() && f.Parts[i-1].begins() && f.Parts[i].Initial == f.Parts[i-1].Initial {
				nodes[i].prepare(s, &f.Parts[i], &nodes[i-1])
			} else {
				nodes[i].prepare(s, &f.Parts[i], nil)
			}
		}
		n.Undefined = f.Op == Not && len(n.Parts) != 1
		return
	case Equal, Substrings, GreaterOrEqual, LessOrEqual, Present, Approx, Extensible:
	default:
		n.Undefined = true
		return
	}
	if f.Attribute != "" || f.Op != Extensible {
		a, ok := s.Attribute(f.Attribute)
		if !ok || a.Secret {
			n.Undefined = true
			return
		}
		n.Attribute = a
	}
	if before != nil && !before.Undefined && before.Attribute.Syntax == n.Attribute.Syntax {
		n.Initial = before.Initial
		return
	}
	if !n.resolve(s, f) {
		*n = Node{Op: f.Op, Undefined: true}
	}
}

// begins tells whether f asks for a beginning alone.
func (f *Filter) begins() bool {
	return f.Op == Substrings && len(f.Any) == 0 && f.Final == ""
}

// resolve fills in the assertion; false is Undefined.
func (n *Node) resolve(s *schema.Schema, f *Filter) (ok bool) {
	switch f.Op {
	case Present:
		return true
	case Equal, Approx:
		return n.equality(s, f.Value)
	case GreaterOrEqual, LessOrEqual:
		n.Key, ok = n.order(f.Value)
		return ok
	case Substrings:
		return n.substrings(f)
	default:
		return n.extensible(s, f)
	}
}

func (n *Node) equality(s *schema.Schema, value string) (ok bool) {
	a := n.Attribute
	switch {
	case a.Name == "objectCategory":
		if c, ok := s.Class(value); ok {
			n.Category = c.ObjectCategory()
			n.Key = RDN{{"cn", schema.CommonName(n.Category.Name)}}.Key()
			return true
		}
		fallthrough
	case a.Syntax.DN():
		dn, err := ParseDN(value)
		if err != nil {
			return false
		}
		n.Target, n.Key = dn, dn.Key()
		return true
	case a.Syntax == schema.ObjectIdentifier:
		n.Key, ok = objectIdentifier(s, value)
		return ok
	case a.Syntax == schema.DNBinary || a.Syntax == schema.DNString:
		n.Key = dnDataKey(value)
		return n.Key != ""
	default:
		n.Key, ok = a.Assertion(value)
		return ok
	}
}

// objectIdentifier folds a name and turns the number of a class or attribute
// into it (RFC 4517 §4.2.26): entries hold names.
func objectIdentifier(s *schema.Schema, value string) (string, bool) {
	value = strings.TrimSpace(value)
	if schema.ObjectIdentifier.Validate(value) != nil {
		return "", false
	}
	if c, ok := s.Class(value); ok {
		value = c.Name
	} else if a, ok := s.Attribute(value); ok {
		value = a.Name
	}
	return schema.ObjectIdentifier.Key(value), true
}

// dnDataKey folds the name within a DN with data.
func dnDataKey(value string) string {
	data, name, ok := schema.SplitDNData(value)
	dn, err := ParseDN(name)
	if !ok || err != nil {
		return ""
	}
	return strconv.Itoa(len(data)) + ":" + data + ":" + dn.Key()
}

func (n *Node) order(value string) (string, bool) {
	if n.Attribute == nil || !n.Attribute.Syntax.Ordered() {
		return "", false
	}
	if _, ok := n.Attribute.Assertion(value); !ok {
		return "", false
	}
	return n.Attribute.Syntax.Order(value)
}

// substrings folds the parts. Names, numbers, truth and times have none (AD
// gives nothing for them).
func (n *Node) substrings(f *Filter) bool {
	x := n.Attribute.Syntax
	if x.Substring() == "" {
		return false
	}
	n.Initial, n.Final = x.Part(f.Initial, true, false), x.Part(f.Final, false, true)
	for _, part := range f.Any {
		n.Any = append(n.Any, x.Part(part, false, false))
	}
	return true
}

func (n *Node) extensible(s *schema.Schema, f *Filter) (ok bool) {
	n.DNAttributes = f.DNAttributes
	if f.Rule == "" {
		return n.Attribute != nil && n.equality(s, f.Value)
	}
	if n.Rule, ok = schema.LookupRule(f.Rule); !ok {
		return false
	}
	if n.Attribute != nil && !n.Rule.Fits(n.Attribute.Syntax) {
		return false
	}
	switch n.Rule.Kind {
	case schema.RuleBitAnd, schema.RuleBitOr:
		bits, err := strconv.ParseInt(f.Value, 10, 64)
		n.Bits = bits
		return err == nil
	case schema.RuleInChain:
		dn, err := ParseDN(f.Value)
		n.Target = dn
		return err == nil && n.Attribute != nil
	case schema.RuleSubstrings:
		// RFC 4517 §3.3.30 would have a pattern here; nobody sends one.
		return false
	case schema.RuleEqual, schema.RuleOrder, schema.RuleFirst:
	}
	if n.Rule.Syntax == schema.DistinguishedName {
		dn, err := ParseDN(f.Value)
		if err != nil {
			return false
		}
		n.Target, n.Key = dn, dn.Key()
		return true
	}
	if n.Rule.Syntax == schema.ObjectIdentifier {
		n.Key, ok = objectIdentifier(s, f.Value)
		return ok
	}
	n.Key, ok = n.Rule.Key(f.Value)
	return ok
}

// ValueKey is what values of an attribute are compared by, as Syntax.Key but
// with names of objects read: two values are equal when their keys are.
func ValueKey(a *schema.Attribute, value string) string {
	switch {
	case a.Syntax.DN():
		if dn, err := ParseDN(value); err == nil {
			return dn.Key()
		}
	case a.Syntax == schema.DNBinary || a.Syntax == schema.DNString:
		if key := dnDataKey(value); key != "" {
			return key
		}
	}
	return a.Syntax.Key(value)
}

// CheckValue tells whether value may be one of the attribute. The refusal is
// ResultInvalidSyntax, or ResultConstraintViolation past its bounds.
func CheckValue(a *schema.Attribute, value string) error {
	if err := a.Check(value); err != nil {
		code := ResultInvalidSyntax
		if fault.Of(err) == fault.TooLarge {
			code = ResultConstraintViolation
		}
		return Refuse(code, "%s", fault.Say(err))
	}
	wrong := false
	switch {
	case a.Syntax.DN():
		_, err := ParseDN(value)
		wrong = err != nil
	case a.Syntax == schema.DNBinary || a.Syntax == schema.DNString:
		wrong = dnDataKey(value) == ""
	}
	if wrong {
		return Refuse(ResultInvalidSyntax, "%s: not a name of an object", a.Name)
	}
	return nil
}

// Match tells whether the filter is True for the entry. Everything that s does
// not know or e does not have is as in Node.Evaluate.
func Match(f *Filter, s *schema.Schema, e Subject) bool {
	return Prepare(s, f).Evaluate(s, e) == True
}

// Evaluate computes the filter. As in AD, an attribute that the entry does not
// have makes a comparison False, so that its Not is True (RFC 4511 would have
// Undefined); only the bit rules are Undefined then.
func (n *Node) Evaluate(s *schema.Schema, e Subject) Truth {
	if n.Undefined {
		return Undefined
	}
	switch n.Op {
	case And:
		result := True
		for _, part := range n.Parts {
			switch part.Evaluate(s, e) {
			case False:
				return False
			case Undefined:
				result = Undefined
			case True:
			}
		}
		return result
	case Or:
		result := False
		for _, part := range n.Parts {
			switch part.Evaluate(s, e) {
			case True:
				return True
			case Undefined:
				result = Undefined
			case False:
			}
		}
		return result
	case Not:
		switch n.Parts[0].Evaluate(s, e) {
		case True:
			return False
		case False:
			return True
		default:
			return Undefined
		}
	case Present:
		return truth(len(e.Values(n.Attribute)) > 0)
	case Extensible:
		return n.evaluateExtensible(s, e)
	default:
		for _, v := range e.Values(n.Attribute) {
			if n.MatchesValue(n.Attribute, v) {
				return True
			}
		}
		return False
	}
}

func truth(b bool) Truth {
	if b {
		return True
	}
	return False
}

func (n *Node) evaluateExtensible(s *schema.Schema, e Subject) Truth {
	if n.Rule != nil && n.Rule.Kind == schema.RuleInChain {
		return truth(e.InChain(n.Attribute, n.Target))
	}
	candidates := s.Attributes()
	if n.Attribute != nil {
		candidates = []*schema.Attribute{n.Attribute}
	}
	met := false
	for _, a := range candidates {
		if a.Secret || n.Rule != nil && !n.Rule.Fits(a.Syntax) {
			continue
		}
		for _, v := range e.Values(a) {
			if n.MatchesValue(a, v) {
				return True
			}
			met = true
		}
	}
	if n.DNAttributes {
		for _, rdn := range e.Name() {
			for _, ava := range rdn {
				a, ok := s.Attribute(ava.Attribute)
				if !ok || n.Attribute != nil && a != n.Attribute || n.Rule != nil && !n.Rule.Fits(a.Syntax) {
					continue
				}
				if n.MatchesValue(a, ava.Value) {
					return True
				}
			}
		}
	}
	if n.Rule != nil && (n.Rule.Kind == schema.RuleBitAnd || n.Rule.Kind == schema.RuleBitOr) && !met {
		return Undefined
	}
	return False
}

// MatchesValue tells whether one value of a meets the comparison: of a search,
// or of the matched-values control (RFC 3876 §2), whose items are simple. And,
// Or, Not and links in chain are met by no single value.
func (n *Node) MatchesValue(a *schema.Attribute, value string) bool {
	if n.Undefined || a.Secret || n.Attribute != nil && a != n.Attribute {
		return false
	}
	switch n.Op {
	case Present:
		return true
	case Equal:
		return n.equals(a, value)
	case Approx:
		if a.Syntax.Text() {
			return schema.FoldText(value) == schema.FoldText(n.Key)
		}
		return n.equals(a, value)
	case GreaterOrEqual:
		key, ok := a.Syntax.Order(value)
		return ok && key >= n.Key
	case LessOrEqual:
		key, ok := a.Syntax.Order(value)
		return ok && key <= n.Key
	case Substrings:
		return n.contains(a.Syntax.Key(value))
	case Extensible:
		return n.meetsRule(a, value)
	default:
		return false
	}
}

func (n *Node) equals(a *schema.Attribute, value string) bool {
	switch {
	case n.Category != nil:
		dn, err := ParseDN(value)
		return err == nil && len(dn) > 0 && dn[0].Key() == n.Key
	case a.Syntax.DN():
		dn, err := ParseDN(value)
		return err == nil && dn.Key() == n.Key
	case a.Syntax == schema.DNBinary || a.Syntax == schema.DNString:
		return dnDataKey(value) == n.Key
	default:
		return a.Syntax.Key(value) == n.Key
	}
}

// contains looks for the parts in their order, without overlap.
func (n *Node) contains(key string) bool {
	rest, ok := strings.CutPrefix(key, n.Initial)
	if !ok {
		return false
	}
	if rest, ok = strings.CutSuffix(rest, n.Final); !ok {
		return false
	}
	for _, part := range n.Any {
		_, behind, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = behind
	}
	return true
}

func (n *Node) meetsRule(a *schema.Attribute, value string) bool {
	if n.Rule == nil {
		return n.equals(a, value)
	}
	if !n.Rule.Fits(a.Syntax) {
		return false
	}
	switch n.Rule.Kind {
	case schema.RuleBitAnd, schema.RuleBitOr:
		return n.Rule.Bits(value, n.Bits)
	case schema.RuleFirst:
		return firstComponent(value) == n.Key
	case schema.RuleOrder:
		key, ok := n.Rule.Key(value)
		return ok && key < n.Key // RFC 4517 §4.2: TRUE when the value is before
	case schema.RuleEqual:
		if n.Rule.Syntax == schema.DistinguishedName {
			dn, err := ParseDN(value)
			return err == nil && dn.Key() == n.Key
		}
		key, ok := n.Rule.Key(value)
		return ok && key == n.Key
	default:
		return false
	}
}

// firstComponent is the number that a description begins with (RFC 4517
// §4.2.26).
func firstComponent(description string) string {
	fields := strings.Fields(description)
	if len(fields) > 1 && fields[0] == "(" {
		return fields[1]
	}
	return ""
}
