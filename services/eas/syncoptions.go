package eas

import (
	"encoding/binary"
	"slices"
	"time"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
)

// Body types (MS-ASAIRS 2.2.2.41.1).
const (
	bodyPlain = 1
	bodyHTML  = 2
	bodyRTF   = 3
	bodyMIME  = 4
)

// The values that mean "no truncation" (MS-ASCMD 2.2.3.185, 2.2.3.111).
const (
	truncationNone     = 9
	mimeTruncationNone = 8
)

// mimeUnsaid is MIMESupport when the phone did not say.
const mimeUnsaid = -1

// bodyPref is a BodyPreference or a BodyPartPreference (MS-ASAIRS 2.2.2.12).
type bodyPref struct {
	kind      uint8
	size      int64 // bytes at most; -1: no limit
	allOrNone bool
	preview   uint8 // characters; 0: none
}

// options is what a phone asks for in Options; it holds until the phone sends
// Options again, which replace all of it (MS-ASAIRS 2.2.2.12).
type options struct {
	filter         uint8 // FilterType
	conflict       uint8
	truncation     uint8 // 2.5's
	mimeTruncation uint8
	mime           int8 // MIMESupport; mimeUnsaid
	conversations  bool
	bodies         []bodyPref
	parts          []bodyPref
	// ghosts are what the phone said with key 0 of the properties that it leaves
	// out of a Change; it holds as long as the chain of keys does.
	ghosts ghosts
}

// ghosts is Supported (MS-ASCMD 2.2.3.179).
type ghosts struct {
	said bool // else nothing is ghosted
	// managed are the properties that the phone knows itself: it deletes them by
	// leaving them out. Others that it leaves out are left alone.
	managed []wbxml.Tag
}

// keeps tells whether a property that a Change leaves out stays.
func (g ghosts) keeps(tag wbxml.Tag) bool { return g.said && !slices.Contains(g.managed, tag) }

// maxSupported is how many properties Supported may name.
const maxSupported = 256

// readGhosts reads Supported of a collection.
func readGhosts(n *wbxml.Node) ghosts {
	list := n.Child(wbxml.AirSyncSupported)
	if list == nil {
		return ghosts{}
	}
	g := ghosts{said: true}
	for _, c := range list.Children {
		if len(g.managed) < maxSupported {
			g.managed = append(g.managed, c.Tag)
		}
	}
	slices.Sort(g.managed)
	g.managed = slices.Compact(g.managed)
	return g
}

func defaultOptions() options {
	return options{conflict: 1, truncation: truncationNone, mimeTruncation: mimeTruncationNone, mime: mimeUnsaid}
}

func (o options) equal(p options) bool {
	return slices.Equal(encodeOptions(nil, &o), encodeOptions(nil, &p))
}

func encodeOptions(b []byte, o *options) []byte {
	b = append(b, o.filter, o.conflict, o.truncation, o.mimeTruncation, byte(o.mime), bit(o.conversations, 1))
	for _, list := range [][]bodyPref{o.bodies, o.parts} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, p := range list {
			b = append(b, p.kind, bit(p.allOrNone, 1), p.preview)
			b = binary.AppendVarint(b, p.size)
		}
	}
	b = append(b, bit(o.ghosts.said, 1))
	b = binary.AppendUvarint(b, uint64(len(o.ghosts.managed)))
	for _, t := range o.ghosts.managed {
		b = append(b, t.Page(), t.Token())
	}
	return b
}

func (r *stateReader) options() options {
	o := options{
		filter: r.byte(), conflict: r.byte(), truncation: r.byte(), mimeTruncation: r.byte(),
		mime: int8(r.byte()), conversations: r.byte()&1 != 0,
	}
	for _, list := range []*[]bodyPref{&o.bodies, &o.parts} {
		for range r.count(4) {
			*list = append(*list, bodyPref{kind: r.byte(), allOrNone: r.byte()&1 != 0, preview: r.byte(), size: r.int()})
		}
	}
	if r.version >= 3 {
		o.ghosts.said = r.byte()&1 != 0
		for range r.count(2) {
			o.ghosts.managed = append(o.ghosts.managed, wbxml.Tag(r.byte())<<8|wbxml.Tag(r.byte()))
		}
	}
	return o
}

// readOptions reads the Options of a collection, a Fetch or a Search. Those
// for another class of the same folder (SMS, MS-ASMS) are left aside.
func readOptions(n *wbxml.Node, keep options) (options, error) {
	o := keep
	first := true
	for opt := range n.All(wbxml.AirSyncOptions) {
		if opt.Get(wbxml.AirSyncClass) == "SMS" {
			continue
		}
		if !first {
			return o, fault.New(fault.Invalid, "Options twice for one class")
		}
		first = false
		c, g := o.conversations, o.ghosts
		var err error
		if o, err = readOptionSet(opt); err != nil {
			return o, err
		}
		o.conversations, o.ghosts = c, g
	}
	return o, nil
}

