package ldap

import (
	"errors"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// pageRequest is the paged-results control (RFC 2696).
type pageRequest struct {
	size   int
	cookie string
}

func (o *op) readPaged(v controlValue) error {
	d := ber.NewDecoder(v.value)
	s := d.Inside(ber.Sequence)
	size, text := s.Int(), s.Octets()
	if d.Close(&s); d.Err() != nil {
		return d.Err()
	}
	if size < 0 {
		return refuse(codeProtocolError, "the size of a page is negative")
	}
	o.ctl.paged = &pageRequest{int(min(size, 1<<30)), text}
	return nil
}

// pageDone adds the response control; cookie "" tells that this is the end.
func (s *search) pageDone(text string) {
	var e ber.Encoder
	m := e.Begin(ber.Sequence)
	e.Int(ber.Integer, 0) // how many there are in all: not known
	e.Octets(text)
	e.End(m)
	s.controls = append(s.controls, responseControl{oidPaged, string(e.Buf)})
}

// page tells how many entries this page may have, and after how many the
// client's size limit is reached; given is from the pages before.
func (s *search) page(given int) (size, most int, err error) {
	size = min(s.ctl.paged.size, s.c.server.cfg.MaxPage)
	most = size + 1
	if s.sizeLimit > 0 {
		if most = s.sizeLimit - given; most <= 0 {
			return 0, 0, errSizeLimit
		}
	}
	return size, most, nil
}

// paged gives one page. A search goes on behind an ObjectID, so that each entry
// comes exactly once whatever is written meanwhile.
func (s *search) paged() error {
	if s.ctl.paged.size == 0 { // RFC 2696 §3: the client needs no more
		s.pageDone("")
		return nil
	}
	at, err := s.open(s.ctl.paged.cookie)
	if err != nil {
		return err
	}
	size, most, err := s.page(int(at.given))
	if err != nil {
		return err
	}
	given, last := 0, at.after
	bases := s.bases()
	for i := int(at.base); i < len(bases); i++ {
		q := s.q
		q.Base, q.After, q.Limit = bases[i], at.after, size-given+1
		at.after = 0
		err := s.run(&q, func(e *tree.Entry) error {
			switch given {
			case most:
				return errSizeLimit
			case size:
				return errFull
			}
			given++
			last = e.ID
			return s.give(e)
		})
		switch {
		case errors.Is(err, errFull):
			s.pageDone(s.seal(cookie{base: uint8(i), after: last, given: at.given + uint32(given)}))
			return nil
		case err != nil:
			return err
		}
		last = directory.ObjectID(0)
	}
	s.pageDone("")
	return s.references()
}
