package tree

import (
	"slices"
	"strings"

	"waypost/directory/schema"
)

// ANR is an ambiguous name resolution: what people type to find somebody.
type ANR struct {
	Text  string // to be the beginning of an ANR attribute's value, or all of it
	Exact bool
	// First and Rest are the text's words when it has several: givenName and sn
	// may begin with them in either order. Both are "" otherwise.
	First, Rest string
}

// ANR tells whether f is (anr=…) or (aNR=…*), and what it asks for (MS-ADTS
// 3.1.1.3.1.3.4).
func (f *Filter) ANR() (q ANR, ok bool) {
	if !strings.EqualFold(f.Attribute, "anr") && f.Attribute != "1.2.840.113556.1.4.1208" {
		return q, false
	}
	switch {
	case f.Op == Equal, f.Op == Approx, f.Op == GreaterOrEqual, f.Op == LessOrEqual,
		f.Op == Extensible && f.Rule == "":
		q.Text = f.Value
	case f.Op == Substrings && len(f.Any) == 0 && f.Final == "":
		q.Text = f.Initial
	case f.Op == Present: // (anr=*): AD finds nothing
		return q, true
	default:
		return q, false
	}
	q.Text = strings.TrimSpace(q.Text)
	if text, exact := strings.CutPrefix(q.Text, "="); exact {
		q.Text, q.Exact = strings.TrimSpace(text), true
	}
	if first, rest, several := strings.Cut(q.Text, " "); several {
		q.First, q.Rest = first, strings.TrimSpace(rest)
	}
	return q, true
}

// Filter is what the question is short for (directory-wide rules 2 and 3 of
// MS-ADTS 3.1.1.3.1.3.4): any ANR attribute begins with the text,
// legacyExchangeDN is it, or the two names do in either order.
func (q ANR) Filter(s *schema.Schema) *Filter {
	or := &Filter{Op: Or}
	if q.Text == "" {
		return or // nothing
	}
	begins := func(name, text string) Filter {
		if q.Exact || name == "legacyExchangeDN" {
			return Filter{Op: Equal, Attribute: name, Value: text}
		}
		return Filter{Op: Substrings, Attribute: name, Initial: text}
	}
	or.Parts = make([]Filter, 0, len(s.ANR())+2)
	for _, a := range s.ANR() {
		or.Parts = append(or.Parts, begins(a.Name, q.Text))
	}
	if q.First != "" && q.Rest != "" {
		or.Parts = append(or.Parts,
			Filter{Op: And, Parts: []Filter{begins("givenName", q.First), begins("sn", q.Rest)}},
			Filter{Op: And, Parts: []Filter{begins("givenName", q.Rest), begins("sn", q.First)}})
	}
	return or
}

// maxANR bounds how many questions one filter has: each becomes some twenty
// comparisons. Further ones stay what they are, and Undefined.
const maxANR = 50

// ExpandANR replaces the ANR in the filter by what it is short for. f is not
// changed; without ANR it is given back itself.
func ExpandANR(f *Filter, s *schema.Schema) *Filter {
	left := maxANR
	return expandANR(f, s, &left)
}

func expandANR(f *Filter, s *schema.Schema, left *int) *Filter {
	if q, ok := f.ANR(); ok {
		if *left--; *left < 0 {
			return f
		}
		return q.Filter(s)
	}
	var changed *Filter
	for i := range f.Parts {
		part := expandANR(&f.Parts[i], s, left)
		if part == &f.Parts[i] {
			continue
		}
		if changed == nil {
			clone := *f
			clone.Parts = slices.Clone(f.Parts)
			changed = &clone
		}
		changed.Parts[i] = *part
	}
	if changed == nil {
		return f
	}
	return changed
}
