package storetest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waypost/internal/fault"
	"waypost/store"
)

// modelObject is what a writer knows of one of its objects.
type modelObject struct {
	item    store.ItemID
	folder  store.FolderID // 0: recoverable
	version store.Seq
	name    string
	text    string
}

// objectModel: several writers put, edit, move, copy, delete and restore objects
// of one mailbox, each its own, while followers keep copies of the folders from
// the journal. In the end every writer's model is what the store has, each copy
// equals its folder, and nothing was lost or doubled.
func objectModel(t *testing.T, b *suite) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	folders := []store.FolderID{b.folder(store.RoleCalendar).ID, b.createAs(store.ClassCalendar, "second").ID, b.createAs(store.ClassCalendar, "third").ID}
	rounds := 120
	if testing.Short() {
		rounds = 40
	}
	var writers, followers sync.WaitGroup
	var stop atomic.Bool
	models := make([][]*modelObject, 4)
	for w := range models {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for i := range rounds {
				if err := b.changeObject(r, folders, fmt.Sprintf("w%d-%d", w, i), &models[w]); err != nil {
					t.Errorf("writer %d, round %d: %v", w, i, err)
					return
				}
			}
		})
	}
	var all []*follower
	for i := range 6 {
		f := b.follow(folders[i%3])
		all = append(all, f)
		followers.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(100+i)))
			for !stop.Load() {
				if _, err := f.step(1 + r.IntN(12)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	followers.Wait()
	if t.Failed() {
		return
	}
	r := rand.New(rand.NewPCG(seed, 200))
	for _, f := range all {
		f.finish(1 + r.IntN(12))
	}
	b.check()
	want := make(map[store.FolderID]int)
	for _, model := range models {
		for _, m := range model {
			o := b.object(m.item)
			switch {
			case m.folder == 0 && o != nil:
				t.Errorf("%+v is deleted, but there is %+v", m, o)
			case m.folder == 0:
			case o == nil:
				t.Errorf("%+v is lost", m)
			case o.Folder != m.folder || o.Version != m.version || string(o.Text) != m.text || o.Size != int64(len(m.text)):
				t.Errorf("%+v is %+v", m, o)
			}
			want[m.folder]++
		}
	}
	for _, f := range folders {
		if n := len(b.entries(f)); n != want[f] {
			t.Errorf("folder %d has %d objects, want %d", f, n, want[f])
		}
		list, err := b.Store.ObjectList(t.Context(), b.me(), b.box, f, 0, 1000)
		b.must(err)
		occ, err := b.Store.Occurrences(t.Context(), b.me(), b.box, store.Between{
			Folders: []store.FolderID{f}, From: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), Limit: 10000,
		})
		b.must(err)
		if len(list) != want[f] || len(occ) != want[f] { // each has one
			t.Errorf("folder %d lists %d objects and %d occurrences, want %d", f, len(list), len(occ), want[f])
		}
	}
}

// changeObject makes one random change to a writer's own objects.
func (b *suite) changeObject(r *rand.Rand, folders []store.FolderID, name string, model *[]*modelObject) error {
	ctx := b.Context()
	text := string(Event(name, "x", fmt.Sprintf(":202611%02dT100000Z", 1+r.IntN(28))))
	set := func(m *modelObject, p store.Put) {
		*m = modelObject{p.Entry.Item, p.Entry.Folder, p.Object.Version, p.Object.Name, string(p.Object.Text)}
	}
	if len(*model) == 0 || r.IntN(3) == 0 {
		m := &modelObject{}
		p := store.PutObject{Folder: folders[r.IntN(len(folders))], Name: name, Once: name, Edit: SetText([]byte(text))}
		for range 2 { // the answer to the first was lost
			res, err := b.Store.PutObject(ctx, b.me(), b.box, p)
			if err != nil {
				return err
			}
			set(m, res)
		}
		*model = append(*model, m)
		return nil
	}
	m := (*model)[r.IntN(len(*model))]
	to := folders[r.IntN(len(folders))]
	items := []store.ItemID{m.item}
	if m.folder == 0 {
		if err := b.Store.Restore(ctx, b.me(), b.box, items, to); err != nil && fault.Of(err) != fault.Conflict {
			return err
		} else if err == nil {
			m.folder = to
		}
		return nil
	}
	switch r.IntN(5) {
	case 0, 1:
		res, err := b.Store.PutObject(ctx, b.me(), b.box, store.PutObject{Item: m.item, Folder: m.folder, IfMatch: &m.version, Edit: func(old *store.Object) (store.Edit, error) {
			if string(old.Text) != m.text {
				return store.Edit{}, fmt.Errorf("the text is %q, want %q", old.Text, m.text)
			}
			return store.Edit{Text: Event(old.UID, "edited "+name, ":20261124T100000Z")}, nil
		}})
		if err == nil {
			set(m, res)
		}
		return err
	case 2:
		_, err := b.Store.Move(ctx, b.me(), b.box, m.folder, items, to)
		if err == nil {
			m.folder = to
		} else if fault.Of(err) == fault.Conflict { // its copy is there
			err = nil
		}
		return err
	case 3:
		res, err := b.Store.Copy(ctx, b.me(), b.box, m.folder, items, to)
		if fault.Of(err) == fault.Conflict {
			return nil
		}
		if err == nil {
			*model = append(*model, &modelObject{item: res.Placed[0].To, folder: to, version: res.Seq, text: m.text})
		}
		return err
	default:
		version := m.version
		_, err := b.Store.RemoveObject(ctx, b.me(), b.box, store.RemoveObject{Item: m.item, Folder: m.folder, IfMatch: &version})
		m.folder = 0
		return err
	}
}
