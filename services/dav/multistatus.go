package dav

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"waypost/store"
)

// asked is what a client wants to know of each resource (RFC 4918 section 9.1).
type asked struct {
	all   bool // allprop
	names bool // propname
	props []xml.Name
}

// readAsked reads allprop, propname, prop and include in an element; nothing is
// allprop.
func readAsked(n *node) asked {
	var a asked
	for _, c := range n.children() {
		switch c.name {
		case davName("allprop"):
			a.all = true
		case davName("propname"):
			a.names = true
		case davName("prop"), davName("include"):
			for _, p := range c.children() {
				if !slices.Contains(a.props, p.name) {
					a.props = append(a.props, p.name)
				}
			}
		}
	}
	if !a.names && a.props == nil && (n == nil || n.child(davName("prop")) == nil) {
		a.all = true
	}
	return a
}

// multi writes a multistatus as its parts are found (RFC 4918 section 13).
type multi struct {
	r     *request
	asked asked
	x     xmlWriter
	begun bool
}

func (r *request) multistatus(a asked) *multi { return &multi{r: r, asked: a} }

func (m *multi) begin() {
	if m.begun {
		return
	}
	m.begun = true
	m.r.out.code = http.StatusMultiStatus
	m.r.out.header().Set("Content-Type", xmlType)
	if m.r.prefer.minimal {
		m.r.out.header().Set("Preference-Applied", "return=minimal")
	}
	m.x.begin(davName("multistatus"))
}

// flush gives what was written to the connection.
func (m *multi) flush() error {
	_, err := m.r.out.Write(m.x.b)
	m.x.b = m.x.b[:0]
	return err
}

// end closes the answer, with what comes after the responses.
func (m *multi) end(tail func(x *xmlWriter)) error {
	m.begin()
	if tail != nil {
		tail(&m.x)
	}
	m.x.end(davName("multistatus"))
	return m.flush()
}

// status writes a response without properties.
func (m *multi) status(href string, code int, c *condition) error {
	m.begin()
	m.x.open(davName("response"))
	m.x.href(href)
	m.x.status(code)
	if c != nil {
		m.x.open(davName("error"))
		m.x.condition(c)
		m.x.close(davName("error"))
	}
	m.x.close(davName("response"))
	return m.flush()
}

func (x *xmlWriter) status(code int) {
	x.text(davName("status"), fmt.Sprintf("HTTP/1.1 %d %s", code, http.StatusText(code)))
}

// add writes the response about one resource.
func (m *multi) add(ctx context.Context, res *resource) error {
	m.begin()
	mark := len(m.x.b)
	if err := m.r.writeResponse(ctx, &m.x, res, m.asked); err != nil {
		m.x.b = m.x.b[:mark]
		return err
	}
	return m.flush()
}

// writeResponse writes what is asked of one resource: what it has, and what it
// has not.
func (r *request) writeResponse(ctx context.Context, x *xmlWriter, res *resource, a asked) error {
	x.open(davName("response"))
	x.href(res.href)
	dead, err := r.dead(ctx, res, a)
	if err != nil {
		return err
	}
	names := a.props
	if a.all || a.names {
		names = nil
		for _, name := range propertyOrder {
			p := liveProperties[name]
			if p.on&res.kind != 0 && (p.all || a.names) {
				names = append(names, name)
			}
		}
		for name := range dead {
			names = append(names, name)
		}
		for _, name := range a.props { // include
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	x.open(davName("propstat"))
	x.open(davName("prop"))
	var missing, refused []xml.Name
	found := 0
	for _, name := range names {
		mark := len(x.b)
		err := r.writeProperty(ctx, x, res, name, dead, a.names)
		switch {
		case err == nil:
			found++
			continue
		case errors.Is(err, errAbsent):
			if !a.names {
				missing = append(missing, name)
			}
		case codeOf(err) == http.StatusForbidden:
			refused = append(refused, name)
		default:
			return err
		}
		x.b = x.b[:mark]
	}
	x.close(davName("prop"))
	x.status(http.StatusOK)
	x.close(davName("propstat"))
	if len(refused) > 0 {
		x.propstat(http.StatusForbidden, refused)
	}
	// RFC 8144 section 2.1: who wants little is not told what there is not.
	if len(missing) > 0 && !r.prefer.minimal {
		x.propstat(http.StatusNotFound, missing)
	}
	x.close(davName("response"))
	return nil
}

func (x *xmlWriter) propstat(code int, names []xml.Name) {
	x.open(davName("propstat"))
	x.open(davName("prop"))
	for _, n := range names {
		x.empty(n)
	}
	x.close(davName("prop"))
	x.status(code)
	x.close(davName("propstat"))
}

// writeProperty writes one property, with its value unless only the name is
// wanted.
func (r *request) writeProperty(ctx context.Context, x *xmlWriter, res *resource, name xml.Name, dead map[xml.Name]string, nameOnly bool) error {
	p := liveProperties[name]
	if p == nil {
		value, ok := dead[name]
		switch {
		case !ok:
			return errAbsent
		case nameOnly:
			x.empty(name)
		default:
			x.str(value)
		}
		return nil
	}
	switch {
	case p.on&res.kind == 0:
		return errAbsent
	case nameOnly:
		x.empty(name)
		return nil
	}
	x.open(name)
	if p.links != nil {
		links, err := p.links(ctx, r, res)
		if err != nil {
			return err
		}
		for _, l := range links {
			x.href(l)
		}
	} else if err := p.write(ctx, r, res, x); err != nil {
		return err
	}
	x.close(name)
	return nil
}

// dead are the dead properties of a resource, when any may be asked for.
func (r *request) dead(ctx context.Context, res *resource, a asked) (map[xml.Name]string, error) {
	if !res.is(kept) {
		return nil, nil
	}
	wanted := a.all || a.names
	for _, name := range a.props {
		wanted = wanted || liveProperties[name] == nil
	}
	if !wanted {
		return nil, nil
	}
	props, err := r.server.folderProps(ctx, r, res)
	if err != nil || len(props.Dead) == 0 {
		return nil, err
	}
	return deadProperties(props), nil
}

func deadProperties(p *store.FolderProps) map[xml.Name]string {
	list := map[xml.Name]string{}
	for key, value := range p.Dead {
		list[nameOfKey(key)] = value
	}
	return list
}
