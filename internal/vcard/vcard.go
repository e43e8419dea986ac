// Package vcard is vCard (RFC 6350, RFC 2426 and vCard 2.1): reading, writing,
// changing, and turning a card of one version into another.
//
// Its law is that of internal/ical: the text is the truth, properties keep their
// order, what is not known stays, one bad line is kept and told. A card of
// version 2.1 is read as the card of 3.0 that says the same (old.go); versions
// 3.0 and 4.0 are kept as they are and turned into each other when a reader needs
// the other one (convert.go).
package vcard

import (
	"errors"
	"io"
	"strings"

	"waypost/internal/contentline"
	"waypost/internal/fault"
)

// Property is one line of a card.
type Property = contentline.Property

// Param is a parameter of a property.
type Param = contentline.Param

// Problem says what was odd about a text that was read all the same.
type Problem = contentline.Problem

// Card is a person, a group, an organization …
type Card struct{ contentline.Properties }

// Limits bound what is read.
type Limits struct {
	contentline.Limits
	Cards int
}

// Object are limits for what one door takes as one item.
var Object = Limits{Limits: contentline.Limits{Size: 20 << 20, Lines: 100_000, Line: 16 << 20}, Cards: 1000}

// Import are limits for a whole address book that is imported.
var Import = Limits{Limits: contentline.Limits{Size: 512 << 20, Lines: 10_000_000, Line: 16 << 20}, Cards: 500_000}

// maxDepth bounds cards in cards (AGENT).
const maxDepth = 4

// Parse reads the cards of a text. Lines outside of all cards are told and left
// out, unless there is no card at all: then they are one.
func Parse(text []byte, limits Limits) ([]*Card, []Problem, error) {
	var cards []*Card
	problems, err := Each(text, limits, func(c *Card, _ int) error {
		cards = append(cards, c)
		return nil
	})
	if err != nil {
		return nil, problems, err
	}
	return cards, problems, nil
}

// Each is Parse for address books: it hands out one card after the other, with
// the line where it begins, and keeps none. It ends with fn's error.
func Each(text []byte, limits Limits, fn func(c *Card, line int) error) ([]Problem, error) {
	r := contentline.NewReader(text, limits.Limits)
	p := parser{r: r, most: limits.Cards}
	var loose Card
	for {
		prop, line, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return r.Problems(), err
		}
		switch {
		case begins(prop):
			card, err := p.card(1)
			if err == nil {
				err = fn(card, line)
			}
			if err != nil {
				return r.Problems(), err
			}
		case ends(prop):
			r.Report(line, "an end without a beginning")
		default:
			if p.count == 0 {
				loose.Properties = append(loose.Properties, prop)
			}
			r.Report(line, "a line outside of all cards")
		}
	}
	if p.count == 0 && len(loose.Properties) > 0 {
		upgrade(&loose)
		if err := fn(&loose, 1); err != nil {
			return r.Problems(), err
		}
	}
	return r.Problems(), nil
}

func begins(p *Property) bool {
	return p.Is("BEGIN") && strings.EqualFold(strings.TrimSpace(p.Value), "VCARD")
}

func ends(p *Property) bool {
	return p.Is("END") && strings.EqualFold(strings.TrimSpace(p.Value), "VCARD")
}

type parser struct {
	r           *contentline.Reader
	count, most int
}

// card reads what follows BEGIN:VCARD.
func (p *parser) card(depth int) (*Card, error) {
	if p.count++; p.count > p.most {
		return nil, fault.New(fault.Limit, "more than %d cards", p.most)
	}
	if depth > maxDepth {
		return nil, fault.New(fault.Limit, "cards in cards deeper than %d", maxDepth)
	}
	card := &Card{}
	for {
		prop, line, err := p.r.Next()
		switch {
		case errors.Is(err, io.EOF):
			p.r.Report(line, "the last card is not closed")
			upgrade(card)
			return card, nil
		case err != nil:
			return nil, err
		case ends(prop):
			upgrade(card)
			return card, nil
		case begins(prop):
			inner, err := p.card(depth + 1)
			if err != nil {
				return nil, err
			}
			card.agent(inner)
		default:
			card.Properties = append(card.Properties, prop)
		}
	}
}

// agent puts a card inside into AGENT's value, as RFC 2426 section 3.5.4 has it.
func (c *Card) agent(inner *Card) {
	value := contentline.Escape(inner.String())
	if n := len(c.Properties); n > 0 && c.Properties[n-1].Is("AGENT") && strings.TrimSpace(c.Properties[n-1].Value) == "" {
		c.Properties[n-1].Value = value
		return
	}
	c.Properties = append(c.Properties, &Property{Name: "AGENT", Value: value})
}

// Append writes the card as canonical text.
func (c *Card) Append(dst []byte) []byte {
	dst = append(dst, "BEGIN:VCARD\r\n"...)
	for _, p := range c.Properties {
		dst = p.Append(dst)
	}
	return append(dst, "END:VCARD\r\n"...)
}

// String is the card's text.
func (c *Card) String() string { return string(c.Append(nil)) }

// Clone copies the card.
func (c *Card) Clone() *Card { return &Card{c.Properties.Clone()} }

// Version is what the card says it is: 3.0 or 4.0, and 3.0 when it says nothing.
func (c *Card) Version() string {
	if v := strings.TrimSpace(c.Text("VERSION")); v != "" {
		return v
	}
	return "3.0"
}