// readOptionSet reads one set of options, absent ones by their defaults.
func readOptionSet(n *wbxml.Node) (options, error) {
	o := defaultOptions()
	small := func(tag wbxml.Tag, dst *uint8, most int) error {
		if !n.Has(tag) {
			return nil
		}
		v, err := n.Int(tag, int(*dst))
		if err != nil {
			return err
		}
		if v < 0 || v > most {
			return fault.New(fault.Invalid, "%s out of range", tag.Name())
		}
		*dst = uint8(v)
		return nil
	}
	var mime uint8
	for _, f := range []struct {
		tag  wbxml.Tag
		dst  *uint8
		most int
	}{
		{wbxml.AirSyncFilterType, &o.filter, 8},
		{wbxml.AirSyncConflict, &o.conflict, 1},
		{wbxml.AirSyncTruncation, &o.truncation, 9},
		{wbxml.AirSyncMIMETruncation, &o.mimeTruncation, 8},
		{wbxml.AirSyncMIMESupport, &mime, 2},
	} {
		if err := small(f.tag, f.dst, f.most); err != nil {
			return o, err
		}
	}
	if n.Has(wbxml.AirSyncMIMESupport) {
		o.mime = int8(mime)
	}
	var err error
	if o.bodies, err = readPrefs(n, wbxml.AirSyncBaseBodyPreference); err != nil {
		return o, err
	}
	o.parts, err = readPrefs(n, wbxml.AirSyncBaseBodyPartPreference)
	return o, err
}

// readPrefs reads the preferences of one kind, at most one for each type.
func readPrefs(n *wbxml.Node, tag wbxml.Tag) ([]bodyPref, error) {
	var prefs []bodyPref
	for p := range n.All(tag) {
		kind, err := p.Int(wbxml.AirSyncBaseType, bodyPlain)
		if err != nil {
			return nil, err
		}
		if kind < bodyPlain || kind > bodyMIME {
			return nil, fault.New(fault.Invalid, "body type %d", kind)
		}
		for _, q := range prefs {
			if int(q.kind) == kind {
				return nil, fault.New(fault.Invalid, "two preferences for body type %d", kind)
			}
		}
		q := bodyPref{kind: uint8(kind), size: -1, allOrNone: p.Bool(wbxml.AirSyncBaseAllOrNone, false)}
		if p.Has(wbxml.AirSyncBaseTruncationSize) {
			// An unsigned number of 32 bits, so Int does not do.
			v, ok := parseUint(p.Get(wbxml.AirSyncBaseTruncationSize), 1<<32-1)
			if !ok {
				return nil, fault.New(fault.Invalid, "TruncationSize is no number")
			}
			q.size = int64(v)
			if v == 1<<32-1 {
				q.size = -1
			}
		}
		preview, err := p.Int(wbxml.AirSyncBasePreview, 0)
		if err != nil || preview < 0 || preview > 255 {
			return nil, fault.New(fault.Invalid, "Preview out of range")
		}
		q.preview = uint8(preview)
		prefs = append(prefs, q)
	}
	return prefs, nil
}

// filterStart gives the cut-off of a FilterType at a moment as Unix seconds; 0
// means everything (MS-ASCMD 2.2.3.68.2).
func filterStart(filter uint8, now time.Time) int64 {
	var t time.Time
	switch filter {
	case 1:
		t = now.AddDate(0, 0, -1)
	case 2:
		t = now.AddDate(0, 0, -3)
	case 3:
		t = now.AddDate(0, 0, -7)
	case 4:
		t = now.AddDate(0, 0, -14)
	case 5:
		t = now.AddDate(0, 0, -31)
	case 6:
		t = now.AddDate(0, 0, -92)
	case 7:
		t = now.AddDate(0, 0, -183)
	default:
		return 0
	}
	return t.Unix()
}

// textLimit gives the most bytes of Email:Body for 2.5's Truncation; -1: all.
func textLimit(truncation uint8) int64 {
	if truncation >= truncationNone {
		return -1
	}
	return [truncationNone]int64{0, 512, 1024, 2048, 5120, 10240, 20480, 51200, 102400}[truncation]
}

// mimeLimit gives the most bytes of MIME for MIMETruncation; -1: all.
func mimeLimit(truncation uint8) int64 {
	if truncation >= mimeTruncationNone {
		return -1
	}
	return [mimeTruncationNone]int64{0, 4096, 5120, 7168, 10240, 20480, 51200, 102400}[truncation]
}
