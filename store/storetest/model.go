package storetest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waypost/store"
)

// model: several writers change one mailbox in every way while followers keep
// copies of its folders from the journal, in pages of any size. In the end each
// copy equals its folder, and nothing was lost or doubled.
func model(t *testing.T, b *suite) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	folders := []store.FolderID{b.folder(store.RoleInbox).ID, b.folder(store.RoleTrash).ID, b.create(0, "third").ID}
	rounds := 60
	if testing.Short() {
		rounds = 20
	}
	var made atomic.Int64
	var writers, followers sync.WaitGroup
	var stop atomic.Bool
	fail := func(err error) bool {
		if err != nil {
			b.Error(err)
		}
		return err != nil
	}
	for w := range 4 {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for i := range rounds {
				if b.disturb(r, folders, fmt.Sprintf("w%d-%d", w, i), &made, fail) {
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
				if _, err := f.step(1 + r.IntN(12)); fail(err) {
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
	have := int64(0)
	for _, f := range folders {
		have += int64(len(b.entries(f)))
	}
	for after := store.ItemID(0); ; {
		rec, err := b.Store.Recoverables(t.Context(), b.me(), b.box, after, 1000)
		b.must(err)
		if len(rec) == 0 {
			break
		}
		have += int64(len(rec))
		after = rec[len(rec)-1].Item
	}
	if have != made.Load() {
		t.Errorf("%d items were made, %d are there", made.Load(), have)
	}
}

// disturb makes one random change.
func (b *suite) disturb(r *rand.Rand, folders []store.FolderID, name string, made *atomic.Int64, fail func(error) bool) bool {
	ctx := b.Context()
	folder, to := folders[r.IntN(len(folders))], folders[r.IntN(len(folders))]
	_, list, err := b.Store.Entries(ctx, b.me(), b.box, folder, 0, 1000)
	if fail(err) {
		return true
	}
	var items []store.ItemID
	for _, e := range list {
		if r.IntN(4) == 0 && len(items) < 20 {
			items = append(items, e.Item)
		}
	}
	switch n := r.IntN(10); {
	case n < 4:
		var wg sync.WaitGroup
		for i := range 1 + r.IntN(5) {
			m := b.message(Text(name, fmt.Sprint(i)))
			m.Folder, m.Once = folder, fmt.Sprint(name, " ", i)
			wg.Go(func() {
				for range 2 {
					a, err := b.Store.Add(ctx, b.me(), b.box, m)
					fail(err)
					if !a.Repeated && err == nil {
						made.Add(1)
					}
				}
			})
		}
		wg.Wait()
	case n < 6:
		_, err = b.Store.Flag(ctx, b.me(), b.box, store.FlagChange{Folder: folder, Items: items, Set: store.Flags(r.IntN(32)), Clear: store.Flags(r.IntN(32)), Add: []string{fmt.Sprint("k", r.IntN(3))}})
	case n < 8:
		_, err = b.Store.Move(ctx, b.me(), b.box, 0, items, to)
	case n < 9:
		if len(items) > 0 {
			items = items[:1]
		}
		res, copyErr := b.Store.Copy(ctx, b.me(), b.box, 0, items, to)
		if copyErr == nil { // it may be gone by now
			made.Add(int64(len(res.Placed)))
		}
	default:
		_, _, err = b.Store.Delete(ctx, b.me(), b.box, folder, items, r.IntN(2) == 0)
		if rec, recErr := b.Store.Recoverables(ctx, b.me(), b.box, 0, 1000); recErr == nil && len(rec) > 0 && err == nil {
			err = b.Store.Restore(ctx, b.me(), b.box, []store.ItemID{rec[r.IntN(len(rec))].Item}, 0)
		}
	}
	return fail(err)
}
