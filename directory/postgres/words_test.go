package postgres

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"waypost/directory"
)

// TestWordIndex compares the index with a plain list under random changes.
func TestWordIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x wordIndex
		alive := map[uint32]string{}
		word := rapid.StringMatching(`[ab]{1,3}`)
		steps := rapid.IntRange(1, 60).Draw(t, "steps")
		for range steps {
			id := uint32(rapid.IntRange(1, 12).Draw(t, "id")) //nolint:gosec // small
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1, 2:
				if _, ok := alive[id]; ok {
					x.drop(id)
				}
				alive[id] = word.Draw(t, "word")
				x.add(alive[id], id)
			case 3:
				if _, ok := alive[id]; ok {
					x.drop(id)
					delete(alive, id)
				}
			case 4:
				x.merge()
			case 5:
				p := word.Draw(t, "prefix")
				var got, want []uint32
				x.prefix(p, func(id uint32) { got = append(got, id) })
				for id, w := range alive {
					if strings.HasPrefix(w, p) {
						want = append(want, id)
					}
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("prefix %q: got %v, want %v", p, got, want)
				}
			}
		}
		sorted := slices.SortedFunc(maps.Keys(alive), func(a, b uint32) int {
			return wordRef{word: alive[a], id: a}.compare(wordRef{word: alive[b], id: b})
		})
		offset, limit := rapid.IntRange(0, 10).Draw(t, "offset"), rapid.IntRange(1, 10).Draw(t, "limit")
		want := sorted[min(offset, len(sorted)):min(offset+limit, len(sorted))]
		if got := x.from(offset, limit); !slices.Equal(got, want) {
			t.Fatalf("from %d, %d: got %v, want %v", offset, limit, got, want)
		}
	})
}

// TestExpandTolerates: groups that contain each other end the expansion all the
// same.
func TestExpandTolerates(t *testing.T) {
	v := viewOf(
		&entry{id: 1, family: group, kind: directory.KindGroup, members: []uint32{2, 3, 9}},
		&entry{id: 2, family: group, kind: directory.KindGroup, members: []uint32{1, 2, 4}},
		&entry{id: 3, kind: directory.KindUser, mailbox: 3},
		&entry{id: 4, kind: directory.KindUser, mailbox: 4},
	)
	w := v.walk(v.get(1), 0, nil, nil)
	if !slices.Equal(w.found, []uint32{3, 4}) || !w.seen.has(2) || w.seen.has(9) || len(w.asked) != 0 || !slices.Equal(w.groups, []uint32{2}) {
		t.Errorf("a circle expands to %+v", w)
	}
	if w := v.walk(v.get(1), 3, nil, nil); !slices.Equal(w.found, []uint32{4}) {
		t.Errorf("after 3 it expands to %v", w.found)
	}
	if w := v.walk(v.get(1), 0, nil, map[uint32]bool{2: true}); !slices.Equal(w.found, []uint32{2, 3}) {
		t.Errorf("with 2 shut it expands to %v", w.found)
	}
}

func viewOf(entries ...*entry) *view {
	f := newFilling(10)
	for _, e := range entries {
		f.add(e)
	}
	f.index()
	v := &view{}
	f.finish(v, 1)
	return v
}

// TestView compares the view with a map under random changes; texts are moved
// in between.
func TestView(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := viewOf()
		want := map[directory.ObjectID]*entry{}
		owner := map[nameKey]directory.ObjectID{}
		name := rapid.StringMatching(`[a-c]{1,2}`)
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			id := directory.ObjectID(rapid.IntRange(1, 9000).Draw(t, "id")%7*1500 + 1)
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1, 2:
				e := &entry{id: id, parent: 1, kind: directory.KindUser, class: "user", address: name.Draw(t, "address"), name: name.Draw(t, "name"), usn: 5, quota: 7 << 10}
				var keys []nameKey
				for range rapid.IntRange(0, 3).Draw(t, "names") {
					k := nameKey{nameKind(rapid.IntRange(1, 4).Draw(t, "kind")), name.Draw(t, "key")}
					if o, ok := owner[k]; (!ok || o == id) && !slices.Contains(keys, k) {
						keys = append(keys, k)
					}
				}
				e.names, e.terms, e.order = packNames(keys), e.name, e.name
				maps.DeleteFunc(owner, func(_ nameKey, o directory.ObjectID) bool { return o == id })
				for _, k := range keys {
					owner[k] = id
				}
				v.apply(1, []directory.ObjectID{id}, map[directory.ObjectID]*entry{id: e})
				want[id] = e
			case 3:
				maps.DeleteFunc(owner, func(_ nameKey, o directory.ObjectID) bool { return o == id })
				v.apply(1, []directory.ObjectID{id}, nil)
				delete(want, id)
			case 4:
				v.compact()
			}
		}
		for id, w := range want {
			got := v.get(id)
			if got == nil || got.address != w.address || got.name != w.name || got.names != w.names || got.quota != w.quota || got.class != w.class {
				t.Fatalf("object %d is %+v, want %+v", id, got, w)
			}
		}
		for kind := nameAddress; kind <= nameProxy; kind++ {
			for _, key := range []string{"a", "b", "c", "ab", "cc"} {
				got := directory.ObjectID(0)
				if e := v.find(kind, key); e != nil {
					got = e.id
				}
				if want := owner[nameKey{kind, key}]; got != want {
					t.Fatalf("name %d %q is %d's, want %d's", kind, key, got, want)
				}
			}
		}
		if page, total := v.search("", 0, 100, nil); total != len(want) || len(page) != len(want) {
			t.Fatalf("the address list has %d of %d, want %d", len(page), total, len(want))
		}
	})
}

// TestJSONReader compares with encoding/json's idea of the same text.
func TestJSONReader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.MapOfN(rapid.StringN(1, 5, -1), rapid.SliceOfN(rapid.String(), 1, 3), 0, 5).Draw(t, "attributes")
		raw := jsonOf(want)
		got := map[string][]string{}
		p := jsonReader{s: raw}
		if err := p.object(func(name string, values []string) { got[name] = values }); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%s: got %q, want %q", raw, got, want)
		}
	})
	for _, bad := range []string{"", "{", "[]", `{"a"}`, `{"a": "b"}`, `{"a": ["b"}`, `{"a": ["b" "c"]}`, `{"a": ["b\`, `{"a": [1]}`} {
		p := jsonReader{s: bad}
		if err := p.object(func(string, []string) {}); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func jsonOf(v map[string][]string) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}
