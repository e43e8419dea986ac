package store

import (
	"errors"
	"slices"
	"testing"

	"waypost/internal/fault"
)

// TestEachObject: what does not fit is asked for again, what is gone is left out, and
// what never fits ends it.
func TestEachObject(t *testing.T) {
	items := make([]ItemID, 2500)
	for i := range items {
		items[i] = ItemID(i + 1)
	}
	get := func(page []ItemID) ([]*Object, error) {
		if len(page) > 1000 {
			return nil, errors.New("too many")
		}
		list := make([]*Object, len(page))
		for i, item := range page {
			if i == 300 {
				return list, fault.New(fault.Limit, "more than fits")
			}
			if item%7 != 0 {
				list[i] = &Object{Item: item}
			}
		}
		return list, nil
	}
	var got, want []ItemID
	if err := EachObject(items, get, func(o *Object) error { got = append(got, o.Item); return nil }); err != nil {
		t.Fatal(err)
	}
	for _, i := range items {
		if i%7 != 0 {
			want = append(want, i)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d objects, want %d", len(got), len(want))
	}
	never := func([]ItemID) ([]*Object, error) {
		return make([]*Object, 1), fault.New(fault.Limit, "too large")
	}
	if err := EachObject(items[:1], never, nil); fault.Of(err) != fault.Limit {
		t.Errorf("what never fits: %v", err)
	}
}
