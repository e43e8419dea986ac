package words

import (
	"bytes"
	"slices"
)

// Input is a segment to be merged. Place gives an item's place in the new
// segment from that in this one, or -1 for one that is gone; places keep their
// order, across inputs too.
type Input struct {
	Blocks []Block
	Place  []int32
}

// Merge makes one segment of several, whose items follow each other.
func Merge(inputs []Input) ([]Block, error) {
	type cursor struct {
		input  *Input
		block  int
		terms  [][]byte // of the block
		lists  [][]byte
		at     int
		number int
	}
	load := func(c *cursor) (bool, error) {
		for c.at >= len(c.terms) {
			if c.block >= len(c.input.Blocks) {
				return false, nil
			}
			b := &c.input.Blocks[c.block]
			c.block++
			c.terms, c.lists, c.at = c.terms[:0], c.lists[:0], 0
			if err := b.walk(func(term, list []byte) error {
				c.terms, c.lists = append(c.terms, bytes.Clone(term)), append(c.lists, list)
				return nil
			}); err != nil {
				return false, err
			}
		}
		return true, nil
	}
	var open []*cursor
	for i := range inputs {
		c := &cursor{input: &inputs[i], number: i}
		if ok, err := load(c); err != nil {
			return nil, err
		} else if ok {
			open = append(open, c)
		}
	}
	var out Builder
	var all []uint32
	for len(open) > 0 {
		// Few inputs: a heap would not be faster.
		least := open[0].terms[open[0].at]
		for _, c := range open[1:] {
			if t := c.terms[c.at]; bytes.Compare(t, least) < 0 {
				least = t
			}
		}
		all = all[:0]
		for _, c := range open {
			if !bytes.Equal(c.terms[c.at], least) {
				continue
			}
			bad := false
			if err := places(c.lists[c.at], func(p uint32) {
				if int(p) >= len(c.input.Place) {
					bad = true
				} else if to := c.input.Place[p]; to >= 0 {
					all = append(all, uint32(to)) //nolint:gosec // not negative
				}
			}); err != nil || bad {
				return nil, ErrFormat
			}
		}
		if len(all) > 0 {
			out.Add(least, all)
		}
		for i := 0; i < len(open); {
			c := open[i]
			if bytes.Equal(c.terms[c.at], least) {
				c.at++
				ok, err := load(c)
				if err != nil {
					return nil, err
				}
				if !ok {
					open = slices.Delete(open, i, i+1)
					continue
				}
			}
			i++
		}
	}
	return out.Blocks(), nil
}
