package storetest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"waypost/store"
)

// body yields n bytes that compress about as mail does, the same for a seed.
type body struct {
	r    *rand.Rand
	left int64
	sum  hash.Hash
	peak func()
}

func newBody(seed uint64, n int64) *body {
	return &body{r: rand.New(rand.NewPCG(seed, 1)), left: n, sum: sha256.New(), peak: func() {}}
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), b.left))
	for i := 0; i < n; {
		v := b.r.Uint64()
		for j := 0; j < 10 && i < n; i, j = i+1, j+1 {
			p[i] = letters[v&63]
			v >>= 6
		}
		if i < n {
			p[i] = '\n'
			i++
		}
	}
	b.left -= int64(n)
	b.sum.Write(p[:n])
	b.peak()
	return n, nil
}

// large streams 150 MiB in and out with bounded memory.
func large(t *testing.T, b *suite) {
	if testing.Short() {
		t.Skip("150 MiB")
	}
	const n = 150 << 20
	const bound = 160 << 20 // a cache of 64 MiB and what the collector has not got to
	var mem runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&mem)
	base, most, calls := mem.HeapAlloc, uint64(0), 0
	peak := func() {
		if calls++; calls%64 == 0 {
			runtime.ReadMemStats(&mem)
			most = max(most, mem.HeapAlloc)
		}
	}
	head := Text("large", "")
	src := newBody(1, n)
	src.peak = peak
	blob, sum, err := Upload(t.Context(), b.Store, io.MultiReader(bytes.NewReader(head), src))
	b.must(err)
	if blob.Small != nil || blob.Size != int64(len(head))+n {
		t.Fatalf("blob of %d bytes, small %d", blob.Size, len(blob.Small))
	}
	a, err := b.Store.Add(t.Context(), b.me(), b.box, store.NewMessage{Blob: blob, Summary: sum, Limit: 1 << 40})
	b.must(err)
	c, err := b.Store.Content(t.Context(), b.me(), b.box, a.Entry.Item)
	b.must(err)
	got := sha256.New()
	buf := make([]byte, 100_000)
	for off := int64(len(head)); off < c.Size(); {
		k, err := c.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		got.Write(buf[:k])
		off += int64(k)
		peak()
	}
	if !bytes.Equal(got.Sum(nil), src.sum.Sum(nil)) {
		t.Error("the content came back different")
	}
	if most > base+bound {
		t.Errorf("the heap grew by %d MiB", (most-base)>>20)
	}
	t.Logf("heap grew by at most %d MiB", (most-base)>>20)
	// The same again is stored once; a part of it is read at once.
	again := newBody(1, n)
	blob2, _, err := Upload(t.Context(), b.Store, io.MultiReader(bytes.NewReader(head), again))
	b.must(err)
	if blob2.Hash != blob.Hash {
		t.Error("the same content has another hash")
	}
	part := make([]byte, 10)
	if _, err := c.ReadAt(part, c.Size()-10); err != nil {
		t.Error(err)
	}
	if k, err := c.ReadAt(part, c.Size()-5); k != 5 || err != io.EOF {
		t.Errorf("at the end: %d, %v", k, err)
	}
	if k, err := c.ReadAt(part, c.Size()+5); k != 0 || err != io.EOF {
		t.Errorf("behind the end: %d, %v", k, err)
	}
}

// blobs of every size class, around the borders of chunks.
func blobs(t *testing.T, b *suite) {
	for _, n := range []int64{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 256<<10 - 1, 256 << 10, 256<<10 + 1, 512 << 10, 700_000} {
		src := newBody(uint64(n), n)
		raw, _ := io.ReadAll(src)
		for range 2 { // the second time it is there
			m := b.message(raw)
			m.Prefix = []byte("Received: by test\r\n")
			a := b.add(m)
			want := append(append([]byte{}, m.Prefix...), raw...)
			if got := b.read(a.Entry.Item); !bytes.Equal(got, want) {
				t.Errorf("%d bytes came back as %d other ones", len(want), len(got))
			}
			if a.Entry.Size != int64(len(want)) {
				t.Errorf("size %d, want %d", a.Entry.Size, len(want))
			}
		}
	}
	// What is given up leaves nothing that can be referred to.
	w, err := b.Store.NewBlob(t.Context(), "default")
	b.must(err)
	_, err = io.Copy(w, newBody(99, 600_000))
	b.must(err)
	w.Abort()
	w.Abort()
	if _, err := w.Close(t.Context()); err == nil {
		t.Error("closed after it was given up")
	}
	b.check()
}

// singleInstance: two mailboxes hold the same content.
func singleInstance(t *testing.T, b *suite) {
	raw, _ := io.ReadAll(newBody(5, 300_000))
	other := &suite{T: t, Opened: b.Opened, box: 2}
	m := b.message(raw)
	a1 := b.add(m)
	m2 := other.message(raw)
	a2 := other.add(m2)
	if m.Blob.Hash != m2.Blob.Hash {
		t.Error("the same content has two hashes")
	}
	for i := range 3 {
		small := Text("same", fmt.Sprint("same ", i))
		x, y := b.add(b.message(small)), other.add(other.message(small))
		if !bytes.Equal(b.read(x.Entry.Item), other.read(y.Entry.Item)) {
			t.Error("contents differ")
		}
	}
	inbox := b.folder(store.RoleInbox).ID
	_, _, err := b.Store.Delete(t.Context(), b.me(), b.box, inbox, []store.ItemID{a1.Entry.Item}, false)
	b.must(err)
	if b.Purge != nil {
		b.purgeAll()
	}
	if !bytes.Equal(other.read(a2.Entry.Item), raw) {
		t.Error("the other mailbox lost its content")
	}
}

// warm reads ahead and opens afterwards; what is gone, empty, large or another's
// does no harm.
func warm(t *testing.T, b *suite) {
	var items []store.ItemID
	var raws [][]byte
	for i := range 5 {
		raw := Text(fmt.Sprint("warm ", i), fmt.Sprint("body ", i))
		if i == 3 {
			raw, _ = io.ReadAll(newBody(9, 600_000))
		}
		items, raws = append(items, b.add(b.message(raw)).Entry.Item), append(raws, raw)
	}
	items = append(items, 999_999)
	b.must(b.Store.Warm(t.Context(), b.me(), b.box, items))
	b.must(b.Store.Warm(t.Context(), b.me(), b.box, nil))
	for i, raw := range raws {
		if !bytes.Equal(b.read(items[i]), raw) {
			t.Errorf("content %d differs after reading ahead", i)
		}
	}
	if err := b.Store.Warm(t.Context(), Owner(b.box+1), b.box, items); err == nil {
		t.Error("another's mailbox was read")
	}
}
