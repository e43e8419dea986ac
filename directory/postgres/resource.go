package postgres

import (
	"slices"
	"strconv"

	"waypost/directory"
	"waypost/internal/fault"
)

const (
	// maxCapacity is far beyond every hall.
	maxCapacity = 1_000_000
	maxFeatures = 100
)

// resource reads what a room or equipment is for.
func (o *object) resource(u *directory.User) {
	if !u.Kind.Resource() {
		return
	}
	u.Capacity, _ = strconv.Atoi(o.attrs.get("msExchResourceCapacity"))
	u.Features = slices.Clone(o.attrs["msExchResourceSearchProperties"])
}

// putResource writes it; what is neither has none of it.
func (o *object) putResource(u *directory.User) error {
	if u.Capacity < 0 || u.Capacity > maxCapacity || len(u.Features) > maxFeatures {
		return fault.New(fault.Invalid, "a capacity is at most %d, and there are at most %d features", maxCapacity, maxFeatures)
	}
	if !u.Kind.Resource() && (u.Capacity != 0 || len(u.Features) > 0) {
		return fault.New(fault.Invalid, "capacity and features are of rooms and equipment")
	}
	features := make([]string, 0, len(u.Features))
	for _, f := range u.Features {
		f, err := cleanText("msExchResourceSearchProperties", f)
		if err != nil {
			return err
		}
		if f != "" && !slices.ContainsFunc(features, func(have string) bool { return directory.Fold(have) == directory.Fold(f) }) {
			features = append(features, f)
		}
	}
	u.Features = nil
	if len(features) > 0 {
		u.Features = features
	}
	kind := map[directory.Kind]string{directory.KindRoom: resourceRoom, directory.KindEquipment: resourceEquipment}[u.Kind]
	o.attrs.set("msExchResourceMetaData", kind)
	o.attrs.set("msExchResourceCapacity", when(u.Capacity > 0, strconv.Itoa(u.Capacity)))
	o.attrs.set("msExchResourceSearchProperties", features...)
	return nil
}
