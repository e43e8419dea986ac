package store

import "math"

// MaxItem is greater than every item's id: Position{seq, MaxItem} has seen
// everything up to and including seq.
const MaxItem ItemID = math.MaxInt64

// After is the position that has seen everything up to and including seq.
func After(seq Seq) Position { return Position{Seq: seq, Item: MaxItem} }

// Less tells whether p comes before q.
func (p Position) Less(q Position) bool {
	return p.Seq < q.Seq || p.Seq == q.Seq && p.Item < q.Item
}

// IsNew tells whether an entry of c.Changed is new to the folder. Comparing
// Entered with Since.Seq would not do: a page may end inside one Seq.
func (c *Changes) IsNew(e *Entry) bool {
	return !(Position{Seq: e.Entered, Item: e.Item}).Less(c.Since)
}
