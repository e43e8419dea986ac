package ldap

import (
	"errors"
	"time"

	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// search is a SearchRequest under way (RFC 4511 §4.5).
type search struct {
	*op
	dn        tree.DN
	sizeLimit int // the client's; 0 for none
	filter    tree.Filter
	sel       selection
	q         tree.Query
	x         entryEncoder
	bytes     int // of entries, so far
}

// errFull ends a search that has given as much as it may.
var errFull = errors.New("enough entries")

var errSizeLimit = refuse(codeSizeLimit, "there are more entries")

func (o *op) search() error {
	s := &search{op: o}
	if err := s.read(); err != nil {
		return err
	}
	if len(s.dn) == 0 && s.q.Scope == tree.Base {
		return s.local(o.c.rootDSE()) // RFC 4512 §5.1: for everybody
	}
	if !o.signedIn() {
		return errSignIn
	}
	if s.q.Scope == tree.Base && isAggregate(s.dn) && s.dn.Equal(o.c.server.subschemaDN()) {
		return s.local(o.c.server.subschemaEntry())
	}
	if len(s.dn) == 0 && !o.c.door.Global && !o.ctl.phantom {
		return refuse(codeNoSuchObject, "0000208D: NameErr: nothing lies at the empty name but the rootDSE; the global catalog has everything")
	}
	if err := o.assertBase(s.dn); err != nil {
		return err
	}
	switch {
	case o.ctl.sync != nil:
		return s.sync()
	case o.ctl.persist != nil:
		return s.persist()
	case o.ctl.notify:
		return s.notify()
	case o.ctl.dirSync != nil:
		return s.dirSync()
	case o.ctl.vlv != nil:
		return s.vlv()
	case o.ctl.sort != nil:
		return s.sorted()
	case o.ctl.paged != nil:
		return s.paged()
	}
	return s.whole(s.q)
}

// whole gives everything at once, as far as a search without paging goes.
func (s *search) whole(q tree.Query) error {
	limit := s.limit()
	given := 0
	for _, base := range s.bases() {
		q.Base, q.Limit = base, limit-given+1
		err := s.run(&q, func(e *tree.Entry) error {
			if given == limit {
				return errSizeLimit
			}
			given++
			return s.give(e)
		})
		if err != nil {
			return err
		}
	}
	return s.references()
}

// limit is how many entries a search without paging gives.
func (s *search) limit() int {
	if s.sizeLimit > 0 {
		return min(s.sizeLimit, s.c.server.cfg.MaxPage)
	}
	return s.c.server.cfg.MaxPage
}

// read reads the request.
func (s *search) read() error {
	d := ber.NewDecoder(s.body)
	base := d.Octets()
	scope, deref := d.Enum(), d.Enum()
	size, seconds := d.Int(), d.Int()
	typesOnly := d.Bool()
	if err := d.Err(); err != nil {
		return err
	}
	var err error
	if s.filter, err = readFilter(&d); err != nil {
		return err
	}
	list := d.Inside(ber.Sequence)
	if s.sel, err = s.readSelection(&list); err != nil {
		return err
	}
	if d.Close(&list); d.Err() != nil {
		return d.Err()
	}
	switch {
	case scope < int64(tree.Base) || scope > int64(tree.Sub):
		return refuse(codeProtocolError, "no such scope")
	case deref < 0 || deref > 3: // there are no aliases to dereference
		return refuse(codeProtocolError, "no such way to dereference aliases")
	case size < 0 || seconds < 0:
		return refuse(codeProtocolError, "a limit is negative")
	}
	if s.dn, err = tree.ParseDN(base); err != nil {
		return err
	}
	cfg := &s.c.server.cfg
	s.sizeLimit = int(min(size, 1<<30))
	limit := cfg.SearchTimeout
	if seconds > 0 && seconds < int64(limit/time.Second) {
		limit = time.Duration(seconds) * time.Second
	}
	s.q = tree.Query{
		Base: s.dn, Scope: tree.Scope(scope), Filter: &s.filter,
		Attributes: s.sel.names, TypesOnly: typesOnly, Ranges: s.sel.ranges, MaxRange: cfg.MaxRange,
		Global: s.c.door.Global, Deleted: s.ctl.deleted, DomainScope: s.ctl.domainScope || s.ctl.manageDSA,
		Deadline: s.start.Add(limit),
	}
	for i := range s.q.Ranges { // at most MaxRange values, as without the option
		if r := &s.q.Ranges[i]; r.Last < 0 || r.Last-r.First >= cfg.MaxRange {
			r.Last = r.First + cfg.MaxRange - 1
		}
	}
	s.x = entryEncoder{e: &s.e, typesOnly: typesOnly, shown: s.sel.shown, ranges: s.sel.ranges, schema: s.c.server.tree.Schema()}
	s.prepareMatched()
	s.prepareExtended()
	return nil
}

// run asks the tree.
func (s *search) run(q *tree.Query, fn func(*tree.Entry) error) error {
	err := s.c.server.tree.Search(s.ctx, s.who, q, fn)
	if errors.Is(err, errFull) {
		return errFull
	}
	return err
}

// bases are the names from which the search begins: its own, and with the
// phantom root (MS-ADTS 3.1.1.3.4.1.12) the naming contexts below.
func (s *search) bases() []tree.DN {
	if !s.ctl.phantom || s.q.Global || s.q.Scope != tree.Sub {
		return []tree.DN{s.dn}
	}
	var list []tree.DN
	if len(s.dn) > 0 {
		list = append(list, s.dn)
	}
	for _, c := range s.c.server.tree.Contexts() {
		if c.Under(s.dn) && !c.Equal(s.dn) {
			list = append(list, c)
		}
	}
	return list
}

// give sends an entry, with controls of its own.
func (s *search) give(e *tree.Entry, with ...responseControl) error {
	before := len(s.e.Buf)
	m := s.e.Begin(ber.Sequence)
	s.e.Int(ber.Integer, int64(s.id))
	s.x.entry(e)
	appendControls(&s.e, with)
	s.e.End(m)
	s.entries++
	s.bytes += len(s.e.Buf) - before
	if len(s.e.Buf) >= sendAt {
		return s.send()
	}
	return nil
}

// local answers a search of one entry that is not in the tree.
func (s *search) local(e localEntry) error {
	if s.ctl.sort != nil {
		s.sortDone(codeSuccess, "")
	}
	if s.ctl.paged != nil {
		s.pageDone("")
	}
	if tree.Match(&s.filter, s.c.server.tree.Schema(), e) {
		entry := &tree.Entry{DN: e.name}
		for _, a := range e.attributes {
			if e.wanted(&s.sel, a.Name) {
				entry.Attributes = append(entry.Attributes, a)
			}
		}
		s.x.extended = nil
		return s.give(entry)
	}
	return nil
}
